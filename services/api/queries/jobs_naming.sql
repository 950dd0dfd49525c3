-- Jobs of tenant $1 that name the calendar $2, at most $3: id and name. The index jobs_by_calendar has them.
select id, name
from ledger.jobs
where
    tenant = $1
    and status <> 'deleted'
    and spec -> 'schedule' -> 'exclude_calendars' <> '[]'::jsonb
    and spec -> 'schedule' -> 'exclude_calendars' ? $2
order by id
limit $3
