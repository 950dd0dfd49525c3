-- The keys of the tables of schema $1, which those of their partitions follow: table, name, definition.
select conrelid::regclass::text, quote_ident(conname), pg_get_constraintdef(pg_constraint.oid)
from pg_constraint
where connamespace = $1::regnamespace and contype in ('p', 'u', 'x', 'f') and conparentid = 0
order by contype = 'f', conname
