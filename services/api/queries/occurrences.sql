-- What became of each nominal time of job $1 of tenant $2 that a run was asked for: the status of the run asked for last,
-- and whether one has not ended. The id of an occurrence's run, a backfill's too, begins with that time: $3 the lowest
-- that is wanted, $4 the lowest above them, $5 and $6 the same as times. A retry's begins with its own: it is found by
-- what it repeats.
with recursive asked as (
    select id, scheduled_for, fires_at, status, finished_at
    from ledger.runs
    where
        tenant = $2
        and job_id = $1
        and id >= $3
        and id < $4
        and id_at >= $5::timestamptz
        and id_at < $6::timestamptz
    union all
    select again.id, again.scheduled_for, again.fires_at, again.status, again.finished_at
    from asked
    join ledger.runs as again on again.of = asked.id::text and again.trigger = 'retry'
)
select
    scheduled_for,
    (array_agg(status order by fires_at desc, id desc))[1] as newest,
    bool_or(finished_at is null) as unfinished
from asked
group by scheduled_for
