-- Keep copies of keys whose rows were lost; never of a job that was erased, as far as rows or archive tell.
-- $1 jobs · $2 their partitions · $3 their tenants · $4 keys
insert into book.personal_keys (job, partition, tenant, key)
select job, partition, tenant, key
from unnest($1::text[], $2::integer[], $3::text[], $4::bytea[]) as copied (job, partition, tenant, key)
where not exists (
    select from book.events_and_kept
    where subject = 'job/' || copied.job and type = 'PersonalDataErased'
)
on conflict (job) do nothing
