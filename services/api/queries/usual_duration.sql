-- How long the latest runs of job $1 took, from their first start to their end: the median in seconds (null: none has ended), and
-- of how many. $2 how many at most, $3 tenant (null: any).
select
    percentile_cont(0.5) within group (order by seconds) as median_s,
    count(*) as runs
from (
    select
        extract(
            epoch from finished_at - coalesce((attempts -> 0 ->> 'started_at')::timestamptz, started_at)
        ) as seconds
    from ledger.runs
    where
        job_id = $1
        and ($3::text is null or tenant = $3)
        and status in ('succeeded', 'failed')
        and finished_at is not null
        and started_at is not null
    order by id desc
    limit $2
) as latest
