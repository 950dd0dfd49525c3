-- The job with this id, deleted or not.
select *
from ledger.jobs
where id = $1
