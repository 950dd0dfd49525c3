-- jobs_alive
-- The jobs of partition $1 whose snapshots stand in Redis: all that are not over (shared.domain.job.Job.over), and those
-- whose state is null, of which nobody can tell yet.
select ref, epoch, pos, state
from book.snapshots
where partition = $1
  and (
    state is null
    or state::json ->> 'status' not in ('completed', 'deleted')
    or json_array_length(state::json -> 'active') > 0
  )
