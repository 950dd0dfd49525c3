-- Notes that table $3 (job $1, source $2) is copied up to key $4, by $5 rows that were read and $6 that were new.
update daybook_migration.watermarks
set last_key = $4, rows_read = rows_read + $5, rows_copied = rows_copied + $6, at = now()
where job_id = $1 and source = $2 and table_name = $3
