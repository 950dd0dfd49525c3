"""Guards of pauses, of what their ends catch up, and of the stop switch."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="pause-end",
        protects="what fell due after the end of a pause is no part of it, however late the timer is",
        file="shared/domain/settling.py",
        text="            return pause.until\n",
        instead="            return self.now\n",
        tests=unit("test_pauses", "test_what_fell_due_after_the_end_of_a_pause_is_up_to_the_misfire_policy"),
    ),
    Guard(
        name="pause-caught-up",
        protects="what falls due while a pause is caught up is no part of it",
        file="shared/domain/job.py",
        text="catching if fires is not None and fires <= catching.to else None",
        instead="catching if fires is not None else None",
        tests=unit("test_pauses", "test_what_falls_due_while_a_pause_is_caught_up_waits_its_turn"),
    ),
    Guard(
        name="pause-catch-up-bound",
        protects="the end of a pause runs at most a thousand of what fell due in it",
        file="shared/domain/job.py",
        text="left=job.catching_up.left - 1",
        instead="left=job.catching_up.left",
        tests=unit(
            "test_pauses",
            "test_all_runs_the_oldest_thousand_of_a_pause_in_their_order_and_records_the_rest",
        ),
    ),
    Guard(
        name="pause-undecided",
        protects="no occurrence of a pause is lost between its skips and its end",
        file="shared/domain/settling.py",
        text='if pause.catch_up == "skip" and self._has_due:',
        instead="if False:",
        tests=unit("test_pauses", "test_a_long_pause_is_settled_in_several_units_before_it_ends"),
    ),
    Guard(
        name="pause-suspended",
        protects="a job that can't be decided at the end of its pause isn't woken for it for ever",
        file="shared/domain/pausing.py",
        text="if job.status is not Status.PENDING and not (job.status is Status.PAUSED and has_end):",
        instead="if job.status is not Status.PENDING:",
        tests=unit(
            "test_pauses", "test_what_can_not_be_decided_at_the_end_of_its_pause_stays_paused_without_one"
        ),
    ),
    Guard(
        name="switch-ends-its-own",
        protects="the end of a maintenance resumes nothing that somebody has paused",
        file="shared/domain/pausing.py",
        text="return command.switch is None or (",
        instead="return True or (",
        tests=unit(
            "test_pauses",
            "test_a_switch_leaves_alone_what_somebody_has_paused_and_what_another_one_has",
        ),
    ),
    Guard(
        name="switch-goes-on",
        protects="what a switch had no time for is told, and done by the next request",
        file="services/api/switches.py",
        text="done.cursor = come_to if left or len(rows) > LOOKED_MAX else None",
        instead="done.cursor = None",
        tests=integration("test_api_pauses", "test_what_time_does_not_suffice_for_is_the_next_requests"),
    ),
    Guard(
        name="switch-scope",
        protects="a key of one tag's request answers no other tag's",
        file="services/api/idempotency.py",
        text="    if request.query_string:\n",
        instead="    if False:\n",
        tests=integration("test_api_pauses", "test_what_a_crash_cuts_off_is_done_by_the_same_request_again"),
    ),
    Guard(
        name="failures-pause",
        protects="runs that keep failing pause their job in the unit of the last of them",
        file="shared/domain/following.py",
        text="if most is None or job.failures < most",
        instead="if most is None or job.failures <= most",
        tests=integration(
            "test_pauses", "test_runs_that_keep_failing_pause_their_job_in_the_unit_of_the_last_of_them"
        ),
    ),
)
