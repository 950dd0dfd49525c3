-- The tables of the source that can be copied: ordinary ones, and partitioned ones as a whole; not those of extensions.
-- $1 text: one table, as `name` or `schema.name`; null: all.  $2 text: the schema of our own notes.
select c.oid, n.nspname as schema, c.relname as name, c.relkind = 'p' as partitioned,
       array(
           select distinct f.confrelid::bigint from pg_catalog.pg_constraint f
           where f.conrelid = c.oid and f.contype = 'f' and f.confrelid <> c.oid
       ) as parents
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition
  and n.nspname <> 'information_schema' and n.nspname !~ '^pg_' and n.nspname <> $2
  and ($1::text is null or c.relname::text = $1 or n.nspname || '.' || c.relname = $1)
  and not exists (
      select from pg_catalog.pg_depend d
      where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid and d.deptype = 'e'
  )
order by n.nspname, c.relname
