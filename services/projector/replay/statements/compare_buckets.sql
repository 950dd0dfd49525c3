-- The rows of a table in 1,024 buckets by their keys: how many there are in each, and the sum of their hashes.
-- Called by services/projector/replay/comparing.py, as the others named so; it puts in {table} and {key}.
select hashtextextended(row({key})::text, 0) & 1023 as bucket, count(*), sum(hashtextextended(told::text, 0)::numeric)
from {table} as told
group by bucket
