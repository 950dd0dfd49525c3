-- Failed runs by what they failed of, the largest group first: how many, how many of these were retried, of how many
-- jobs, when, and the newest. $1 job, $2 job type, $3 and $4 from when to before when they ended (null: any), $5 limit, $6
-- tenant of the jobs (null: any).
with dead as (
    select
        id,
        job_id,
        finished_at,
        error ->> 'class' as error_class,
        error_fingerprint as fingerprint,
        exists(
            select 1
            from ledger.runs as retry
            where retry.of = failed.id::text and retry.of is not null and retry.trigger = 'retry'
        ) as is_retried
    from ledger.runs as failed
    where
        status = 'failed'
        and ($1::uuid is null or job_id = $1)
        and ($2::text is null or job_type = $2)
        and ($3::timestamptz is null or finished_at >= $3)
        and ($4::timestamptz is null or finished_at < $4)
        and ($6::text is null or tenant = $6)
),

groups as (
    select
        error_class,
        fingerprint,
        count(*) as count,
        count(*) filter (where is_retried) as retried,
        count(distinct job_id) as jobs,
        min(finished_at) as first_at,
        max(finished_at) as last_at,
        (array_agg(id order by finished_at desc, id desc))[1] as last_execution_id
    from dead
    group by error_class, fingerprint
    order by count desc, last_at desc, fingerprint
    limit $5
)

select groups.*, last.error ->> 'message' as sample
from groups
join ledger.runs as last on last.id = groups.last_execution_id
order by groups.count desc, groups.last_at desc, groups.fingerprint
