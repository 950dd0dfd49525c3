-- What the destination has under schema $1, name $2: its kind, and the column lists of what makes rows unique there.
select c.oid, c.relkind::text as kind,
       array(
           select pg_catalog.array_to_json(array(
               select a.attname::text from unnest(i.indkey::int2[]) with ordinality as u(attnum, place)
               join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = u.attnum
               where u.place <= i.indnkeyatts
           ))::text
           from pg_catalog.pg_index i
           where i.indrelid = c.oid and i.indisunique and i.indimmediate and i.indisvalid
             and i.indpred is null and i.indexprs is null
       ) as uniques
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = $2
