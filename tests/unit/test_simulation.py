"""What a job would have decided under another specification, case by case."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from shared.domain import simulation
from shared.domain.calendar import Calendar
from shared.domain.calendars import Seen
from shared.domain.commands import CancelRun, InterruptRun, PauseJob, ResumeJob, SkipOccurrence, UpdateJob
from shared.domain.comparison import compared, side
from shared.domain.decided import Decided, TooMany
from shared.domain.happened import Happened
from shared.domain.refusals import NeverFires
from shared.domain.retry import RetryPolicy
from shared.domain.run import Status
from shared.domain.schedule import Schedule
from shared.domain.simulation import Simulation
from shared.testing import NOON, at

from .recorded import Recorded

MINUTE = 60
ONCE = RetryPolicy(max_retries=0)


def a_job(**spec):
    return Recorded(**{"schedule": Schedule(interval_seconds=MINUTE), "retry": ONCE} | spec)


def run_for(one, seconds, *, fails=False):
    """The run that is active starts, and ends after so long."""
    one.start()
    one.wait(seconds)
    one.end(one.runs(Status.RUNNING)[0], fails=fails)


def minutes(one, count, *, takes=5, fails=False):
    """So many minutes go by, in each of which it is woken, and a run takes so long."""
    for _ in range(count):
        one.now = one.job.fires_next_at
        one.wake()
        run_for(one, takes, fails=fails)


def told(one, usual=60, **changes):
    """What would have become of it, by minute: `run`, the reason why not; what differs from what was, first."""
    happened, copy = one.simulated(edit=lambda spec: replace(spec, **changes), usual=usual)
    both = compared(happened.decided, copy.decided)
    return copy, [(each.change, each.would and (each.would.reason or "run")) for each in both]


def test_what_stays_the_same_is_the_same():
    one = a_job()
    minutes(one, 4)
    copy, same = told(one)
    assert same == [("same", "run")] * 4
    assert side(copy.decided) == side(one.decided)
    assert copy.job == one.job


def test_a_run_that_somebody_cancelled_was_active_until_then():
    """What it would have taken, had nobody, isn't known: it goes as it went."""
    one = a_job()
    for again in range(2):
        one.now = one.job.fires_next_at
        one.wake()
        if not again:
            one.start()
    one.wait(30)
    [run_id] = one.runs(Status.RUNNING)
    one.do(CancelRun(by="ann"), run_id)
    one.do(InterruptRun(fence=one.log.fence(f"run:{run_id}")), run_id)
    minutes(one, 1)
    assert [each.reason for each in one.decided] == [None, "overlap", None]
    _, same = told(one, usual=1)
    assert same == [("same", "run"), ("same", "overlap"), ("same", "run")]


def test_an_outage_of_the_timer_stays_one_whatever_the_misfire_policy():
    one = a_job(misfire_policy="skip", misfire_grace_seconds=60, overlap_policy="queue_all")
    minutes(one, 2)
    one.now = at(12 * MINUTE + 30)  # ten minutes without a timer
    one.wake()
    run_for(one, 1)
    assert [each.reason for each in one.decided] == [None] * 2 + ["misfire"] * 9 + [None]
    _, everything = told(one, misfire_policy="all")
    assert everything == [("same", "run")] * 2 + [("added", "run")] * 9 + [("changed", "run")]
    _, patient = told(one, misfire_grace_seconds=300)
    assert [change for change, _ in patient].count("added") == 5 - 1
    _, often = told(one, schedule=Schedule(interval_seconds=30))
    late = [reason for _, reason in often]  # of 180 s to 660 s: the timer came at 750 s
    assert late == ["run"] * 5 + ["misfire"] * 17 + ["run"] * 3, "what would have come meanwhile is as late"


def test_a_run_that_takes_longer_than_the_new_interval_is_in_the_way():
    one = a_job()
    minutes(one, 3, takes=40)
    often = Schedule(interval_seconds=30)
    copy, dense = told(one, schedule=often)
    expected = ["run", "overlap", "run", "overlap", "run", "overlap", "run"]
    assert [reason for _, reason in dense] == expected, "each that nobody has run is thought to take a minute"
    assert all(each.guessed for each in copy.decided if each.beside)
    copy, short = told(one, usual=10, schedule=often)
    assert [reason for _, reason in short] == ["run", "run", "overlap", "run", "overlap", "run", "overlap"]
    assert not any(each.guessed for each in copy.decided if each.beside), "that they took 40 s is a fact"


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("queue_one", [("same", "run"), ("added", "run"), ("changed", "overlap")]),
        ("queue_all", [("same", "run"), ("added", "run"), ("added", "run")]),
        ("allow", [("same", "run"), ("added", "run"), ("added", "run")]),
        ("replace", [("same", "run"), ("added", "run"), ("added", "run")]),
    ],
)
def test_another_overlap_policy(policy, expected):
    one = a_job()
    one.now = one.job.fires_next_at
    one.wake()
    one.start()
    for _ in range(2):
        one.now = one.job.fires_next_at
        one.wake()
    one.wait(30)
    one.end(one.runs(Status.RUNNING)[0])
    assert [each.reason for each in one.decided] == [None, "overlap", "overlap"]
    copy, found = told(one, usual=600, overlap_policy=policy)
    found = [
        (change if change != "same" or reason != "overlap" else "changed", reason) for change, reason in found
    ]
    assert found == expected
    assert copy.decided[1].beside == copy.decided[0].run_id


def test_failures_that_would_have_paused_it_do_and_what_people_did_stays():
    one = a_job()
    minutes(one, 3, fails=True)
    copy, rest = told(one, pause_after_failures=2)
    assert [each.reason for each in copy.paused] == ["2 runs in a row have failed"]
    assert rest == [("same", "run"), ("same", "run"), ("removed", None)]
    one.do(PauseJob(by="ann"))
    one.wait(5 * MINUTE)
    one.do(ResumeJob(by="ann"))
    one.do(SkipOccurrence(scheduled_for=one.job.next_for, by="ann"))
    minutes_to = one.job.next_for + timedelta(seconds=MINUTE)
    one.now = minutes_to
    one.wake()
    _, found = told(one, misfire_policy="all")
    assert found == [("same", "run")] * 3 + [("same", "paused")] * 5 + [("same", "excluded"), ("same", "run")]


def test_edits_that_there_were_stay_but_for_what_is_simulated():
    one = a_job()
    minutes(one, 2)
    one.do(UpdateJob(spec=replace(one.job.spec, schedule=Schedule(interval_seconds=120), priority=9)))
    minutes(one, 2)
    happened, copy = one.simulated(edit=lambda spec: replace(spec, misfire_grace_seconds=1))
    assert [each.change for each in compared(happened.decided, copy.decided)] == ["same"] * 4
    assert (copy.job.spec.priority, copy.job.spec.misfire_grace_seconds) == (9, 1)


def test_other_retries_make_a_run_longer_or_shorter():
    one = a_job(retry=RetryPolicy(max_retries=2, initial_seconds=50.0, multiplier=1.0, jitter=0.0))
    one.now = at(MINUTE)
    one.wake()
    one.start()
    one.wait(1)
    one.end(one.runs(Status.RUNNING)[0], fails=True)
    one.wait(50)
    one.wake()
    one.start()
    one.now = at(2 * MINUTE)
    one.wake()  # the run is still active
    one.wait(1)
    one.end(one.runs(Status.RUNNING)[0])
    assert [each.reason for each in one.decided] == [None, "overlap"]
    _, found = told(one, retry=ONCE)
    assert found == [("same", "run"), ("added", "run")], "without a retry it has ended before"
    _, found = told(one, retry=replace(one.job.spec.retry, max_retries=1), timeout_seconds=3)
    assert found[1] == ("added", "run"), "it may not take so long"


def test_a_start_deadline_ends_what_was_started_too_late():
    one = a_job()
    one.now = at(MINUTE)
    one.wake()
    one.wait(30)  # nobody takes it
    one.start()
    one.now = at(2 * MINUTE)
    one.wake()
    assert [each.reason for each in one.decided] == [None, "overlap"]
    one.wait(1)
    one.end(one.runs(Status.RUNNING)[0])
    _, found = told(one, start_deadline_seconds=10)
    assert found == [("same", "run"), ("added", "run")]


def test_a_run_that_waits_frees_its_place_when_its_deadline_has_come():
    one = a_job()
    one.now = at(MINUTE)
    one.wake()
    one.start()
    for minute in (2, 3):
        one.now = at(minute * MINUTE)
        one.wake()
    one.wait(30)
    one.end(one.runs(Status.RUNNING)[0])
    _, found = told(one, overlap_policy="queue_one", start_deadline_seconds=30)
    assert found == [("same", "run"), ("added", "run"), ("added", "run")]


def test_a_run_that_had_to_wait_ends_later_than_it_did():
    one = a_job(overlap_policy="allow")
    ends = {}
    for minute in (1, 2, 3, 4):
        one.now = at(minute * MINUTE)
        for run_id in [run_id for run_id, end in ends.items() if end <= one.now]:
            one.now = ends.pop(run_id)
            one.end(run_id)
        one.now = at(minute * MINUTE)
        one.wake()
        one.start()
        new = set(one.runs(Status.RUNNING)) - ends.keys()
        ends |= dict.fromkeys(new, one.now + timedelta(seconds=100))
    copy, _ = told(one, overlap_policy="queue_all")
    assert [each.held for each in copy.decided] == [False, True, True, True]
    assert copy.job.active == (copy.decided[1].run_id,), "60 to 160 s, 160 to 260 s"


def test_a_trigger_that_would_have_been_refused_is_told():
    one = a_job(overlap_policy="allow")
    one.trigger()
    one.trigger()
    copy, _ = told(one, overlap_policy="skip")
    assert [each.what for each in copy.refused] == ["TriggerJob"]


def test_calendars_are_asked_for_as_of_the_moment():
    one = a_job()
    minutes(one, 3)
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    closed = Calendar(
        name="c", tenant="t", revision=1, description="", dates=(), weekdays=days, timezone=None,
        created_at=NOON, updated_at=NOON, by="ann",
    )  # fmt: skip

    def seen(now, command):
        return {
            "c": Seen(closed if now >= at(2 * MINUTE) or isinstance(command, UpdateJob) else None, "0:1-1")
        }

    job, events = one.happened()
    happened = Happened(job=job)
    list(happened.steps(events))
    named = Schedule(interval_seconds=MINUTE, exclude_calendars=("c",))
    copy = Simulation(
        None, NOON, happened=happened, edit=lambda spec: replace(spec, schedule=named),
        calendars=lambda now, command: seen(now, UpdateJob(spec=one.job.spec) if now == NOON else command),
    )  # fmt: skip
    list(copy.steps(happened.facts, one.now))
    assert [each.reason for each in copy.decided] == [None, "calendar", "calendar"]


def test_what_can_be_no_job_is_refused_and_so_is_too_much(monkeypatch):
    one = a_job()
    minutes(one, 3)
    copy = Simulation(one.job, one.now, edit=lambda spec: replace(spec, schedule=Schedule(run_at=NOON)))
    with pytest.raises(NeverFires):
        copy.begin()
    monkeypatch.setattr(simulation, "DECIDED_MAX", 2)
    with pytest.raises(TooMany):
        one.simulated()


def test_what_stands_in_the_place_of_another_has_moved():
    def decided(*minutes, **told):
        return [Decided(at(each * 60), at(each * 60), fires_at=at(each * 60), **told) for each in minutes]

    changes = [each.change for each in compared(decided(0, 5, 10, 15, 20), decided(0, 7, 14, 21))]
    assert changes == ["same", "moved", "moved", "removed", "moved"]
    later = [each._replace(fires_at=at(30)) for each in decided(0)]
    assert [each.change for each in compared(decided(0), later)] == ["moved"], "by jitter"
    skipped = [each._replace(reason="overlap", fires_at=None) for each in decided(0, 1)]
    assert [each.change for each in compared(skipped, decided(1))] == ["changed", "added"]
    assert [each.change for each in compared(decided(1), skipped)] == ["changed", "removed"]
    misfired = [each._replace(reason="misfire") for each in skipped]
    assert [each.change for each in compared(skipped, misfired)] == ["changed", "changed"]
