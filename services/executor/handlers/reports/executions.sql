-- How the runs of a tenant went that ended in a span of time: of all of it, by job type, day and month, and both.
-- $1: tenant. $2, $3: from this instant on, and before that. $4: the first instants of the days in the span, in order.
-- $5: for each of these days the number of its month. Days and months come as their numbers, from 1.
-- Called by executions.py. Days are cut by instants, not by a zone's name: the zones' rules are those that schedules go by.
with
ended as (
    select
        runs.job_type,
        runs.status,
        runs.attempt,
        runs.duration_ms,
        width_bucket(runs.finished_at, $4::timestamptz[]) as day
    from ledger.runs
    where runs.tenant = $1 and runs.finished_at >= $2 and runs.finished_at < $3
),

dated as (
    select ended.*, ($5::integer[])[ended.day] as month
    from ended
)

select
    case grouping(job_type) when 0 then job_type end as job_type,
    case grouping(day) when 0 then day end as day,
    case grouping(month) when 0 then month end as month,
    count(*) as runs,
    count(*) filter (where status = 'succeeded') as succeeded,
    count(*) filter (where status = 'failed') as failed,
    count(*) filter (where status = 'cancelled') as cancelled,
    count(*) filter (where status = 'expired') as expired,
    coalesce(sum(greatest(attempt - 1, 0)), 0)::bigint as retries,
    percentile_disc(0.5) within group (order by duration_ms)
    filter (where status in ('succeeded', 'failed') and duration_ms is not null) as p50_ms,
    percentile_disc(0.99) within group (order by duration_ms)
    filter (where status in ('succeeded', 'failed') and duration_ms is not null) as p99_ms
from dated
group by grouping sets ((), (job_type), (day), (month), (job_type, day), (job_type, month))
