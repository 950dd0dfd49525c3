-- Whether since the replay began no migration has come and no partition was opened for the first time. Called by
-- services/projector/replay/swapping.py, with everything locked.
select
    build.migrated = (select count(*) from book.migrations)
    and (select count(*) from book.checkpoints) = (select count(*) from replay.partitions)
from replay.build
