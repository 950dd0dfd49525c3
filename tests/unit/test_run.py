"""The run: given events, when a command, then events."""

from datetime import timedelta

import pytest

from shared.domain import run
from shared.domain.commands import FailRun, InterruptRun, StartRun, SucceedRun, Wake
from shared.domain.events import Change, Failure, RunRequested
from shared.domain.refusals import IllegalTransition, LostLease, NoSuchRun
from shared.domain.retry import RetryPolicy
from shared.domain.spec import LOST_MAX, run_spec
from shared.testing import LEASE, NOON, a_job_id, a_spec, at

RUN, JOB = a_job_id(), a_job_id()
FENCE = "1-5"
BOOM = Failure(class_="ValueError", message="boom")


def a_run(follows=True, **retry):  # noqa: FBT002 - a flag of the fixture
    requested = RunRequested(
        job_id=JOB, scheduled_for=NOON, fires_at=NOON, trigger="schedule", revision=1,
        spec=run_spec(a_spec(retry=RetryPolicy(**retry))), follows=follows, correlation_id=RUN, requested_at=NOON,
    )  # fmt: skip
    return run.evolve(None, Change(subject=f"run:{RUN}", event=requested, job=JOB, both=follows))


def when(state, command, now=NOON, fence=FENCE):
    decision = run.decide(state, command, now, fence=fence)
    for change in decision.changes:
        state = run.evolve(state, change)
    return [type(change.event).__name__ for change in decision.changes], state


def started(state):
    return when(state, StartRun(worker="w1"))[1]


def fail(fence=FENCE, draw=0.5):
    return FailRun(
        fence=fence, error=BOOM, names=("ValueError", "builtins.ValueError", "Exception"), draw=draw
    )


def test_a_queued_run_starts_and_succeeds():
    kinds, state = when(a_run(), StartRun(worker="w1"))
    assert (kinds, state.status, state.attempt, state.worker) == (["RunStarted"], "running", 1, "w1")
    assert run.due_at(state, now=at(1), lease=LEASE) == at(1) + LEASE
    kinds, state = when(state, SucceedRun(fence=FENCE, result={"n": 1}))
    assert (kinds, state.status, state.ended) == (["RunSucceeded"], "succeeded", True)
    assert run.due_at(state, now=at(1), lease=LEASE) is None


def test_a_failed_attempt_is_retried_after_its_back_off_until_none_is_left():
    state = a_run(max_retries=2, jitter=0.0)
    for number, delay_s in ((1, 1), (2, 2)):
        kinds, state = when(started(state), fail(), at(10))
        assert (kinds, state.status, state.wake_at) == (["RunRetryPlanned"], "retrying", at(10 + delay_s))
        assert run.due_at(state, now=at(10), lease=LEASE) == at(10 + delay_s)
        assert when(state, Wake(), at(10 + delay_s) - timedelta(milliseconds=1))[0] == []
        kinds, state = when(state, Wake(), at(10 + delay_s))
        assert (kinds, state.status, state.attempt) == (["RunQueued"], "queued", number)
    kinds, state = when(started(state), fail())
    assert (kinds, state.status, state.attempt) == (["RunFailed"], "failed", 3)


def test_no_worker_sleeps_and_the_drawn_delay_is_in_the_log():
    decision = run.decide(started(a_run(jitter=0.5)), fail(draw=0.75), NOON, fence=FENCE)
    (change,) = decision.changes
    assert change.event.delay_seconds == 1.25
    assert change.event.wake_at == at(1.25)


def test_a_lost_run_is_queued_again_at_once_and_keeps_its_retries():
    kinds, state = when(started(a_run(max_retries=0)), Wake(), at(16))
    assert (kinds, state.status, state.lost, state.failures) == (["RunLost", "RunQueued"], "queued", 1, 0)


def test_a_run_that_loses_three_workers_is_poison():
    state = a_run()
    for _ in range(LOST_MAX - 1):
        _, state = when(started(state), Wake())
    kinds, state = when(started(state), Wake())
    assert (kinds, state.status) == (["RunLost", "RunFailed"], "failed")


def test_an_interrupted_run_goes_back_without_a_failure():
    kinds, state = when(started(a_run()), InterruptRun(fence=FENCE))
    assert (kinds, state.status, state.failures, state.lost) == (
        ["RunInterrupted", "RunQueued"],
        "queued",
        0,
        0,
    )


@pytest.mark.parametrize("report", [SucceedRun(fence="1-4"), fail(fence="1-4"), InterruptRun(fence="1-4")])
def test_a_report_from_a_start_that_lost_the_run_is_refused(report):
    with pytest.raises(LostLease):
        when(started(a_run()), report)


@pytest.mark.parametrize("report", [SucceedRun(fence=FENCE), fail(), InterruptRun(fence=FENCE)])
def test_nothing_follows_a_terminal_event(report):
    _, ended = when(started(a_run()), SucceedRun(fence=FENCE))
    with pytest.raises(LostLease):
        when(ended, report)
    with pytest.raises(IllegalTransition):
        when(ended, StartRun(worker="w2"))
    assert when(ended, Wake(), at(9999))[0] == []


def test_a_run_starts_once_at_a_time():
    with pytest.raises(IllegalTransition):
        when(started(a_run()), StartRun(worker="w2"))


def test_an_unknown_run_is_refused():
    with pytest.raises(NoSuchRun):
        when(None, StartRun(worker="w"))


@pytest.mark.parametrize("follows", [True, False])
def test_only_the_end_of_a_followed_run_advances_its_job(follows):
    state = started(a_run(follows=follows))
    (end,) = run.decide(state, SucceedRun(fence=FENCE), NOON, fence=FENCE).changes
    assert end.advances == ((f"run:{RUN}", f"job:{JOB}") if follows else (f"run:{RUN}",))
    (start,) = run.decide(a_run(follows=follows), StartRun(worker="w"), NOON, fence="").changes
    assert start.advances == (f"run:{RUN}",)
