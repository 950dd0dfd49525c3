-- Where the next batch begins (after $1 text[]) and ends (with $2 text[]), until the transaction ends.
select pg_catalog.set_config('daybook.after', coalesce($1::text[]::text, ''), true),
       pg_catalog.set_config('daybook.upto', coalesce($2::text[]::text, ''), true)
