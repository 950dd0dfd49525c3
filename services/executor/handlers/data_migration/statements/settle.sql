-- Notes how the comparison of table $3 (job $1, source $2) ended for start $4: $5 finished, or to be copied from its
-- first row again ($6: if it has a primary key).
update daybook_migration.watermarks
set finished = $5, last_key = case when $5 or not $6 then last_key end, rows_read = case when $5 or not $6 then rows_read else 0 end,
    at = now()
where job_id = $1 and source = $2 and table_name = $3 and fence = $4
