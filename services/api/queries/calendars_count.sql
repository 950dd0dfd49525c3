-- How many calendars tenant $1 has, counted no further than $2.
select count(*)
from (
    select 1
    from ledger.calendars
    where tenant = $1 and not deleted
    limit $2
) as counted
