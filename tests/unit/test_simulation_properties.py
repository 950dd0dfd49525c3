"""What would have been decided, simulated, against what the real job decides."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from shared.domain.commands import (
    CancelRun,
    InterruptRun,
    PauseJob,
    ResumeJob,
    SkipOccurrence,
    UnskipOccurrence,
    UpdateJob,
)
from shared.domain.comparison import compared
from shared.domain.refusals import Refused
from shared.domain.run import Status
from shared.domain.schedule import Schedule
from shared.domain.simulation import Simulation
from shared.domain.spec import JobSpec
from shared.testing import a_spec

from .model_draws import HOUR, STARTS, policies, schedule_of, schedules
from .recorded import Recorded

QUICK = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)
minutes = st.sampled_from([0, 1, 59, 61, 299, 600, HOUR, 3 * HOUR, 26 * HOUR])
often = ["wake"] * 5 + ["start"] * 2 + ["succeed"] * 3 + ["fail"] * 2
rare = ["interrupt", "cancel", "trigger", "pause", "resume", "skip", "unskip", "edit"]
deeds = st.tuples(st.sampled_from(often + rare), minutes, st.integers(0, 10**6))
stories = st.lists(deeds, min_size=3, max_size=25)
specs = st.tuples(schedules, policies)
UNFINISHED = (Status.QUEUED, Status.RUNNING, Status.HELD, Status.RETRYING)


def spec_of(drawn, now):
    schedule, policy = drawn
    return a_spec(schedule=schedule_of(schedule, now), **policy)


def made(drawn, now):
    spec = spec_of(drawn, now)
    return Recorded(now, **{name: getattr(spec, name) for name in JobSpec.__struct_fields__})


def play(one, story, edits, apart=0.001):  # noqa: C901, PLR0912 - a table
    """Let it happen."""
    for what, seconds, pick in story:
        one.wait(seconds)
        running, unfinished = one.runs(Status.RUNNING), one.runs(*UNFINISHED)
        match what:
            case "wake":
                one.wake()
            case "start":
                one.start()
            case "succeed" | "fail" if running:
                one.end(running[pick % len(running)], fails=what == "fail")
            case "interrupt" if running:
                run_id = running[pick % len(running)]
                one.do(InterruptRun(fence=one.log.fence(f"run:{run_id}")), run_id)
            case "cancel" if unfinished:
                one.do(CancelRun(by="ann"), unfinished[pick % len(unfinished)])
            case "trigger":
                one.trigger([None, "allow", "queue_all", "replace"][pick % 4])
            case "pause":
                until = one.now + timedelta(seconds=HOUR) if pick % 2 else None
                one.do(PauseJob(by="ann", until=until, catch_up=["skip", "latest", "all"][pick % 3]))
            case "resume":
                one.do(ResumeJob(by="ann", catch_up=[None, "latest", "all"][pick % 3]))
            case "skip" if one.job.next_for:
                one.do(SkipOccurrence(scheduled_for=one.job.next_for, by="ann"))
            case "unskip" if one.job.next_for:
                one.do(UnskipOccurrence(scheduled_for=one.job.next_for, by="ann"))
            case "edit":
                one.do(UpdateJob(spec=spec_of(edits[pick % len(edits)], one.now)))
            case _:
                pass
        one.wait(apart)


@QUICK
@given(
    st.sampled_from(STARTS),
    specs,
    st.lists(specs, min_size=1, max_size=2),
    stories,
    st.integers(0, 30),
    st.sampled_from([0.001, 0]),  # what is written within a millisecond looks like one unit
)
def test_the_specification_that_there_was_decides_what_was_decided(now, drawn, edits, story, since, apart):
    try:
        one = made(drawn, now)
    except Refused:  # it never fires: there is no job
        assume(False)
    play(one, story, edits, apart)
    happened, copy = one.simulated(min(since, len(one.told) - 1))
    told = compared(happened.decided, copy.decided)
    assert [each for each in told if each.change != "same"] == []
    assert [each.at for each in happened.decided] == [each.at for each in copy.decided]
    assert [each.decided_at for each in happened.decided] == [each.decided_at for each in copy.decided]
    assert [bool(each.beside) for each in happened.decided] == [bool(each.beside) for each in copy.decided]
    assert copy.job.active == one.job.active
    assert copy.job.waiting == one.job.waiting


@QUICK
@given(st.sampled_from(STARTS), specs, specs, stories, st.sampled_from([0, 5, 400, 2 * HOUR]), st.booleans())
def test_what_is_simulated_ahead_is_what_the_job_then_does(now, drawn, edit, story, usual, edits):
    try:
        one = made(drawn, now)
    except Refused:
        assume(False)
    play(one, [deed for deed in story if deed[0] not in {"fail", "edit"}], [])
    one.start()
    job, new = one.job, spec_of(edit, one.now)
    copy = Simulation(job, one.now, edit=lambda spec: new if edits else spec, usual=timedelta(seconds=usual))
    until, before = one.now + timedelta(hours=7), len(one.decided)
    try:
        copy.begin(one.stories())
    except Refused:
        assume(False)
    list(copy.steps([], until))
    if edits and new.pinned(one.id) != job.spec:
        one.do(UpdateJob(spec=new), must=True)
    one.go_on(until, usual)
    went = one.decided[before:]
    told = [(each.at, each.reason, each.fires_at, each.held, each.decided_at) for each in went]
    assert [
        (each.at, each.reason, each.fires_at, each.held, each.decided_at) for each in copy.decided
    ] == told
    assert copy.job == one.job


def held_alike(one):
    """Whether the job, simulated as it was, follows the same runs, and has decided the same at the same times."""
    _, copy = one.simulated()
    assert (copy.job.active, copy.job.waiting) == (one.job.active, one.job.waiting)
    assert [(each.at, each.decided_at) for each in copy.decided] == [
        (each.at, each.decided_at) for each in one.decided
    ]


FIVE = Schedule(interval_seconds=300)


@pytest.mark.parametrize("asked", [1, 2, 3], ids=["allow", "queue_all", "replace"])
@pytest.mark.parametrize("policy", ["skip", "queue_one", "queue_all"])
def test_what_a_trigger_asked_for_instead_of_the_policy_is_found_out(policy, asked):
    one = Recorded(schedule=FIVE, overlap_policy=policy)
    play(one, [("trigger", 1, 0), ("start", 1, 0), ("trigger", 1, asked), ("wake", 400, 0)], [])
    held_alike(one)


def test_a_backlog_that_took_several_units_takes_as_many():
    one = Recorded(schedule=Schedule(interval_seconds=1), misfire_policy="all", overlap_policy="allow")
    play(one, [("wake", 170, 0)], [])
    assert len({each.decided_at for each in one.decided}) > 3
    held_alike(one)


@pytest.mark.parametrize(
    ("usual", "policies"),
    [
        (400, {"overlap_policy": "replace"}),
        (900, {"overlap_policy": "replace"}),
        (400, {"overlap_policy": "queue_one", "start_deadline_seconds": 30}),
        (700, {"overlap_policy": "queue_all", "start_deadline_seconds": 30}),
        (400, {"start_deadline_seconds": 30}),
    ],
)
def test_runs_that_are_stopped_or_never_begun_end_ahead_when_they_will(usual, policies):
    one = Recorded(schedule=FIVE, **policies)
    late = "overlap_policy" not in policies
    play(one, [("pause", 0, 29)] if late else [("wake", 301, 0), ("start", 1, 0), ("wake", 300, 0)], [])
    copy = Simulation(one.job, one.now, usual=timedelta(seconds=usual))
    copy.begin(one.stories())
    until, before = one.now + timedelta(hours=2), len(one.decided)
    list(copy.steps([], until))
    one.go_on(until, usual)
    assert [(each.at, each.reason, each.held) for each in copy.decided] == [
        (each.at, each.reason, each.held) for each in one.decided[before:]
    ]
    assert copy.job == one.job


def test_what_a_refused_command_has_settled_is_settled():
    one = Recorded(STARTS[0], schedule=Schedule(cron_expression="*/30 * * * *"))
    play(one, [("pause", 0, 1), ("start", 3 * HOUR, 0), ("skip", 0, 0)], [])
    assert one.decided
    held_alike(one)
