"""What the ends of its runs lead to on a job that follows them."""

import pytest
from msgspec.structs import replace

from shared.domain import following, ids, job
from shared.domain.events import (
    Change,
    Failure,
    JobCreated,
    JobPaused,
    JobResumed,
    RunCancelled,
    RunExpired,
    RunFailed,
    RunSucceeded,
)
from shared.testing import NOON, a_spec

JOB = ids.chance_id(NOON, 0, 1)
FAILED = RunFailed(attempt=1, error=Failure(class_="OSError", message="no"))
SUCCEEDED = RunSucceeded(attempt=1)
CANCELLED = RunCancelled(attempt=1, by="ann", reason="", cancelled_at=NOON)
EXPIRED = RunExpired(start_by=NOON)
RESUMED = JobResumed(by="ann", resumed_at=NOON)


def a_job(**policies):
    event = JobCreated(
        spec=a_spec(every=10, **policies),
        owner="ann",
        tenant="t",
        created_at=NOON,
        anchor_at=NOON,
        next_for=NOON,
    )
    return job.evolve(None, Change(subject=f"job:{JOB}", event=event))


def end(event, number=1):
    return Change(subject=f"run:{ids.chance_id(NOON, 0, number)}", event=event, job=JOB, both=True)


def after(state, *events):
    """The job after `events` and all that they lead to; and what that was, of the last."""
    led: tuple[Change, ...] = ()
    for event in events:
        change = Change(subject=f"job:{JOB}", event=event) if isinstance(event, JobResumed) else end(event)
        led = following.consequences(following.after(state, [change]), [change], None, NOON)
        for each in (change, *led):
            state = job.evolve(state, each)
    return state, led


@pytest.mark.parametrize("overlap", ["skip", "allow"])
def test_so_many_failures_in_a_row_pause_the_job(overlap):
    state = a_job(pause_after_failures=3, overlap_policy=overlap)
    assert state.follows
    state, led = after(state, FAILED, FAILED)
    assert led == ()
    state, led = after(state, FAILED)
    assert led == (
        Change(
            subject=f"job:{JOB}",
            event=JobPaused(by="daybook", reason="3 runs in a row have failed", paused_at=NOON),
        ),
    )
    assert state.status is job.Status.PAUSED


def test_one_may_be_enough():
    _, led = after(a_job(pause_after_failures=1), FAILED)
    assert [change.event.reason for change in led] == ["a run has failed"]


def test_a_success_begins_the_count_anew_and_other_ends_say_nothing():
    state, led = after(a_job(pause_after_failures=2), FAILED, CANCELLED, EXPIRED)
    assert (led, state.failures) == ((), 1)
    state, led = after(state, SUCCEEDED, FAILED)
    assert (led, state.failures) == ((), 1)
    assert after(state, FAILED)[1]


def test_whoever_resumes_it_gives_it_as_many_again():
    state, _ = after(a_job(pause_after_failures=2), FAILED, FAILED, RESUMED, FAILED)
    assert state.status is job.Status.PENDING
    assert after(state, FAILED)[0].status is job.Status.PAUSED


def test_a_limit_that_an_edit_has_lowered_waits_for_the_next_failure():
    state, _ = after(a_job(pause_after_failures=5), FAILED, FAILED, FAILED)
    lowered = replace(state, spec=a_spec(every=10, pause_after_failures=2))
    state, led = after(lowered, CANCELLED)
    assert led == ()
    assert after(state, FAILED)[0].status is job.Status.PAUSED


def test_what_is_paused_already_is_left_as_it_is():
    state, _ = after(a_job(pause_after_failures=1), FAILED)
    assert after(state, FAILED)[1] == ()


def test_only_ends_that_the_job_follows_lead_to_anything():
    alone = Change(subject=f"run:{JOB}", event=FAILED, job=JOB)
    assert not following.has_followed([alone])
    assert following.has_followed([end(FAILED)])
