-- The jobs with the ids $1, deleted or not. $2 tenant (null: any).
select *
from ledger.jobs
where id = any($1::uuid[]) and ($2::text is null or tenant = $2)
