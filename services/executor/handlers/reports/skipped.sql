-- Occurrences of a tenant's jobs that were skipped in a span of time, by job type and day. $1 … $4 as in executions.sql.
-- They stand in the archive only, whose positions are halved for the span's first and last: it is not read from its begin.
-- Called by executions.py.
select
    jobs.job_type,
    width_bucket(events.at, $4::timestamptz[]) as day,
    sum((events.data::jsonb ->> 'count')::bigint)::bigint as skipped
from (
    select
        partition,
        book.pos_before(partition, $2) as after_pos,
        book.pos_before(partition, $3) as last_pos
    from book.checkpoints
) as spans
join book.events
    on
        events.partition = spans.partition
        and events.pos > spans.after_pos
        and events.pos <= spans.last_pos
        and events.at >= $2
        and events.at < $3
        and events.type = 'OccurrencesSkipped'
join ledger.jobs on jobs.id = events.about::uuid and jobs.tenant = $1
group by 1, 2
