-- The ledgers made anew are the live ones from here on; with them goes what else a fold of the archive leaves in `book`.
-- Called by services/projector/replay/swapping.py, in a transaction in which everything is locked.
select book.make_months('ledger_next.runs', now());

alter schema ledger rename to ledger_before;
alter schema ledger_next rename to ledger;

-- Projectors look again: at their checkpoints, and at rows of which they remember others.
update book.checkpoints set ledgers = ledgers + 1;

-- What could not be read or written then, and can be now, is told of no more.
delete from book.projection_errors as errors
using replay.partitions
where errors.partition = partitions.partition and errors.pos > partitions.begins;

insert into book.projection_errors select * from replay.projection_errors on conflict do nothing;

-- States that a projector could not tell, of jobs that nothing has happened to since.
update book.snapshots
set shape = told.shape, state = told.state
from replay.snapshots as told
where
    told.ref = snapshots.ref
    and (told.epoch, told.pos) = (snapshots.epoch, snapshots.pos)
    and snapshots.state is null
    and told.state is not null;

-- Waypoints of what was archived before there were any; none from before an archive begins.
insert into book.waypoints
select waypoints.*
from replay.waypoints
where pos >= coalesce((select max(pos) from book.archive_cuts where archive_cuts.partition = waypoints.partition), 0)
on conflict (job, pos) do update set
    shape = excluded.shape,
    state = excluded.state,
    active_runs = excluded.active_runs,
    last_run_id = excluded.last_run_id,
    last_run_status = excluded.last_run_status,
    last_run_finished_at = excluded.last_run_finished_at
where (waypoints.state, waypoints.active_runs, waypoints.last_run_id)
    is distinct from (excluded.state, excluded.active_runs, excluded.last_run_id);

drop schema replay cascade;
