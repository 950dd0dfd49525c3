-- How many jobs there are in these partitions ($1), by status and type.
select status, job_type, count(*) as jobs from ledger.jobs where partition = any($1::integer[]) group by status, job_type
