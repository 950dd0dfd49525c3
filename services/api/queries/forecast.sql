-- Jobs that are to run before $1, those with the same occurrences to come in one row: schedule, next occurrence, whose
-- calendars it names (null: none), how many runs max_runs leaves (null: any number), how many jobs, and how long one run of each of them takes together: the mean of a
-- job's last 5 runs that have ended, or if it has none, or there are more than $2 jobs, of the last 100 of its type in its
-- tenant; of `unmeasured` jobs there is neither. $3 limit, $4 tenant (null: any).
with due as (
    select
        id,
        tenant,
        job_type,
        spec -> 'schedule' as schedule,
        next_run_time,
        case
            -- What jitter makes of a time says neither when the time is nor in what phase an interval is; what is left
            -- of max_runs no column tells.
            when coalesce(spec -> 'schedule' -> 'jitter_seconds', '0') <> '0'
                or coalesce(spec -> 'schedule' -> 'max_runs', 'null') <> 'null'
                then (select state::jsonb from book.snapshots where ref = 'job:' || jobs.id)
        end as state
    from ledger.jobs
    where state = 'pending' and next_run_time < $1 and ($4::text is null or tenant = $4)
),

pending as (
    select
        id,
        tenant,
        job_type,
        schedule,
        -- Buckets begin with whole seconds: what an interval has beyond these makes no difference, but at its end.
        date_trunc(
            case
                when schedule -> 'interval_seconds' <> 'null' and schedule -> 'end_at' = 'null' then 'second'
                else 'milliseconds'
            end,
            coalesce((state ->> 'next_for')::timestamptz, next_run_time)
        ) as next_for,
        case
            when schedule ->> 'max_runs' is not null
                then greatest(0, (schedule ->> 'max_runs')::bigint - coalesce((state ->> 'runs')::bigint, 0))
        end as runs_left,
        case
            when coalesce(schedule -> 'exclude_calendars', '[]') <> '[]' then tenant
        end as calendars_of
    from due
),

by_type as materialized (
    select types.tenant, types.job_type, latest.mean_ms
    from (select distinct tenant, job_type from pending) as types
    cross join lateral (
        select avg(duration_ms) as mean_ms
        from (
            select duration_ms
            from ledger.runs
            where tenant = types.tenant and job_type = types.job_type and duration_ms is not null
            order by id desc
            limit 100
        ) as taken
    ) as latest
)

select
    pending.schedule::text as schedule,
    pending.calendars_of,
    pending.next_for,
    pending.runs_left,
    count(*) as jobs,
    count(*) filter (where coalesce(by_job.mean_ms, by_type.mean_ms) is null) as unmeasured,
    coalesce(sum(coalesce(by_job.mean_ms, by_type.mean_ms)), 0)::float8 as work_ms
from pending
left join by_type using (tenant, job_type)
left join lateral (
    select avg(duration_ms) as mean_ms
    from (
        select duration_ms
        from ledger.runs
        where
            (select count(*) from pending) <= $2
            and tenant = pending.tenant and job_id = pending.id and duration_ms is not null
        order by id desc
        limit 5
    ) as taken
) as by_job on true
group by pending.schedule, pending.calendars_of, pending.next_for, pending.runs_left
limit $3
