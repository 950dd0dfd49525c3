"""The run: given events, when a command, then events."""

from datetime import timedelta

import pytest

from shared.domain import run
from shared.domain.commands import (
    CancelRun,
    FailRun,
    HoldRun,
    InterruptRun,
    Output,
    ReleaseRun,
    StartRun,
    SucceedRun,
    Wake,
)
from shared.domain.events import Change, Failure, RunCancelRequested, RunOutput, RunRequested
from shared.domain.refusals import IllegalTransition, LostLease, NoSuchRun
from shared.domain.retry import RetryPolicy
from shared.domain.spec import LOST_MAX, run_spec
from shared.testing import LEASE, NOON, a_job_id, a_spec, at

RUN, JOB = a_job_id(), a_job_id()
FENCE = "1-5"
BOOM = Failure(class_="ValueError", message="boom")


def a_run(follows=True, held=False, max_lost=LOST_MAX, start_deadline_seconds=None, **retry):  # noqa: FBT002 - flags
    spec = a_spec(
        retry=RetryPolicy(**retry), max_lost=max_lost, start_deadline_seconds=start_deadline_seconds
    )
    requested = RunRequested(
        job_id=JOB, scheduled_for=NOON, fires_at=NOON, trigger="schedule", revision=1, held=held,
        spec=run_spec(spec, tenant="t"), follows=follows, correlation_id=RUN, requested_at=NOON,
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


# Cancels.

CANCEL = CancelRun(by="ada", reason="no need")


def retrying():
    return when(started(a_run()), fail())[1]


@pytest.mark.parametrize("state", [a_run(), a_run(held=True), retrying()], ids=["queued", "held", "retrying"])
def test_a_run_without_a_handler_at_work_is_cancelled_at_once(state):
    kinds, cancelled = when(state, CANCEL, at(5))
    assert (kinds, cancelled.status, cancelled.ended) == (["RunCancelled"], "cancelled", True)
    assert cancelled.cancel == run.Cancel(by="ada", reason="no need", at=at(5))
    assert run.due_at(cancelled, now=at(5), lease=LEASE) is None


def cancelling():
    kinds, state = when(started(a_run()), CANCEL, at(5))
    assert (kinds, state.status) == (["RunCancelRequested"], "running")
    return state


def test_a_running_run_is_asked_to_end_once():
    assert when(cancelling(), CANCEL, at(6)) == ([], cancelling())


@pytest.mark.parametrize("report", [fail(), InterruptRun(fence=FENCE)])
def test_a_start_that_ends_without_success_after_a_cancel_is_cancelled_not_repeated(report):
    kinds, state = when(cancelling(), report, at(7))
    assert (kinds, state.status) == (["RunCancelled"], "cancelled")
    assert (state.cancel.by, state.cancel.at) == ("ada", at(5))


def test_a_success_of_the_start_that_was_to_be_cancelled_stands():
    kinds, state = when(cancelling(), SucceedRun(fence=FENCE, result=1))
    assert (kinds, state.status) == (["RunSucceeded"], "succeeded")


def test_a_run_whose_worker_is_lost_after_a_cancel_is_cancelled_not_retried():
    kinds, state = when(cancelling(), Wake(), at(99))
    assert (kinds, state.status) == (["RunLost", "RunCancelled"], "cancelled")


def test_a_cancel_that_comes_after_the_end_is_refused_and_says_which():
    _, ended = when(started(a_run()), SucceedRun(fence=FENCE))
    with pytest.raises(IllegalTransition, match="it is succeeded") as refusal:
        when(ended, CANCEL)
    assert refusal.value.current == "succeeded"


SAID = Output(text="hi\n", dropped=3)

# Budgets, deadlines, and what handlers ask for.


@pytest.mark.parametrize("most", [1, 2, 5])
def test_the_budget_of_lost_workers_is_the_jobs(most):
    state = a_run(max_lost=most)
    for number in range(1, most + 1):
        kinds, state = when(started(state), Wake())
        assert kinds == ["RunLost", "RunFailed" if number == most else "RunQueued"]


def test_a_run_that_nobody_has_started_by_its_deadline_expires():
    state = a_run(start_deadline_seconds=30)
    assert run.due_at(state, now=NOON, lease=LEASE) == at(30)
    assert when(state, Wake(), at(29.999))[0] == []
    kinds, expired = when(state, Wake(), at(30))
    assert (kinds, expired.status, expired.ended) == (["RunExpired"], "expired", True)


def test_a_start_after_the_deadline_is_the_runs_expiry():
    kinds, state = when(a_run(start_deadline_seconds=30), StartRun(worker="w"), at(30))
    assert (kinds, state.status) == (["RunExpired"], "expired")


def test_only_the_first_start_has_a_deadline():
    state = started(a_run(start_deadline_seconds=30))
    _, queued = when(state, Wake(), at(60))
    assert run.due_at(queued, now=at(60), lease=LEASE) is None
    assert when(queued, StartRun(worker="w2"), at(61))[0] == ["RunStarted"]


def test_a_handler_that_asks_for_another_time_gets_it_whatever_names_and_delays_the_policy_has():
    asks = FailRun(fence=FENCE, error=BOOM, names=("RetryIn",), draw=0.5, retry_in_s=12.5)
    kinds, state = when(started(a_run(retry_on=("OSError",), give_up_on=("RetryIn",))), asks, at(1))
    assert (kinds, state.wake_at) == (["RunRetryPlanned"], at(13.5))


def test_a_handler_that_asks_for_another_time_gets_no_attempt_more_than_there_are():
    asks = FailRun(fence=FENCE, error=BOOM, names=("RetryIn",), draw=0.5, retry_in_s=12.5)
    assert when(started(a_run(max_retries=0)), asks)[0] == ["RunFailed"]


def test_a_handler_that_gives_up_ends_the_run():
    gives_up = FailRun(fence=FENCE, error=BOOM, names=("GiveUp",), draw=0.5, give_up=True)
    assert when(started(a_run()), gives_up)[0] == ["RunFailed"]


@pytest.mark.parametrize(
    ("report", "end"),
    [
        (SucceedRun(fence=FENCE, output=SAID), "RunSucceeded"),
        (
            FailRun(fence=FENCE, error=BOOM, names=(), draw=0.5, output=SAID),
            "RunRetryPlanned",
        ),
        (InterruptRun(fence=FENCE, output=SAID), "RunInterrupted"),
    ],
)
def test_what_an_attempt_has_logged_is_recorded_before_its_end(report, end):
    output, last, *_ = run.decide(started(a_run()), report, NOON, fence=FENCE).changes
    assert output.event == RunOutput(attempt=1, text="hi\n", dropped=3)
    assert type(last.event).__name__ == end


# Limits.


def held_by_a_limit(state=None, until=60, now=0, reason="concurrency"):
    hold = HoldRun(reason=reason, key="k", until=at(until))
    return when(state or a_run(), hold, at(now))[1]


def test_a_queued_run_is_held_by_a_limit_and_queued_again_when_somebody_makes_room():
    kinds, state = when(a_run(), HoldRun(reason="concurrency", key="k", until=at(60)), at(1))
    assert (kinds, state.status) == (["RunHeld"], "held")
    assert (state.hold.reason, state.hold.key, state.hold.until, state.hold.since) == (
        "concurrency", "k", at(60), at(1),
    )  # fmt: skip
    kinds, state = when(state, ReleaseRun(), at(2))
    assert (kinds, state.status) == (["RunQueued"], "queued")
    assert when(state, ReleaseRun(), at(2))[0] == []
    assert started(state).hold is None


def test_a_held_run_is_queued_when_its_time_has_come_and_keeps_its_place_if_it_must_wait_on():
    state = held_by_a_limit(now=1)
    assert run.due_at(state, now=at(1), lease=LEASE) == at(60)
    assert when(state, Wake(), at(59))[0] == []
    kinds, state = when(state, Wake(), at(60))
    assert (kinds, state.status) == (["RunQueued"], "queued")
    state = held_by_a_limit(state, until=120, now=60)
    assert state.hold.since == at(1)


def test_a_held_run_is_due_when_the_due_index_can_say_that_its_time_has_come():
    state = held_by_a_limit(until=0.0005)
    assert run.due_at(state, now=NOON, lease=LEASE) == at(0.001)
    assert when(state, Wake(), at(0.001))[0] == ["RunQueued"]


@pytest.mark.parametrize("command", [Wake(), ReleaseRun(), StartRun(worker="w")])
def test_a_run_that_a_limit_held_until_its_start_deadline_expires(command):
    state = held_by_a_limit(a_run(start_deadline_seconds=30))
    assert run.due_at(state, now=NOON, lease=LEASE) == at(30)
    if isinstance(command, StartRun):
        state = when(state, ReleaseRun(), at(29))[1]
    kinds, state = when(state, command, at(30))
    assert (kinds, state.status) == (["RunExpired"], "expired")


def test_a_held_run_is_cancelled_at_once():
    kinds, state = when(held_by_a_limit(), CancelRun(by="ann"))
    assert (kinds, state.status) == (["RunCancelled"], "cancelled")


@pytest.mark.parametrize("state", [started(a_run()), a_run(held=True), held_by_a_limit()])
def test_only_a_queued_run_is_held(state):
    with pytest.raises(IllegalTransition, match="not queued"):
        when(state, HoldRun(reason="rate", key="t", until=at(1)))


def test_what_an_overlap_holds_is_its_jobs_to_release():
    state = a_run(held=True)
    assert when(state, ReleaseRun())[0] == []
    assert run.due_at(state, now=NOON, lease=LEASE) is None


def test_a_key_is_its_tenants_alone():
    spec = a_spec(concurrency_key="k")
    ours, theirs = (run_spec(spec, tenant=tenant).concurrency for tenant in ("ours", "theirs"))
    assert (ours.key, ours.limit) == ("k", 1)
    assert ours.pool != theirs.pool
    assert (
        ours.pool
        == run_spec(a_spec(concurrency_key="k", concurrency_limit=7), tenant="ours").concurrency.pool
    )
    assert run_spec(a_spec(), tenant="ours").concurrency is None


def test_a_run_that_is_to_end_is_not_held_and_one_that_is_held_ends():
    cancel = Change(
        subject=f"run:{RUN}", event=RunCancelRequested(by="daybook", reason="r", requested_at=at(5))
    )
    state = run.evolve(a_run(), cancel)
    assert when(state, HoldRun(reason="rate", key="t", until=at(9)))[0] == ["RunCancelled"]
    state = run.evolve(held_by_a_limit(), cancel)
    assert run.due_at(state, now=at(5), lease=LEASE) == at(5)
    assert when(state, ReleaseRun(), at(5))[0] == when(state, Wake(), at(5))[0] == ["RunCancelled"]
