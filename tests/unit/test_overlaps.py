"""A run that is asked for while another of its job is active."""

from itertools import pairwise

import pytest

from shared.domain import overlaps
from shared.domain.commands import (
    DeleteJob,
    FollowRun,
    PauseJob,
    ResumeJob,
    RetryRun,
    SkipOccurrence,
    UpdateJob,
    Wake,
)
from shared.domain.events import (
    JobDeleted,
    JobPaused,
    OccurrencesSkipped,
    RunCancelled,
    RunCancelRequested,
    RunExpired,
    RunQueued,
    RunRequested,
)
from shared.domain.refusals import IllegalTransition, KeepsNoList, Overlaps, Paused, WaitingIsFull
from shared.domain.retry import RetryPolicy
from shared.domain.run import Status
from shared.testing import a_spec, at

from .one_job import OneJob

NO_RETRY = RetryPolicy(max_retries=0)
WAITS = ("queue_one", "queue_all", "replace")


def names(events):
    return [type(event).__name__ for event in events]


def skipped(events):
    return [(e.from_, e.to, e.count, e.by) for e in events if isinstance(e, OccurrencesSkipped)]


def busy(policy, **spec):
    """A job of which one run is at work, asked for by its schedule at 10 s."""
    one = OneJob(**{"every": 10, "misfire_grace_seconds": 3600} | spec, overlap_policy=policy)
    one.wake(10)
    (first,) = one.job.active
    one.start(first)
    return one, first


@pytest.mark.parametrize("policy", ["skip", *WAITS])
def test_where_nothing_is_active_a_run_starts_at_once(policy):
    one = OneJob(every=10, overlap_policy=policy)
    (requested,) = one.wake(10)
    assert not requested.held
    assert one.runs(Status.QUEUED) == list(one.job.active)
    one.check()


# queue_one: the first that comes waits.


def test_with_queue_one_one_waits_and_those_after_it_are_skipped_for_its_sake():
    one, first = busy("queue_one")
    (requested,) = one.wake(20)
    assert requested.held
    (second,) = one.job.waiting
    assert one.run(second).status is Status.HELD
    assert skipped(one.wake(40)) == [(at(30), at(40), 2, second)]
    with pytest.raises(WaitingIsFull, match="as many wait as may"):
        one.trigger()
    assert names(one.succeed(first)) == ["RunSucceeded", "RunQueued"]
    assert (one.job.active, one.job.waiting) == ((second,), ())
    assert one.run(second).status is Status.QUEUED
    one.check()


def test_with_queue_one_a_trigger_takes_the_place_if_it_comes_first():
    one, _ = busy("queue_one")
    ours = one.trigger()
    assert one.job.waiting == (ours,)
    assert skipped(one.wake(20)) == [(at(20), at(20), 1, ours)]


def test_of_several_due_at_once_one_starts_one_waits_the_rest_is_skipped():
    one = OneJob(every=10, overlap_policy="queue_one", misfire_grace_seconds=3600)
    told = one.wake(50)
    assert [event.held for event in told if isinstance(event, RunRequested)] == [False, True]
    assert skipped(told) == [(at(30), at(50), 3, one.job.waiting[0])]


# queue_all: all wait, in order.


def test_with_queue_all_all_wait_and_run_in_their_order():
    one, first = busy("queue_all")
    one.wake(40)
    manual = one.trigger()
    order = [first, *one.job.waiting]
    assert order[-1] == manual
    assert len(order) == 5
    for run_id, following in pairwise(order):
        assert one.job.active == (run_id,)
        if one.run(run_id).status is Status.QUEUED:
            one.start(run_id)
        one.succeed(run_id)
        assert one.job.active == (following,)
        one.check()
    one.check_order()


def test_so_many_wait_and_no_more():
    one = OneJob(every=1, overlap_policy="queue_all", misfire_grace_seconds=86_400)
    told = one.wake(1_100)
    assert len(one.job.waiting) == overlaps.WAITING_MAX
    assert sum(event.count for event in told if isinstance(event, OccurrencesSkipped)) == 99
    assert {by for *_, by in skipped(told)} == {one.job.waiting[0]}
    with pytest.raises(WaitingIsFull):
        one.trigger()
    first, second = one.job.active[0], one.job.waiting[0]
    one.start(first)
    one.succeed(first)
    assert one.job.active == (second,)
    assert one.wake(1_101)[0].held, "there is room again"
    one.check()


# replace: the newest runs, once what it replaces has ended.


def test_with_replace_the_active_run_is_to_end_and_the_new_one_waits_for_that():
    one, first = busy("replace")
    told = one.wake(20)
    assert names(told) == ["RunCancelRequested", "RunRequested"]
    (second,) = one.job.waiting
    assert told[0].reason == f"replaced by {second}"
    assert one.run(first).status is Status.RUNNING, "its handler is to be stopped first"
    assert names(one.wake_run(first)) == ["RunLost", "RunCancelled", "RunQueued"]
    assert one.job.active == (second,)
    one.check()


def test_what_waits_is_replaced_too_and_the_active_one_is_asked_once():
    one, first = busy("replace")
    one.wake(20)
    (second,) = one.job.waiting
    told = one.wake(30)
    assert names(told) == ["RunCancelled", "RunRequested"]
    (third,) = one.job.waiting
    assert told[0].reason == f"replaced by {third}"
    assert one.run(second).status is Status.CANCELLED
    assert one.run(second).attempt == 0
    assert one.run(first).cancel.reason == f"replaced by {second}"
    one.check()


def test_who_wished_first_for_its_end_is_named():
    one, first = busy("replace")
    one.cancel(first)
    one.wake(20)
    assert len([c for c in one.changes if isinstance(c.event, RunCancelRequested)]) == 2
    one.wake_run(first)
    assert one.run(first).cancel.by == "ann"


def test_a_success_that_is_faster_than_the_cancel_stands():
    one, first = busy("replace")
    one.wake(20)
    (second,) = one.job.waiting
    assert names(one.succeed(first)) == ["RunSucceeded", "RunQueued"]
    assert one.job.active == (second,)
    assert one.job.stopping == ()


@pytest.mark.parametrize("end", ["wake", "start"])
def test_a_queued_run_that_is_replaced_is_never_started(end):
    one = OneJob(every=10, overlap_policy="replace")
    one.wake(10)
    (first,) = one.job.active
    one.wake(20)
    (second,) = one.job.waiting
    assert not one.run(first).offered
    assert one.due_runs() == [first]
    told = one.wake_run(first) if end == "wake" else one.start(first)
    assert names(told) == ["RunCancelled", "RunQueued"]
    assert one.run(first).attempt == 0
    assert one.job.active == (second,)
    one.check()


def test_a_run_between_two_attempts_is_replaced_before_the_next():
    one, first = busy("replace")
    one.fail(first)
    assert one.run(first).status is Status.RETRYING
    one.wake(20)
    assert one.due_runs() == [first]
    assert names(one.wake_run(first)) == ["RunCancelled", "RunQueued"]


def test_of_several_due_at_once_the_newest_replaces_the_others():
    one = OneJob(every=10, overlap_policy="replace", misfire_grace_seconds=3600)
    told = one.wake(50)
    (run_id,) = one.job.active
    assert skipped(told) == [(at(10), at(40), 4, run_id)]
    assert one.run(run_id).scheduled_for == at(50)


def test_a_backlog_longer_than_a_unit_is_replaced_by_its_newest():
    one = OneJob(every=1, overlap_policy="replace", misfire_grace_seconds=86_400)
    told = one.wake(2_500)
    assert sum(event.count for event in told if isinstance(event, OccurrencesSkipped)) == 2_497
    (last,) = one.job.waiting
    assert one.run(last).scheduled_for == at(2_500)
    assert one.due_runs() == list(one.job.active)
    one.wake_run(one.job.active[0])
    assert one.job.active == (last,)
    assert [one.run(run_id).attempt for run_id in one.runs()] == [0, 0, 0]
    one.check()


def test_what_somebody_skipped_by_hand_replaces_nothing():
    one, first = busy("replace")
    one.do(SkipOccurrence(scheduled_for=at(30), by="ann"))
    told = one.wake(35)
    assert names(told) == ["RunCancelRequested", "RunRequested", "OccurrencesSkipped"]
    (second,) = one.job.waiting
    assert one.run(second).scheduled_for == at(20)
    assert one.run(first).cancel.reason == f"replaced by {second}"


def test_an_occurrence_and_a_trigger_that_replaces_it_go_into_one_unit():
    one = OneJob(every=10, overlap_policy="replace")
    one.now = at(10)
    ours = one.trigger()
    assert names(change.event for change in one.told) == [
        "RunRequested",
        "RunCancelRequested",
        "RunRequested",
    ]
    (scheduled,) = one.job.active
    assert one.job.waiting == (ours,)
    assert not one.run(scheduled).offered
    one.check()


def test_more_may_wait_than_a_unit_replaces():
    one = OneJob(every=1, overlap_policy="queue_all", misfire_grace_seconds=86_400)
    one.wake(500)
    one.start(one.job.active[0])
    ours = one.trigger("replace")
    assert one.job.waiting == (ours,)
    assert len(one.runs(Status.CANCELLED)) == 499
    one.check()
    one.do(UpdateJob(spec=a_spec(every=1, overlap_policy="queue_all", misfire_grace_seconds=86_400)))
    one.wake(1_000)
    one.do(UpdateJob(spec=a_spec(every=1, overlap_policy="replace", misfire_grace_seconds=86_400)))
    one.wake(1_001)
    (last,) = one.job.waiting
    assert one.run(last).scheduled_for == at(1_001)
    one.check()


@pytest.mark.parametrize("paused", [False, True])
def test_a_backlog_that_nothing_can_run_of_is_told_as_that_and_not_one_by_one(paused):
    one = OneJob(every=1, overlap_policy="queue_all", misfire_policy="all")
    for _ in range(3):
        one.trigger()  # so that there is room for two less than may be caught up
    if paused:
        one.do(PauseJob(by="ann", until=at(5_000), catch_up="all"))
    one.units.clear()
    one.wake(5_000)
    assert len(one.job.waiting) == overlaps.WAITING_MAX
    reasons = {each.event.reason for each in one.changes if isinstance(each.event, OccurrencesSkipped)}
    assert reasons == {"overlap"}
    assert len(one.units) < 40
    one.check()


def test_more_may_be_active_than_a_unit_replaces():
    one = OneJob(every=1_000, overlap_policy="allow", pause_after_failures=5)
    for _ in range(500):
        one.trigger()
    one.units.clear()
    ours = one.trigger("replace")
    assert [len(unit) for unit in one.units] == [overlaps.CANCELS_A_UNIT, overlaps.CANCELS_A_UNIT, 101]
    assert len(one.job.stopping) == 500
    assert one.job.waiting == (ours,)
    one.check()


def test_an_occurrence_replaces_more_than_a_unit_takes_too():
    one = OneJob(every=1_000, overlap_policy="allow", pause_after_failures=5)
    for _ in range(500):
        one.trigger()
    one.do(UpdateJob(spec=a_spec(every=1_000, overlap_policy="replace", pause_after_failures=5)))
    one.units.clear()
    one.wake(1_000)
    assert [len(unit) for unit in one.units if unit] == [
        overlaps.CANCELS_A_UNIT,
        overlaps.CANCELS_A_UNIT,
        101,
    ]
    (last,) = one.job.waiting
    assert one.run(last).scheduled_for == at(1_000)
    one.check()


# What a request says instead.


@pytest.mark.parametrize("policy", WAITS)
def test_a_trigger_may_wait_where_its_job_would_skip(policy):
    one, first = busy("skip")
    ours = one.trigger(policy)
    assert one.run(ours).status is Status.HELD
    assert one.run(first).cancel is not None or policy != "replace"
    one.succeed(first)
    assert one.job.active == (ours,)


def test_a_trigger_that_would_be_skipped_is_refused():
    one, _ = busy("queue_all")
    with pytest.raises(Overlaps):
        one.trigger("skip")


def test_a_trigger_that_may_run_beside_others_doesnt_wait_and_keeps_the_rest_waiting():
    one, first = busy("queue_all")
    one.wake(20)
    (second,) = one.job.waiting
    beside = one.trigger("allow")
    assert one.job.active == (first, beside)
    one.succeed(first)
    assert one.job.waiting == (second,), "another is active still"
    one.start(beside)
    one.succeed(beside)
    assert one.job.active == (second,)
    one.check()


def test_a_retry_waits_as_a_trigger_does():
    one, first = busy("queue_one", retry=NO_RETRY)
    one.fail(first)
    second = one.trigger()
    state = one.run(first)
    retry = RetryRun(
        run_id=second[:-1] + "f",
        correlation_id="c",
        of=first,
        scheduled_for=state.scheduled_for,
        revision=1,
        spec=state.spec,
    )
    (requested,) = one.do(retry)
    assert requested.held
    assert (requested.trigger, requested.of) == ("retry", first)
    one.check()


@pytest.mark.parametrize("policy", ["skip", *WAITS])
def test_a_job_that_knows_nothing_of_its_runs_takes_no_other_policy(policy):
    one = OneJob(overlap_policy="allow")
    with pytest.raises(KeepsNoList, match="doesn't know"):
        one.trigger(policy)
    follows = OneJob(overlap_policy="allow", pause_after_failures=3)
    follows.trigger()
    ours = follows.trigger("queue_one")
    assert follows.job.waiting == (ours,)


@pytest.mark.parametrize("policy", WAITS)
def test_a_run_that_follows_another_jobs_waits_as_its_own_job_says(policy):
    one, first = busy(policy)
    follow = FollowRun(run_id=first[:-1] + "ef"[first[-1] == "e"], correlation_id="c", of=first, depth=1)
    told = one.do(follow)
    assert told[-1].held
    assert one.job.waiting == (follow.run_id,)
    assert (one.run(first).cancel is not None) is (policy == "replace")
    if policy == "queue_one":
        with pytest.raises(WaitingIsFull):
            one.do(FollowRun(run_id=first[:-1] + "e", correlation_id="c", of=first, depth=1))
    one.check()


def test_a_paused_job_that_is_followed_loses_none_that_waits():
    one = OneJob(every=1, overlap_policy="queue_all", misfire_grace_seconds=86_400)
    one.wake(450)
    one.do(UpdateJob(spec=a_spec(every=1, overlap_policy="replace", misfire_grace_seconds=86_400)))
    one.do(PauseJob(by="ann"))
    first = one.job.active[0]
    with pytest.raises(Paused):
        one.do(FollowRun(run_id=first[:-1] + "f", correlation_id="c", of=first, depth=1))
    assert len(one.job.waiting) == 449


# What becomes of those that wait.


def test_a_run_that_waits_can_be_cancelled():
    one, first = busy("queue_all")
    one.wake(30)
    second, third = one.job.waiting
    assert names(one.cancel(second)) == ["RunCancelled"]
    assert one.job.waiting == (third,)
    assert names(one.cancel(first)) == ["RunCancelRequested"]
    assert names(one.wake_run(first)) == ["RunLost", "RunCancelled", "RunQueued"]
    assert one.job.active == (third,)


def test_a_run_that_waits_too_long_expires():
    one, first = busy("queue_all", start_deadline_seconds=15)
    one.wake(20)
    (second,) = one.job.waiting
    assert one.run(second).start_by == at(35)
    one.now = at(35)
    assert one.due_runs() == [second]
    assert names(one.wake_run(second)) == ["RunExpired"]
    assert one.job.waiting == ()
    assert one.job.active == (first,)
    assert isinstance(one.told[0].event, RunExpired)


def test_deleting_a_job_cancels_those_that_wait_and_no_others():
    one, first = busy("queue_all")
    one.wake(40)
    waiting = one.job.waiting
    told = one.do(DeleteJob(by="bob"))
    assert names(told) == ["RunCancelled"] * 3 + ["JobDeleted"]
    assert {(event.by, event.reason) for event in told[:3]} == {("bob", "its job was deleted")}
    assert one.runs(Status.CANCELLED) == list(waiting)
    assert names(one.succeed(first)) == ["RunSucceeded"]
    assert one.job.over
    one.check()


def test_a_job_with_more_that_wait_than_a_unit_takes_is_deleted_all_the_same():
    one = OneJob(every=1, overlap_policy="queue_all", misfire_grace_seconds=86_400)
    one.wake(450)
    told = one.do(DeleteJob(by="bob"))
    assert names(told) == ["RunCancelled"] * 449 + ["JobDeleted"]
    assert isinstance(told[-1], JobDeleted)
    one.check()


def test_a_pause_leaves_those_that_wait_their_turn():
    one, first = busy("queue_all")
    one.wake(20)
    (second,) = one.job.waiting
    one.do(PauseJob(by="ann"))
    one.succeed(first)
    assert one.job.active == (second,)
    one.do(ResumeJob(by="ann"))
    one.check()


def test_a_pause_for_failures_is_told_after_the_release():
    one, first = busy("queue_all", pause_after_failures=1, retry=NO_RETRY)
    one.wake(20)
    told = one.fail(first)
    assert [type(event) for event in told][1:] == [RunQueued, JobPaused]


@pytest.mark.parametrize("policy", ["allow", "skip", "replace"])
def test_those_that_wait_keep_their_turn_when_the_policy_is_edited(policy):
    one, first = busy("queue_all")
    one.wake(30)
    second, third = one.job.waiting
    one.do(UpdateJob(spec=a_spec(every=10, misfire_grace_seconds=3600, overlap_policy=policy)))
    for run_id, following in ((first, second), (second, third)):
        if one.run(run_id).status is Status.QUEUED:
            one.start(run_id)
        one.succeed(run_id)
        assert one.job.active == (following,)
        one.check()


def test_a_lost_run_keeps_the_others_waiting_until_it_is_lost_too_often():
    one, first = busy("queue_one", max_lost=2)
    one.wake(20)
    (second,) = one.job.waiting
    assert names(one.wake_run(first)) == ["RunLost", "RunQueued"]
    assert one.job.waiting == (second,)
    one.start(first)
    assert names(one.wake_run(first)) == ["RunLost", "RunFailed", "RunQueued"]
    assert one.job.active == (second,)


def test_only_the_end_of_a_wait_is_told_of_the_job_as_well():
    one, first = busy("queue_one")
    one.wake(20)
    one.fail(first)
    one.now = at(3_000)
    one.do(Wake(), first)
    (retried,) = one.told
    assert isinstance(retried.event, RunQueued)
    assert not retried.both
    one.start(first)
    one.succeed(first)
    assert one.told[-1].both


def test_what_is_held_is_neither_started_nor_retried():
    one, _ = busy("queue_one")
    one.wake(20)
    (second,) = one.job.waiting
    with pytest.raises(IllegalTransition, match="held, not queued"):
        one.start(second)


@pytest.mark.parametrize(("policy", "event"), [("replace", RunCancelRequested), ("replace", RunCancelled)])
def test_what_is_replaced_is_told_by_whom(policy, event):
    one, _ = busy(policy)
    one.wake(20)
    one.wake(30)
    assert {c.event.by for c in one.changes if isinstance(c.event, event)} == {overlaps.BY}
