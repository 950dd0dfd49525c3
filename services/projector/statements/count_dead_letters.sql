-- How many failed runs of these partitions ($1) nobody has run again.
select count(*)
from ledger.runs as dead
where
    status = 'failed'
    and partition = any($1::integer[])
    and not exists (
        select 1
        from ledger.runs as retry
        where retry.of = dead.id::text and retry.trigger = 'retry'
    )
