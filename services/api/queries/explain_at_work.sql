-- How many runs of queue $1 are at work, counted up to $2.
select count(*) as runs
from (
    select 1
    from ledger.runs
    where status = 'running' and queue = $1
    limit $2
) as counted
