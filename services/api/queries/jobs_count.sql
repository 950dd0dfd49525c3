-- How many jobs such a list has, counted no further than $3. $4 tenant (null: any).
select count(*)
from (
    select 1
    from ledger.jobs
    where
        status <> 'deleted'
        and ($1::text is null or status = $1)
        and ($2::text is null or job_type = $2)
        and ($4::text is null or tenant = $4)
    limit $3
) as counted
