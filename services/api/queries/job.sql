-- The job with this id, deleted or not. $2 tenant (null: any).
select *
from ledger.jobs
where id = $1 and ($2::text is null or tenant = $2)
