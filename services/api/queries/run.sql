-- The run with this id; $2 is the time in the id, which names the month it stands in. $3 tenant of
-- its job (null: any).
select *
from ledger.runs
where
    id = $1
    and id_at = $2
    and ($3::text is null or exists (select from ledger.jobs as theirs where theirs.id = runs.job_id and theirs.tenant = $3))
