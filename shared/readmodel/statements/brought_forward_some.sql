-- What was brought forward of the aggregates $1 (refs).
select
    ref, epoch, pos, shape, state, fence, start_id, active_runs, last_run_id::text, last_run_status,
    last_run_finished_at, told_epoch, told_pos
from book.brought_forward
where ref = any($1::text[])
