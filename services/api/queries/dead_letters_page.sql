-- Ended runs that nobody has retried, of jobs that are still there, oldest first. $1 status, $2 job, $3 job type, $4 queue, $5 class of the error, $6 its
-- fingerprint, $7 and $8 from when to before when they ended (null: any), $9 limit, $10 tenant of the jobs (null: any). Ids begin with their time: their
-- order is that of the index on the status, so nothing is sorted.
select id, job_id
from ledger.runs as dead
where
    status = $1 and status <> 'succeeded' -- so that the index of those is taken
    and ($2::uuid is null or job_id = $2)
    and ($3::text is null or job_type = $3)
    and ($4::text is null or queue = $4)
    and ($5::text is null or error ->> 'class' = $5)
    and ($6::text is null or error_fingerprint = $6)
    and ($7::timestamptz is null or finished_at >= $7)
    and ($8::timestamptz is null or finished_at < $8)
    and ($10::text is null or tenant = $10)
    and not exists (select 1 from ledger.jobs where jobs.id = dead.job_id and jobs.status = 'deleted')
    and not exists (
        select 1
        from ledger.runs as retry
        where retry.of = dead.id::text and retry.trigger = 'retry'
    )
order by id
limit $9
