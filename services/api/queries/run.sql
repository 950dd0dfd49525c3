-- The run with this id; $2 is the time in the id, which names the month it stands in. $3 tenant
-- (null: any).
select *
from ledger.runs
where
    id = $1
    and id_at = $2
    and ($3::text is null or tenant = $3)
