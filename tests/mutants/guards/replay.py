"""The ledgers made anew, and put in the place of the live ones."""

from .guard import Guard, integration

GUARDS = (
    Guard(
        name="replay-counted",
        protects="11: a projector doesn't write what it remembers of ledgers that were replaced",
        file="services/projector/replay/statements/swap.sql",
        text="update book.checkpoints set ledgers = ledgers + 1;",
        instead="",
        tests=integration("test_replay", "test_a_projector_remembers_nothing_of_the_ledgers_that_were"),
    ),
    Guard(
        name="replay-held-still",
        protects="who has a snapshot of before a swap doesn't find ledgers without rows",
        file="services/projector/replay/swapping.py",
        text='", ".join(["book.events", *(f"{LIVE}.{row[\'name\']}" for row in rows)])',
        instead='", ".join(f"{LIVE}.{row[\'name\']}" for row in rows)',
        tests=integration("test_replay", "test_whoever_holds_the_archive_still_is_waited_for"),
    ),
    Guard(
        name="replay-carried-runs",
        protects="onto a row that was carried over nothing is folded a second time",
        file="services/projector/replay/names.py",
        text='("join ledger.runs", "join replay.runs_known as runs"),',
        instead="",
        tests=integration("test_replay_dropped", "test_what_only_dropped_events_tell_is_carried_over"),
    ),
    Guard(
        name="replay-carried-hours",
        protects="what an hour had counted before something of it was dropped is not counted twice",
        file="services/projector/replay/gathering.py",
        text="            del made.hours[hour]",
        instead="            pass",
        tests=integration("test_replay_dropped", "test_what_only_dropped_events_tell_is_carried_over"),
    ),
    Guard(
        name="replay-forgotten-runs",
        protects="rows that retention has deleted don't come back",
        file="services/projector/replay/finishing.py",
        text="        await _forget_runs(connection)",
        instead="",
        tests=integration("test_replay_dropped", "test_rows_that_retention_has_deleted_do_not_come_back"),
    ),
    Guard(
        name="replay-drops-first",
        protects="whoever reads ledgers that were kept holds up no swap, which holds up everybody",
        file="services/projector/replay/service.py",
        text="        if not await swapping.drop_old(writer):",
        instead="        if False:",
        tests=integration("test_replay", "test_nobody_waits_for_whoever_reads_ledgers_that_were_kept"),
    ),
)
