-- The calendar $2 of tenant $1.
select *
from ledger.calendars
where tenant = $1 and name = $2 and not deleted
