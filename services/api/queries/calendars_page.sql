-- A page of the calendars of tenant $1, by name. $2 limit, $3 offset.
select *
from ledger.calendars
where tenant = $1 and not deleted
order by name
limit $2 offset $3
