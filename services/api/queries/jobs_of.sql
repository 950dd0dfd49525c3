-- How many jobs $1 has in tenant $2 that are not deleted, counted no further than $3.
select count(*)
from (
    select 1
    from ledger.jobs
    where owner = $1 and tenant = $2 and status <> 'deleted'
    limit $3
) as counted
