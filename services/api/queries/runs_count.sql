-- How many runs such a list has, counted no further than $6. $7 tenant of the jobs (null: any).
select count(*)
from (
    select 1
    from ledger.runs
    where
        ($1::uuid is null or job_id = $1)
        and ($2::text is null or status = $2)
        and ($3::text is null or job_type = $3)
        and ($4::text is null or error ->> 'class' = $4)
        and ($5::text is null or error_fingerprint = $5)
        and ($7::text is null or exists (select from ledger.jobs as theirs where theirs.id = runs.job_id and theirs.tenant = $7))
    limit $6
) as counted
