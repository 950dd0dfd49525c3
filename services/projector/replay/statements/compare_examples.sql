-- The rows with the keys $1.
select row({key})::text as key, to_jsonb(told)::text from {table} as told where row({key})::text = any($1::text[])
