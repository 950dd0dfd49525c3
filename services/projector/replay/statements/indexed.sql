-- What index $1 of schema $2 goes by, as expressions.
select string_agg(pg_get_indexdef(pg_index.indexrelid, number, true), ', ' order by number)
from pg_index
join pg_class on pg_class.oid = indexrelid
cross join generate_series(1, indnkeyatts) as number
where relname = $1 and relnamespace = $2::regnamespace
