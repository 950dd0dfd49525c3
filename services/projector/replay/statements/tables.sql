-- The tables of schema $1, without their partitions: name, and the columns of the key.
select
    quote_ident(relname) as name,
    (
        select string_agg(quote_ident(attname), ', ' order by place)
        from unnest(conkey) with ordinality as keys (number, place)
        join pg_attribute on attrelid = pg_class.oid and attnum = number
    ) as key
from pg_class
join pg_constraint on conrelid = pg_class.oid and contype = 'p'
where relnamespace = $1::regnamespace and relkind in ('r', 'p') and not relispartition
order by relname
