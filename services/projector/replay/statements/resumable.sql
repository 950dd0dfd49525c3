-- Whether what was built is still to the point: by program $1, with cold copies $2, of a schema and an archive that were
-- neither migrated nor cut since. Called by services/projector/replay/build.py.
select
    made_by = $1
    and cold = $2
    and migrated = (select count(*) from book.migrations)
    and retained
    = concat_ws(' ', (select max(cut_at) from book.archive_cuts), (select max(cut_at) from book.run_cuts))
from replay.build
