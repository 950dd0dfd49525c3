-- How many relations, functions and types a database has that are not the system's or an extension's.
-- Called by shared/backup/restoring_database.py.
with spaces as (
    select oid from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
),
members as (select classid, objid from pg_depend where deptype = 'e')
select
    (select count(*) from pg_class c join spaces n on n.oid = c.relnamespace
        where not exists (select from members m where m.classid = 'pg_class'::regclass and m.objid = c.oid))
    + (select count(*) from pg_proc p join spaces n on n.oid = p.pronamespace
        where not exists (select from members m where m.classid = 'pg_proc'::regclass and m.objid = p.oid))
