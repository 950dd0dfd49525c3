-- Counts a table's rows and adds up a hash of each, in whatever order they lie: the same on both sides if they are equal.
select count(*) as rows,
       coalesce(sum(('x' || encode(substring(
           sha256(convert_to(row({columns})::text, 'UTF8')) from 1 for 8), 'hex'))::bit(64)::bigint), 0)::text as checksum
from {table} as t
