-- How many runs of these partitions ($1) wait for others to end.
select count(*)
from ledger.runs
where status = 'held' and partition = any($1::integer[])
