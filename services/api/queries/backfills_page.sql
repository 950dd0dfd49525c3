-- A page of the backfills of job $1, newest first. $2 limit, $3 offset, $4 tenant of the job (null: any).
select *
from ledger.backfills
where
    job_id = $1
    and (
        $4::text is null
        or exists (select from ledger.jobs as theirs where theirs.id = backfills.job_id and theirs.tenant = $4)
    )
order by id desc
limit $2 offset $3
