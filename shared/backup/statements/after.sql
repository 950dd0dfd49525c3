-- What stands on a database's rows: sequences' values, constraints, indexes, foreign keys, views, triggers, as
-- statements in an order in which they can be run once the tables have their rows.
-- Run with search_path = ''. Called by shared/backup/copying.py.
with spaces as (
    select n.oid, n.nspname from pg_namespace n
    where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
        and not exists (select from pg_depend d
            where d.classid = 'pg_namespace'::regclass and d.objid = n.oid and d.deptype = 'e')
),
relations as (
    select c.*, n.nspname, format('%I.%I', n.nspname, c.relname) as full_name
    from pg_class c join spaces n on n.oid = c.relnamespace
    where not exists (select from pg_depend d
        where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
),
owners as (
    select d.objid as sequence, d.deptype, r.full_name, a.attname
    from pg_depend d
    join relations r on r.oid = d.refobjid
    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
),
statements (step, place, statement) as (
    select 1, r.oid::bigint, format(
        'select setval(%s, %s, true)',
        case when o.deptype = 'i'
            then format('pg_get_serial_sequence(%L, %L)', o.full_name, o.attname) else quote_literal(r.full_name) end,
        s.last_value)
    from relations r
    join pg_sequences s on s.schemaname = r.nspname and s.sequencename = r.relname
    left join owners o on o.sequence = r.oid
    where r.relkind = 'S' and s.last_value is not null
    union all
    select 2, r.oid::bigint, format('alter sequence %s owned by %s.%I', r.full_name, o.full_name, o.attname)
    from relations r join owners o on o.sequence = r.oid
    where r.relkind = 'S' and o.deptype = 'a'
    union all
    select case when k.contype = 'f' then 5 else 3 end, k.oid::bigint,
        format('alter table %s add constraint %I %s', r.full_name, k.conname, pg_get_constraintdef(k.oid))
    from pg_constraint k join relations r on r.oid = k.conrelid
    where k.contype in ('p', 'u', 'x', 'c', 'f') and k.conparentid = 0 and k.coninhcount = 0
    union all
    select 4, i.indexrelid::bigint,
        case when r.relkind = 'p' then regexp_replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ')
            else pg_get_indexdef(i.indexrelid) end
    from pg_index i join relations r on r.oid = i.indrelid
    where r.relkind in ('r', 'p')
        and not exists (select from pg_constraint k where k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x'))
        and not exists (select from pg_inherits h where h.inhrelid = i.indexrelid)
    union all
    select 4, x.oid::bigint, pg_get_statisticsobjdef(x.oid)
    from pg_statistic_ext x join spaces n on n.oid = x.stxnamespace
    union all
    select 6, r.oid::bigint, concat(
        'create ', case when r.relkind = 'm' then 'materialized ' end, 'view ', r.full_name,
        ' with (' || array_to_string(r.reloptions, ', ') || ')', ' as ', rtrim(pg_get_viewdef(r.oid), ';'))
    from relations r where r.relkind in ('v', 'm')
    union all
    select 7, i.indexrelid::bigint, pg_get_indexdef(i.indexrelid)
    from pg_index i join relations r on r.oid = i.indrelid where r.relkind = 'm'
    union all
    select 8, t.oid::bigint, concat(
        pg_get_triggerdef(t.oid),
        case when t.tgenabled = 'D' then format('; alter table %s disable trigger %I', r.full_name, t.tgname) end)
    from pg_trigger t join relations r on r.oid = t.tgrelid
    where not t.tgisinternal and t.tgparentid = 0
)
select statement from statements order by step, place
