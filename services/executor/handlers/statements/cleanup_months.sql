-- The partitions of table $1 that have a range, oldest first: name, from, to, and bytes on disk, indexes and all.
select
    format('%I.%I', space.nspname, child.relname) as name,
    (regexp_match(bound, 'FROM \(''([^'']+)''\)'))[1]::timestamptz as since,
    (regexp_match(bound, 'TO \(''([^'']+)''\)'))[1]::timestamptz as until,
    pg_total_relation_size(child.oid) as bytes
from pg_inherits
join pg_class as child on child.oid = inhrelid
join pg_namespace as space on space.oid = child.relnamespace
cross join lateral pg_get_expr(child.relpartbound, child.oid) as bound
where inhparent = $1::text::regclass and bound like 'FOR VALUES FROM%'
order by since
