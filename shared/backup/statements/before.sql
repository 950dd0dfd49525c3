-- What a database's tables stand on, and the tables themselves, as statements that make them anew without any data, in
-- an order in which they can be run. Owners, privileges and comments are not carried.
-- Run with search_path = '', so that all names are written out. Called by shared/backup/copying.py.
with spaces as (
    select n.oid, n.nspname from pg_namespace n
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and not exists (select from pg_depend d
            where d.classid = 'pg_namespace'::regclass and d.objid = n.oid and d.deptype = 'e')
),
members as (select classid, objid from pg_depend where deptype = 'e'),
sequences as (
    select s.seqrelid, format(
        'increment by %s minvalue %s maxvalue %s start with %s cache %s%s',
        seqincrement, seqmin, seqmax, seqstart, seqcache, case when seqcycle then ' cycle' else '' end
    ) as options, format_type(seqtypid, null) as type
    from pg_sequence s
),
identities as (
    select d.refobjid as relid, d.refobjsubid as attnum, s.options
    from pg_depend d join sequences s on s.seqrelid = d.objid
    where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype = 'i'
),
columns as (
    select a.attrelid, string_agg(concat(
        format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)),
        case when a.attcollation <> t.typcollation and a.attcollation <> 0 then
            (select format(' collate %I.%I', cn.nspname, co.collname)
                from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace where co.oid = a.attcollation)
        end,
        case
            when a.attgenerated = 's' then format(' generated always as (%s) stored', pg_get_expr(f.adbin, f.adrelid))
            when a.attgenerated <> '' then format(' generated always as (%s)', pg_get_expr(f.adbin, f.adrelid))
            when a.attidentity <> '' then format(' generated %s as identity (%s)',
                case a.attidentity when 'a' then 'always' else 'by default' end, i.options)
            when f.adbin is not null then ' default ' || pg_get_expr(f.adbin, f.adrelid)
        end,
        case when a.attnotnull then ' not null' end
    ), ', ' order by a.attnum) as list
    from pg_attribute a
    join pg_type t on t.oid = a.atttypid
    left join pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum
    left join identities i on i.relid = a.attrelid and i.attnum = a.attnum
    where a.attnum > 0 and not a.attisdropped
    group by a.attrelid
),
functions as (
    select p.oid, pg_get_functiondef(p.oid) as definition, exists (
        select from pg_depend d
        left join pg_type t on d.refclassid = 'pg_type'::regclass and t.oid = d.refobjid
        left join pg_type e on e.oid = t.typelem
        where d.classid = 'pg_proc'::regclass and d.objid = p.oid
            and (d.refclassid = 'pg_class'::regclass or t.typrelid <> 0 or e.typrelid <> 0)
    ) as needs_tables
    from pg_proc p join spaces n on n.oid = p.pronamespace
    where p.prokind in ('f', 'p', 'w')
        and not exists (select from members m where m.classid = 'pg_proc'::regclass and m.objid = p.oid)
),
statements (step, place, statement) as (
    select 1, s.oid::bigint, format('create schema if not exists %I', s.nspname) from spaces s
    union all
    select 2, e.oid::bigint, format('create extension if not exists %I with schema %I', e.extname, n.nspname)
    from pg_extension e join pg_namespace n on n.oid = e.extnamespace
    where e.extname <> 'plpgsql'
    union all
    select 3, t.oid::bigint, format('create type %I.%I as enum (%s)', n.nspname, t.typname,
        (select string_agg(quote_literal(enumlabel), ', ' order by enumsortorder) from pg_enum where enumtypid = t.oid))
    from pg_type t join spaces n on n.oid = t.typnamespace
    where t.typtype = 'e'
        and not exists (select from members m where m.classid = 'pg_type'::regclass and m.objid = t.oid)
    union all
    select 3, t.oid::bigint, concat(
        format('create domain %I.%I as %s', n.nspname, t.typname, format_type(t.typbasetype, t.typtypmod)),
        ' default ' || t.typdefault,
        case when t.typnotnull then ' not null' end,
        (select string_agg(format(' constraint %I %s', conname, pg_get_constraintdef(oid)), '')
            from pg_constraint where contypid = t.oid and contype = 'c'))
    from pg_type t join spaces n on n.oid = t.typnamespace
    where t.typtype = 'd'
        and not exists (select from members m where m.classid = 'pg_type'::regclass and m.objid = t.oid)
    union all
    select 3, c.reltype::bigint, format('create type %I.%I as (%s)', n.nspname, c.relname,
        (select string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' order by attnum)
            from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped))
    from pg_class c join spaces n on n.oid = c.relnamespace
    where c.relkind = 'c'
        and not exists (select from members m where m.classid = 'pg_class'::regclass and m.objid = c.oid)
    union all
    select 4, c.oid::bigint, format('create sequence %I.%I as %s %s', n.nspname, c.relname, s.type, s.options)
    from sequences s join pg_class c on c.oid = s.seqrelid join spaces n on n.oid = c.relnamespace
    where not exists (select from pg_depend d
            where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'i')
        and not exists (select from members m where m.classid = 'pg_class'::regclass and m.objid = c.oid)
    union all
    select case when f.needs_tables then 7 else 5 end, f.oid::bigint, f.definition from functions f
    union all
    select 6, (select count(*) from pg_partition_ancestors(c.oid)) * 1000000000000 + c.oid::bigint, concat(
        format('create %stable %I.%I', case when c.relpersistence = 'u' then 'unlogged ' end, n.nspname, c.relname),
        case
            when c.relispartition then (
                select format(' partition of %I.%I %s', pn.nspname, p.relname, pg_get_expr(c.relpartbound, c.oid))
                from pg_inherits i join pg_class p on p.oid = i.inhparent join pg_namespace pn on pn.oid = p.relnamespace
                where i.inhrelid = c.oid)
            else format(' (%s)', columns.list)
        end,
        case when c.relkind = 'p' then ' partition by ' || pg_get_partkeydef(c.oid) end,
        ' with (' || array_to_string(c.reloptions, ', ') || ')')
    from pg_class c join spaces n on n.oid = c.relnamespace left join columns on columns.attrelid = c.oid
    where c.relkind in ('r', 'p')
        and not exists (select from members m where m.classid = 'pg_class'::regclass and m.objid = c.oid)
)
select statement from statements order by step, place
