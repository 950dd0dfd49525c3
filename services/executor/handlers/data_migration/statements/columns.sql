-- The columns of table $1 (oid), in their order. `plain` is the type without its length; `at` the schema of the type's
-- operators; `generated` how its value is computed; `key` its place in the primary key; `serial`: a sequence counts it.
select a.attname as name,
       pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
       pg_catalog.format_type(a.atttypid, -1) as plain,
       tn.nspname as at,
       a.attnotnull as required,
       a.attidentity::text as identity,
       a.attgenerated::text as generation,
       case when a.attgenerated <> '' then pg_catalog.pg_get_expr(d.adbin, d.adrelid) end as generated,
       a.attidentity = '' and pg_catalog.pg_get_serial_sequence(
           pg_catalog.format('%I.%I', n.nspname, c.relname), a.attname) is not null as serial,
       k.place as key
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_type t on t.oid = a.atttypid
join pg_catalog.pg_namespace tn on tn.oid = t.typnamespace
left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
left join (
    select i.indrelid, u.attnum, u.place
    from pg_catalog.pg_index i, unnest(i.indkey::int2[]) with ordinality as u(attnum, place)
    where i.indisprimary and u.place <= i.indnkeyatts
) k on k.indrelid = a.attrelid and k.attnum = a.attnum
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
order by a.attnum
