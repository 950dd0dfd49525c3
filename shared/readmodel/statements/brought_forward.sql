-- What was brought forward of partition $1: refs that begin with $2.
select
    ref, epoch, pos, shape, state, fence, start_id, active_runs, last_run_id::text, last_run_status,
    last_run_finished_at, told_epoch, told_pos
from book.brought_forward
where partition = $1 and ref like $2 || '%'
