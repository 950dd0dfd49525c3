"""Backfills: each occurrence once, so many at a time, and what is owed told rightly."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="backfill-room",
        protects="never more runs of a backfill are unfinished than may be",
        file="shared/domain/backfill.py",
        text="return min(self.spec.max_parallel - len(self.unfinished), len(self.spec.times) - self.requested)",
        instead="return len(self.spec.times) - self.requested",
        tests=unit(
            "test_backfill", "test_in_whatever_order_each_occurrence_runs_once_and_never_more_than_may"
        ),
    ),
    Guard(
        name="backfill-one",
        protects="no two backfills of a job are under way, which could ask for the same occurrences",
        file="shared/domain/backfilling.py",
        text="if job.backfill is not None:",
        instead="if False:",
        tests=integration(
            "test_api_backfills", "test_a_second_one_of_a_job_is_refused_by_the_name_of_the_first"
        ),
    ),
    Guard(
        name="backfill-ends",
        protects="the end of a run advances its backfill in the same unit, so that nothing has to look after it",
        file="shared/eventlog/decider.py",
        text="changes = await self._told_to_backfills(changes, known, now) + changes",
        instead="",
        tests=integration("test_backfills", "test_ends_at_one_moment_are_each_counted_once"),
    ),
    Guard(
        name="backfill-undecided",
        protects="what the schedule is still to decide is not run by a backfill too",
        file="shared/domain/past.py",
        text="until = min(until, job.next_for)",
        instead="pass",
        tests=unit("test_past", "test_what_the_schedule_is_still_to_decide_is_its_own"),
    ),
    Guard(
        name="backfill-level",
        protects="what is missing is told by a ledger that has all that the log has",
        file="services/api/owing.py",
        text="await self._level(ids.partition_of(job.id))",
        instead="",
        tests=integration("test_api_backfills", "test_it_waits_until_the_ledger_has_all_that_the_log_has"),
    ),
    Guard(
        name="backfill-forgotten",
        protects="runs that were cleaned up are not taken for missing",
        file="services/api/owing.py",
        text="if whole_from is not None and span.since < whole_from:",
        instead="if False:",
        tests=integration(
            "test_api_backfills", "test_what_was_cleaned_up_or_was_not_to_run_is_not_taken_for_missing"
        ),
    ),
)
