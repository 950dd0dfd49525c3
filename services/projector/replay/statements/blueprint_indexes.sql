-- The indexes of schema $1 that no key has made: name, definition, table, the index of the partitioned table that one of a
-- partition belongs to, and whether it is one of those.
select
    indexes.relname, pg_get_indexdef(indexes.oid), pg_index.indrelid::regclass::text, quote_ident(parents.relname),
    indexes.relkind = 'I'
from pg_index
join pg_class as indexes on indexes.oid = pg_index.indexrelid
left join pg_inherits on pg_inherits.inhrelid = indexes.oid
left join pg_class as parents on parents.oid = pg_inherits.inhparent
where
    indexes.relnamespace = $1::regnamespace
    and not exists (select from pg_constraint where conindid = indexes.oid)
order by indexes.relkind = 'I' desc, indexes.relname
