-- A page of the runs, newest first. $1 job, $2 status, $3 job type (null: any), $4 limit, $5 offset.
select *
from ledger.runs
where
    ($1::uuid is null or job_id = $1)
    and ($2::text is null or status = $2)
    and ($3::text is null or job_type = $3)
order by id desc
limit $4 offset $5
