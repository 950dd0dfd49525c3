-- How many API keys there are, counted no further than $1. $2 tenant (null: any).
select count(*)
from (
    select 1
    from ledger.api_keys
    where ($2::text is null or tenant = $2)
    limit $1
) as counted
