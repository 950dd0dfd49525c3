-- The run with this id; $2 is the time in the id, which names the month it stands in.
select *
from ledger.runs
where id = $1 and id_at = $2
