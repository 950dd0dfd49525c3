-- Keeps those of the events before $1, which go, that are asked for one by one: what made revisions of jobs, and the
-- requests of runs that haven't succeeded, by which they are run again.
insert into book.kept_events (
    partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
)
select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data
from book.events
where at < $1 and type in ('JobCreated', 'JobUpdated')
union all
select
    events.partition, events.epoch, events.pos, events.id, type, v, subject, job, advances, at, actor, cause, corr,
    trace, data
from ledger.runs
join book.events on events.subject = 'run/' || runs.id and events.partition = runs.partition
where at < $1 and type = 'RunRequested' and runs.status <> 'succeeded'
on conflict (partition, pos) do nothing
