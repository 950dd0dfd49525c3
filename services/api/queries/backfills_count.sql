-- How many backfills job $1 has had, counted no further than $2. $3 tenant of the job (null: any).
select count(*)
from (
    select 1
    from ledger.backfills
    where
        job_id = $1
        and (
            $3::text is null
            or exists (select from ledger.jobs as theirs where theirs.id = backfills.job_id and theirs.tenant = $3)
        )
    limit $2
) as counted
