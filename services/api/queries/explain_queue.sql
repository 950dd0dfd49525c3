-- What executors did for queue $1 from the time $2 until $3, but for run $4: how many of their events there are (signs), how many
-- of those are starts, and where the first $7 of these are that tenant $6 (null: any) may see. Of each partition the first $5
-- events of executors are looked at, whatever their queue, among the first $8 events of any. The ledger tells a run's queue, as
-- long as retention has left it there. is_capped: there may be more, beyond those events or of runs that the ledger hasn't got.
with spans as (
    select partition, book.pos_before(partition, $2) as since, book.pos_before(partition, $3) as upto
    from book.checkpoints
),

did as (
    select told.*
    from spans
    cross join lateral (
        select partition, pos, type, subject, at
        from book.events
        where
            partition = spans.partition
            and pos > spans.since
            and pos <= least(spans.upto, spans.since + $8) -- a plan may sort them all before it takes the first
            and actor = 'executor'
            and type in ('RunStarted', 'RunSucceeded', 'RunRetryPlanned', 'RunFailed', 'RunInterrupted', 'RunHeld')
        order by pos
        limit $5
    ) as told
),

known as (
    select did.*, runs.id as run, runs.queue, runs.tenant
    from did
    left join ledger.runs as runs on runs.id = substr(did.subject, 5)::uuid
),

ours as (
    select * from known where queue = $1 and run <> $4
),

shown as (
    select partition, pos, at
    from ours
    where type = 'RunStarted' and ($6::text is null or tenant = $6)
    order by at, partition, pos
    limit $7
)

select
    (select count(*) from ours) as signs,
    (select count(*) from ours where type = 'RunStarted') as starts,
    exists(select from did group by partition having count(*) >= $5)
    or exists(select from spans where upto > since + $8)
    or exists(select from known where run is null) as is_capped,
    (select array_agg(partition order by at, partition, pos) from shown) as partitions,
    (select array_agg(pos order by at, partition, pos) from shown) as places
