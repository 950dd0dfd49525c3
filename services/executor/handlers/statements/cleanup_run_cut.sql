-- Notes which rows of ledger.runs may be missing from now on. $1 execution, $2 its job, $3 ended before, $4 statuses.
insert into book.run_cuts (run_id, job_id, finished_before, statuses)
values ($1, $2, $3, $4)
on conflict (run_id) do update set finished_before = excluded.finished_before, statuses = excluded.statuses
