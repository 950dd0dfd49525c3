-- Begins, or goes on with, a table in the name of a start; no row: a later start has it.
-- $1 job  $2 source  $3 table  $4 run  $5 bigint[] fence  $6 boolean: the table has a primary key.
-- What another run has finished begins anew, if rows can be told apart; what it has left unfinished goes on.
insert into daybook_migration.watermarks as w (job_id, source, table_name, run_id, fence)
values ($1, $2, $3, $4, $5)
on conflict (job_id, source, table_name) do update set
    run_id = excluded.run_id,
    fence = excluded.fence,
    last_key = case when w.finished and w.run_id <> excluded.run_id and $6 then null else w.last_key end,
    rows_read = case when w.finished and w.run_id <> excluded.run_id and $6 then 0 else w.rows_read end,
    rows_copied = case when w.run_id <> excluded.run_id then 0 else w.rows_copied end,
    finished = w.finished and (w.run_id = excluded.run_id or not $6),
    at = now()
where w.fence <= excluded.fence
returning last_key, rows_read, rows_copied, finished
