-- Write keys of jobs that have none; who has one keeps it, and who was erased gets none.
-- $1 jobs · $2 their partitions · $3 their tenants · $4 keys
insert into book.personal_keys (job, partition, tenant, key)
select job, partition, tenant, key
from unnest($1::text[], $2::integer[], $3::text[], $4::bytea[]) as made (job, partition, tenant, key)
order by job -- as whoever holds them does
on conflict (job) do nothing
