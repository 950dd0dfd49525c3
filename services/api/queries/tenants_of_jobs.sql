-- All tenants that have jobs, by steps along the index that they lead: the next one, until there is none.
with recursive found (tenant) as (
    (select tenant from ledger.job_cards order by tenant limit 1)
    union all
    select (select tenant from ledger.job_cards where tenant > found.tenant order by tenant limit 1)
    from found
    where found.tenant is not null
)

select tenant
from found
where tenant is not null
