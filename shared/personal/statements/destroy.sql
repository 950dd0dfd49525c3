-- Take the keys of these jobs, and leave word that they were erased. $1 jobs · $2 their partitions
insert into book.personal_keys (job, partition, tenant, key, erased_at)
select job, partition, '', null, now()
from unnest($1::text[], $2::integer[]) as erased (job, partition)
order by job -- as whoever holds them does
on conflict (job) do update set key = null, erased_at = now()
where personal_keys.key is not null
