-- Jobs that are to run before $1, those with the same occurrences to come in one row: schedule, next occurrence, how many
-- runs max_runs leaves (null: any number), how many jobs, and how long one run of each of them takes together: the mean of a
-- job's last 5 runs that have ended, or if it has none, or there are more than $2 jobs, of the last 100 of its type in its
-- tenant; of `unmeasured` jobs there is neither. $3 limit, $4 tenant (null: any).
with pending as (
    select
        id,
        tenant,
        job_type,
        spec -> 'schedule' as schedule,
        -- Buckets begin with whole seconds: what an interval has beyond these makes no difference, but at its end.
        case
            when spec -> 'schedule' -> 'interval_seconds' <> 'null' and spec -> 'schedule' -> 'end_at' = 'null'
                then date_trunc('second', next_run_time)
            else next_run_time
        end as next_run_time,
        case
            when spec -> 'schedule' -> 'max_runs' <> 'null' then
                greatest(
                    0,
                    (spec -> 'schedule' ->> 'max_runs')::bigint - coalesce(
                        (select (state::jsonb ->> 'runs')::bigint from book.snapshots where ref = 'job:' || jobs.id), 0
                    )
                )
        end as runs_left
    from ledger.jobs
    where state = 'pending' and next_run_time < $1 and ($4::text is null or tenant = $4)
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
    pending.next_run_time,
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
group by pending.schedule, pending.next_run_time, pending.runs_left
limit $3
