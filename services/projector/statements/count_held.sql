-- How many runs of these partitions ($1) wait, and what for.
select
    coalesce(held ->> 'reason', 'overlap') as reason,
    count(*) as runs
from ledger.runs
where status = 'held' and partition = any($1::integer[])
group by 1
