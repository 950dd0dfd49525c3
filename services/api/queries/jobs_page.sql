-- A page of the jobs that are not deleted, newest first. $1 status, $2 job type (null: any), $3 limit, $4 offset, $5
-- tenant (null: any).
select *
from ledger.jobs
where
    status <> 'deleted'
    and ($1::text is null or status = $1)
    and ($2::text is null or job_type = $2)
    and ($5::text is null or tenant = $5)
order by id desc
limit $3 offset $4
