-- What is in a database that only pg_dump can carry, a line each. Called by shared/backup/copying.py.
with spaces as (
    select oid, nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema'
),
members as (select classid, objid from pg_depend where deptype = 'e')
select format('foreign table %I.%I', n.nspname, c.relname) as what
from pg_class c join spaces n on n.oid = c.relnamespace where c.relkind = 'f'
union all
select format('inheritance of %I.%I', n.nspname, c.relname)
from pg_inherits i join pg_class c on c.oid = i.inhrelid join spaces n on n.oid = c.relnamespace
where c.relkind = 'r' and not c.relispartition
union all
select format('row security of %I.%I', n.nspname, c.relname)
from pg_class c join spaces n on n.oid = c.relnamespace where c.relrowsecurity
union all
select format('rule %I of %I.%I', w.rulename, n.nspname, c.relname)
from pg_rewrite w join pg_class c on c.oid = w.ev_class join spaces n on n.oid = c.relnamespace
where w.rulename <> '_RETURN'
union all
select format('type %I.%I', n.nspname, t.typname)
from pg_type t join spaces n on n.oid = t.typnamespace
where t.typtype in ('b', 'r') and t.typcategory <> 'A'
    and not exists (select from members m where m.classid = 'pg_type'::regclass and m.objid = t.oid)
union all
select format('aggregate %I.%I', n.nspname, p.proname)
from pg_proc p join spaces n on n.oid = p.pronamespace
where p.prokind = 'a' and not exists (select from members m where m.classid = 'pg_proc'::regclass and m.objid = p.oid)
union all
select format('operator %I.%s', n.nspname, o.oprname)
from pg_operator o join spaces n on n.oid = o.oprnamespace
where not exists (select from members m where m.classid = 'pg_operator'::regclass and m.objid = o.oid)
union all
select format('event trigger %I', evtname) from pg_event_trigger
union all
select 'large objects' where exists (select from pg_largeobject_metadata)
limit 10
