-- How many jobs $1 has in tenant $2 that are not deleted, counted no further than $3.
select count(*)
from (
    select 1
    from ledger.job_cards
    where tenant = $2 and owner = $1
    limit $3
) as counted
