-- All tenants that have runs, by steps along the index that they lead: the next one, until there is none.
with recursive found (tenant) as (
    (select tenant from ledger.runs order by tenant limit 1)
    union all
    select (select tenant from ledger.runs where tenant > found.tenant order by tenant limit 1)
    from found
    where found.tenant is not null
)

select tenant
from found
where tenant is not null
