-- How many events of forked logs of these partitions ($1) lie in quarantine.
select count(*) from book.quarantine where partition = any($1::integer[])
