-- What executors did for queue $1 from the time $2 until $3, but for run $4: events of which type, where, and whose; at most
-- $5 of each partition are looked at. The ledger tells which queue a run stands in.
select did.partition, did.pos, did.type, runs.tenant
from book.checkpoints as marks
cross join lateral (
    select partition, pos, type, subject, at
    from book.events
    where
        partition = marks.partition
        and pos > book.pos_before(marks.partition, $2)
        and pos <= book.pos_before(marks.partition, $3)
        and actor = 'executor'
        and type in ('RunStarted', 'RunSucceeded', 'RunRetryPlanned', 'RunFailed', 'RunInterrupted', 'RunHeld')
    order by pos
    limit $5
) as did
join ledger.runs as runs on runs.id = substr(did.subject, 5)::uuid
where runs.queue = $1 and runs.id <> $4
order by did.at, did.partition, did.pos
