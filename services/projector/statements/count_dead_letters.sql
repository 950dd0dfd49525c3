-- How many failed runs of these partitions ($1) nobody has run again.
select count(*) from ledger.runs where status = 'failed' and partition = any($1::integer[])
