"""Runs beside each other: who waits, who is released, who is replaced."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="release",
        protects="trace 6: the end of the last active run queues who waits, in the same unit",
        file="shared/domain/following.py",
        text="return (*_released(job, released), *_paused_by_failures(job, changes, now))",
        instead="return (*_paused_by_failures(job, changes, now),)",
        tests=unit(
            "test_overlaps", "test_with_queue_one_one_waits_and_those_after_it_are_skipped_for_its_sake"
        ),
    ),
    Guard(
        name="release-when-all-have-ended",
        protects="who waits is not released beside another that is active",
        file="shared/domain/following.py",
        text="if job.waiting and not job.active else None",
        instead="if job.waiting else None",
        tests=unit(
            "test_overlaps",
            "test_a_trigger_that_may_run_beside_others_doesnt_wait_and_keeps_the_rest_waiting",
        ),
    ),
    Guard(
        name="replaced-unstarted",
        protects="a run that was replaced between claim and start is not started",
        file="shared/domain/run.py",
        text="case StartRun() | HoldRun() if (end := _end_instead(run, now)) is not None:",
        instead="case StartRun() | HoldRun() if _is_overdue(run, now) and (end := _end_instead(run, now)) is not None:",
        tests=integration(
            "test_overlap_races",
            "test_a_queued_run_that_is_replaced_leaves_its_work_stream_and_is_due_at_once",
        ),
    ),
    Guard(
        name="replaced-unoffered",
        protects="a queued run that is replaced stands in no work stream, under whatever version",
        file="shared/domain/run.py",
        text="return self.status is Status.QUEUED and self.cancel is None",
        instead="return self.status is Status.QUEUED",
        tests=integration(
            "test_overlap_races",
            "test_a_queued_run_that_is_replaced_leaves_its_work_stream_and_is_due_at_once",
        ),
    ),
    Guard(
        name="requested-meanwhile",
        protects="a run that another process has requested meanwhile is known when it is replaced",
        file="shared/eventlog/decider.py",
        text="            del known[each]",
        instead="            pass",
        tests=integration(
            "test_overlap_races",
            "test_occurrences_that_another_timer_has_decided_meanwhile_are_replaced_like_any_run",
        ),
    ),
    Guard(
        name="blocked-backlog",
        protects="what stands in the way of a whole backlog is told of it at once, not of one occurrence a unit",
        file="shared/domain/settling.py",
        text="return drops  # none runs, so none counts as one of those that are left",
        instead="pass",
        tests=unit(
            "test_overlaps",
            "test_a_backlog_that_nothing_can_run_of_is_told_as_that_and_not_one_by_one",
        ),
    ),
    Guard(
        name="released-is-no-answer",
        protects="a cancel under a key is answered by its own run in a log made again",
        file="shared/eventlog/once.py",
        text="and event.type not in _FOLLOWS",
        instead="",
        tests=unit(
            "test_once",
            "test_a_cancel_under_a_key_is_answered_by_its_run_and_not_by_the_one_that_takes_its_place",
        ),
    ),
)
