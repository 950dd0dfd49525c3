-- Key and hash of each row in the buckets $1.
select row({key})::text as key, hashtextextended(told::text, 0)
from {table} as told
where hashtextextended(row({key})::text, 0) & 1023 = any($1::bigint[])
