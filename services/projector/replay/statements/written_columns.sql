-- The columns of table $1 that aren't generated.
select string_agg(quote_ident(attname), ', ' order by attnum)
from pg_attribute
where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attgenerated = ''
