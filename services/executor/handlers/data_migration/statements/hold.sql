-- The note of table $3, job $1, source $2, held until the transaction ends; no row: it is no longer start $4's.
select last_key, rows_read, rows_copied, finished from daybook_migration.watermarks
where job_id = $1 and source = $2 and table_name = $3 and fence = $4
for update
