-- A page of the runs, newest first. $1 job, $2 status, $3 job type, $4 class of the error, $5 its fingerprint (null: any),
-- $6 limit, $7 offset, $8 tenant of the jobs (null: any).
select *
from ledger.runs
where
    ($1::uuid is null or job_id = $1)
    and ($2::text is null or status = $2)
    and ($3::text is null or job_type = $3)
    and ($4::text is null or error ->> 'class' = $4)
    and ($5::text is null or error_fingerprint = $5)
    and ($8::text is null or exists (select from ledger.jobs as theirs where theirs.id = runs.job_id and theirs.tenant = $8))
order by id desc
limit $6 offset $7
