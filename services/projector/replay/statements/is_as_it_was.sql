-- Whether no migration has come since the replay began, or is coming now. Called by services/projector/replay/swapping.py,
-- with everything locked.
select build.migrated = (select count(*) from book.migrations) from replay.build
