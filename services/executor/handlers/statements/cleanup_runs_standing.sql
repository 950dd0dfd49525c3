-- What of the month {month} of ledger.runs keeps it from being dropped, and how many rows it has. $1 before when a run must
-- have ended, $2 as what. A retry stays as long as the run it repeats, which would count as never repeated.
select
    count(*) as rows,
    count(*) filter (where finished_at is null) as live,
    count(*) filter (where finished_at >= $1) as young,
    count(*) filter (where finished_at < $1 and status <> all($2::text[])) as others,
    count(*) filter (
        where trigger = 'retry' and exists (
            select from ledger.runs as original
            where original.id::text = month.of and (original.id_at < $3 or original.id_at >= $4)
        )
    ) as retries
from {month} as month
