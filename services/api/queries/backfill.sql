-- The backfill with this id. $2 tenant of its job (null: any).
select *
from ledger.backfills
where
    id = $1
    and (
        $2::text is null
        or exists (select from ledger.jobs as theirs where theirs.id = backfills.job_id and theirs.tenant = $2)
    )
