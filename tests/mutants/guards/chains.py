"""Guards of what one run leads to in other jobs."""

from .guard import Guard, integration, unit

GUARDS = (
    Guard(
        name="chain-once",
        protects="a relay that is woken again triggers nobody a second time",
        file="services/timer/relays.py",
        text="context, once=(asked_once,)",
        instead="context",
        tests=integration("test_chains", "test_a_timer_that_dies_between_two_followers_triggers_none_twice"),
    ),
    Guard(
        name="chain-depth",
        protects="a ring that two edits closed at one moment ends",
        file="services/timer/relays.py",
        text="if relay.depth >= DEPTH_MAX:",
        instead="if False:",
        tests=integration("test_chains", "test_a_ring_that_two_edits_closed_ends_by_its_depth"),
    ),
    Guard(
        name="chain-ring",
        protects="no edit makes a job follow on itself, by however many others",
        file="services/api/chains.py",
        text="return faults or await self._ring(job_id, chain, followers)",
        instead="return faults",
        tests=integration("test_chains", "test_a_ring_is_refused_however_long_it_is"),
    ),
    Guard(
        name="chain-paused",
        protects="a job that is paused doesn't run because another has ended",
        file="shared/domain/deciding.py",
        text="case FollowRun() if job.status is Status.PAUSED:",
        instead="case FollowRun() if False:",
        tests=integration("test_chains", "test_who_can_not_follow_is_named_with_the_reason"),
    ),
    Guard(
        name="chain-at-the-end",
        protects="only the end of a run is handed on, not an attempt that is repeated",
        file="shared/domain/relay.py",
        text="if outcome is None or chain is None:",
        instead="if chain is None:",
        tests=unit("test_relay", "test_a_failure_that_is_tried_again_is_no_end"),
    ),
)
