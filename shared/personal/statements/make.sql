-- Write keys of jobs that have none; who has one keeps it, and who was erased gets none.
-- $1 jobs · $2 their partitions · $3 keys
insert into book.personal_keys (job, partition, key)
select job, partition, key
from unnest($1::text[], $2::integer[], $3::bytea[]) as made (job, partition, key)
on conflict (job) do nothing
