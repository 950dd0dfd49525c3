"""Jitter, excluded dates, and occurrences that people skip."""

from .guard import Guard, unit

GUARDS = (
    Guard(
        name="jitter-bound",
        protects="jitter never carries an occurrence past the next one's time",
        file="shared/domain/jitter.py",
        text="min(most_ms, ids.to_ms(following) - at_ms - 1)",
        instead="most_ms",
        tests=unit("test_jitter", "test_firing_keeps_the_order_of_the_times"),
    ),
    Guard(
        name="jitter-due",
        protects="after an outage, what jitter still holds back isn't run with what is due",
        file="shared/domain/settling.py",
        text="return fires_at(schedule, job.id, at, following) <= self._by",
        instead="return True",
        tests=unit("test_jitter", "test_as_many_are_undecided_as_have_fired"),
    ),
    Guard(
        name="jitter-begun",
        protects="an edit or a deletion records the occurrence that jitter held back",
        file="shared/domain/settling.py",
        text="if begun is not None and begun <= self.now:",
        instead="if False:",
        tests=unit("test_jitter", "test_a_deletion_records_what_it_drops"),
    ),
    Guard(
        name="jitter-less",
        protects="less jitter makes no occurrence late, and so skipped, that was held back",
        file="shared/domain/deciding.py",
        text="if next_for is not None and next_for == job.next_for and next_for <= now:",
        instead="if False:",
        tests=unit("test_jitter", "test_less_jitter_makes_what_was_held_back_due_and_not_late"),
    ),
    Guard(
        name="exclude-put-back",
        protects="a clock put back over midnight doesn't carry a search past a day that isn't excluded",
        file="shared/domain/exclude.py",
        text="if put_back is not None and at < put_back.at:",
        instead="if False:",
        tests=unit("test_exclude", "test_an_excluded_day_is_the_day_of_the_wall_clock"),
    ),
    Guard(
        name="skip-by-hand",
        protects="what somebody skipped doesn't run",
        file="shared/domain/settling.py",
        text='            return Drop("excluded", by)\n',
        instead="            return None\n",
        tests=unit("test_skipping", "test_every_occurrence_is_decided_once_and_every_skipped_one_as_that"),
    ),
    Guard(
        name="skip-decided",
        protects="a skip that comes after the decision is told so",
        file="shared/domain/skipping.py",
        text="if job.decided_to is not None and at <= job.decided_to and _was_one(job, at):",
        instead="if False:",
        tests=unit(
            "test_skipping",
            "test_a_skip_that_comes_too_late_is_refused_also_if_nobody_has_woken_the_job_yet",
        ),
    ),
)
