-- The tables of schema $1, those that have partitions before these: name, and of a partition its parent and its range; of
-- a partitioned table what goes by. Called by services/projector/replay/blueprint.py, as the others named so.
select
    quote_ident(tables.relname), quote_ident(parents.relname), pg_get_expr(tables.relpartbound, tables.oid),
    pg_get_partkeydef(tables.oid), tables.reloptions
from pg_class as tables
left join pg_inherits on pg_inherits.inhrelid = tables.oid
left join pg_class as parents on parents.oid = pg_inherits.inhparent
where tables.relnamespace = $1::regnamespace and tables.relkind in ('r', 'p')
order by parents.relname is not null, tables.relname
