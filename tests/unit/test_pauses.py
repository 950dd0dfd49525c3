"""Pauses that end by themselves, what a resume makes of what fell due meanwhile, and whose pause it is."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.projector.audit import schedules
from services.projector.audit.lines import Findings
from shared.domain import deciding, job, kinds
from shared.domain.commands import (
    CreateJob,
    DeleteJob,
    PauseJob,
    ResumeJob,
    SuspendJob,
    TriggerJob,
    UpdateJob,
    Wake,
)
from shared.domain.events import (
    Change,
    JobCompleted,
    JobDeleted,
    JobPaused,
    JobResumed,
    JobUpdated,
    OccurrencesSkipped,
    RunRequested,
    RunSucceeded,
)
from shared.domain.refusals import Refused
from shared.domain.schedule import next_after
from shared.eventlog import snapshot
from shared.testing import NOON, a_job_id, a_spec, at

JOB = a_job_id(partition=3)
SWITCH, OTHER = "tag:night", "all"
UNITS_MAX = 80


def a_job(**spec):
    command = CreateJob(job_id=JOB, spec=a_spec(**spec), owner="ann", tenant="t")
    return after(None, command, NOON)[1]


def after(state, command, now):
    """The events of `command` and of what had to be settled before it, and the job after them."""
    told = []
    for _ in range(UNITS_MAX):
        decision = deciding.decide(state, command, now)
        for change in decision.changes:
            state = job.evolve(state, change)
            told.append(change.event)
        if decision.settled:
            return told, state
    raise AssertionError("it never ends")


def woken(state, now):
    """The events of wakes until nothing is due, each after a crash: from the snapshot; and the job after them."""
    told = []
    for _ in range(UNITS_MAX):
        if state.due_at is None or state.due_at > now:
            return told, state
        state = snapshot.load(job.Job, snapshot.dump(state).encode())
        events, state = after(state, Wake(), now)
        assert events, "a wake that does nothing would be repeated for ever"
        told += events
    raise AssertionError("it never ends")


def paused(now=1, **said):
    return after(a_job(every=10, overlap_policy="allow"), PauseJob(by="ann", **said), at(now))[1]


def named(events):
    return [type(each).__name__ for each in events]


def ran(events):
    return [each.scheduled_for for each in events if isinstance(each, RunRequested)]


def skipped(events):
    return [
        (each.from_, each.to, each.count, each.reason)
        for each in events
        if isinstance(each, OccurrencesSkipped)
    ]


# Its end.


def test_a_pause_with_an_end_is_due_then_and_ends_by_itself():
    state = paused(until=at(35))
    assert (state.due_at, state.next_run_at, kinds.JOB.due_at(state)) == (at(35), None, at(35))
    assert after(state, Wake(), at(34.9))[0] == []
    events, state = woken(state, at(35))
    assert skipped(events) == [(at(10), at(30), 3, "paused")]
    assert events[-1] == JobResumed(by="timer", resumed_at=at(35))
    assert (state.status, state.paused, state.due_at) == ("pending", None, at(40))


def test_what_fell_due_after_the_end_of_a_pause_is_up_to_the_misfire_policy():
    events, _ = woken(paused(until=at(35)), at(200))
    assert skipped(events) == [(at(10), at(30), 3, "paused"), (at(40), at(130), 10, "misfire")]
    assert ran(events) == [at(second) for second in range(140, 201, 10)]
    assert [each.resumed_at for each in events if isinstance(each, JobResumed)] == [at(35)]


@pytest.mark.parametrize(
    "command",
    [
        TriggerJob(run_id=a_job_id(partition=3), correlation_id="c"),
        PauseJob(by="bob", reason="again"),
        ResumeJob(by="bob", catch_up="all"),
        DeleteJob(by="bob"),
        UpdateJob(spec=a_spec(every=10, overlap_policy="allow", name="new")),
    ],
)
def test_what_comes_after_the_end_finds_it_ended_though_no_timer_was_there(command):
    events, _ = after(paused(until=at(35)), command, at(41))
    assert named(events)[:3] == ["OccurrencesSkipped", "JobResumed", "RunRequested"]
    assert (events[1].by, ran(events)[0]) == ("timer", at(40))


def test_a_pause_in_which_nothing_falls_due_ends_too():
    events, state = woken(paused(until=at(9)), at(9))
    assert (named(events), state.next_for) == (["JobResumed"], at(10))
    manual = after(a_job(), PauseJob(by="ann", until=at(5)), at(1))[1]
    assert woken(manual, at(6))[1].status == "pending"


def test_a_job_whose_last_occurrence_passes_in_its_pause_is_completed():
    ends = after(a_job(cron="* * * * *", end_at=at(120)), PauseJob(by="ann", until=at(600)), at(1))[1]
    events, state = woken(ends, at(600))
    assert (skipped(events), named(events)[-1], state.status) == (
        [(at(60), at(120), 2, "paused")],
        "JobCompleted",
        "completed",
    )
    caught = after(a_job(cron="* * * * *", end_at=at(120)), PauseJob(by="ann"), at(1))[1]
    events, state = after(caught, ResumeJob(by="ann", catch_up="latest"), at(600))
    more, state = woken(state, at(600))
    assert (ran(more), state.status) == ([at(120)], "completed")


def test_an_edit_ends_no_pause_in_which_the_last_occurrence_has_passed():
    ends = after(a_job(cron="* * * * *", end_at=at(120)), PauseJob(by="ann"), at(1))[1]
    events, state = after(ends, UpdateJob(spec=a_spec(every=60)), at(600))
    assert named(events) == ["OccurrencesSkipped", "JobUpdated"]
    assert (state.status, state.next_for, state.paused.by) == ("paused", at(660), "ann")

    spec = replace(ends.spec, priority=1)  # leaves its times: what fell due is up to the end of the pause
    events, state = after(ends, UpdateJob(spec=spec), at(600))
    assert (named(events), state.status, state.next_for) == (["JobUpdated"], "paused", at(60))
    events, state = after(state, ResumeJob(by="ann"), at(601))
    assert named(events) == ["OccurrencesSkipped", "JobResumed", "JobCompleted"]
    assert (skipped(events), state.status) == ([(at(60), at(120), 2, "paused")], "completed")


def test_a_long_pause_is_settled_in_several_units_before_it_ends():
    state = after(a_job(every=1), PauseJob(by="ann", until=at(2_500.5)), at(0.5))[1]
    events, state = woken(state, at(2_500.6))
    assert [each.count for each in events[:-1]] == [1_000, 1_000, 500]
    assert (named(events)[-1], state.next_for) == ("JobResumed", at(2_501))


# What fell due meanwhile.


def test_latest_runs_the_newest_of_a_pause_however_late_it_is():
    events, state = after(paused(), ResumeJob(by="bob", catch_up="latest"), at(4_005))
    assert (named(events), state.status, state.due_at) == (["JobResumed"], "pending", at(10))
    events, state = woken(state, at(4_006))
    assert skipped(events) == [(at(10), at(3_990), 399, "paused")]
    assert (ran(events), state.next_for, state.catching_up) == ([at(4_000)], at(4_010), None)


def test_latest_of_more_than_one_unit_looks_at_is_one_run_too():
    state = after(a_job(every=1, overlap_policy="allow"), PauseJob(by="ann"), at(0.5))[1]
    _, state = after(state, ResumeJob(by="ann", catch_up="latest"), at(2_000))
    events, _ = woken(state, at(2_000))
    assert ([each[2] for each in skipped(events)], ran(events)) == ([1_000, 999], [at(2_000)])


def test_all_runs_the_oldest_thousand_of_a_pause_in_their_order_and_records_the_rest():
    state = after(a_job(every=1, overlap_policy="allow"), PauseJob(by="ann"), at(0.5))[1]
    _, state = after(state, ResumeJob(by="ann", catch_up="all"), at(2_300))
    events, state = woken(state, at(2_303))
    assert ran(events) == [at(second) for second in (*range(1, 1_001), 2_301, 2_302, 2_303)]
    assert skipped(events) == [(at(1_001), at(2_000), 1_000, "paused"), (at(2_001), at(2_300), 300, "paused")]
    assert (state.late_runs, state.catching_up) == (0, None), "the misfire policy has its own thousand"


def test_what_falls_due_while_a_pause_is_caught_up_waits_its_turn():
    state = after(a_job(every=1, overlap_policy="allow"), PauseJob(by="ann"), at(0.5))[1]
    _, state = after(state, ResumeJob(by="ann", catch_up="all"), at(70))
    events, state = after(state, Wake(), at(70))
    assert (len(ran(events)), state.catching_up.left, state.catching_up.to) == (50, 950, at(70))
    events, state = woken(state, at(500))
    assert ran(events)[:20] == [at(second) for second in range(51, 71)], "the rest of the pause"
    assert skipped(events)[0] == (at(71), at(439), 369, "misfire")


def test_all_of_a_job_that_never_overlaps_is_one_run_and_the_others_met_it():
    state = after(a_job(every=10), PauseJob(by="ann"), at(1))[1]
    _, state = after(state, ResumeJob(by="ann", catch_up="all"), at(45))
    events, _ = woken(state, at(45))
    assert ran(events) == [at(10)]
    assert skipped(events) == [(at(20), at(40), 3, "overlap")]


def test_a_pause_is_caught_up_with_no_more_runs_than_a_job_may_have():
    state = after(a_job(every=10, overlap_policy="allow", max_runs=2), PauseJob(by="ann"), at(1))[1]
    _, state = after(state, ResumeJob(by="ann", catch_up="all"), at(95))
    events, state = woken(state, at(95))
    assert (ran(events), state.status, state.catching_up) == ([at(10), at(20)], "completed", None)


def test_the_end_of_a_pause_catches_up_as_it_was_told_to():
    events, _ = woken(paused(until=at(35), catch_up="all"), at(41))
    assert events[0] == JobResumed(by="timer", resumed_at=at(35), catch_up="all")
    assert ran(events) == [at(10), at(20), at(30), at(40)]


def test_who_ends_a_pause_early_does_what_it_says_unless_they_say_otherwise():
    state = paused(until=at(3_600), catch_up="latest")
    assert after(state, ResumeJob(by="bob"), at(35))[0] == [
        JobResumed(by="bob", resumed_at=at(35), catch_up="latest")
    ]
    events, _ = after(state, ResumeJob(by="bob", catch_up="skip"), at(35))
    assert named(events) == ["OccurrencesSkipped", "JobResumed"]


@pytest.mark.parametrize(
    "command", [UpdateJob(spec=a_spec(every=7)), DeleteJob(by="ann"), PauseJob(by="ann")]
)
def test_a_change_of_a_job_that_catches_up_comes_after_that(command):
    _, state = after(paused(), ResumeJob(by="ann", catch_up="all"), at(45))
    events, state = after(state, command, at(46))
    assert ran(events[:-1]) == [at(10), at(20), at(30), at(40)]
    assert (isinstance(events[-1], JobUpdated | JobDeleted | JobPaused), state.catching_up) == (True, None)


@pytest.mark.parametrize("end", [ResumeJob(by="ann"), Wake()])
def test_an_edit_that_leaves_the_times_as_they_are_leaves_what_is_to_be_caught_up(end):
    state = paused(catch_up="all", until=at(60))
    events, state = after(state, UpdateJob(spec=replace(state.spec, name="another")), at(35))
    assert named(events) == ["JobUpdated"]
    events, state = after(state, end, at(60))
    events += woken(state, at(60))[0]
    assert ran(events) == [at(10), at(20), at(30), at(40), at(50), at(60)]


@pytest.mark.parametrize("change", [{"every": 7}, {"every": 10, "jitter_seconds": 3}])
def test_an_edit_of_the_times_decides_what_fell_due_in_a_pause_before(change):
    state = paused(catch_up="all")
    spec = a_spec(overlap_policy="allow", **change)
    events, _ = after(state, UpdateJob(spec=spec), at(35))
    assert named(events) == ["OccurrencesSkipped", "JobUpdated"]


def test_what_is_suspended_in_the_middle_of_catching_up_keeps_the_rest_for_its_next_resume():
    state = after(a_job(every=1, overlap_policy="allow"), PauseJob(by="ann"), at(0.5))[1]
    _, state = after(state, ResumeJob(by="ann", catch_up="all"), at(80))
    _, state = after(state, Wake(), at(80))
    _, state = after(state, SuspendJob(by="timer", reason="zone gone"), at(80))
    assert (state.status, state.catching_up, state.next_for) == ("paused", None, at(51))
    events, _ = after(state, ResumeJob(by="ann"), at(90))
    assert skipped(events) == [(at(51), at(90), 40, "paused")]


# Whose it is, and said again.


def test_the_same_said_again_is_no_event_and_nothing_said_neither():
    state = paused(reason="move", until=at(100), catch_up="all")
    for same in (
        PauseJob(by="bob"),
        PauseJob(by="bob", reason="move", until=at(100), catch_up="all"),
        PauseJob(by="bob", until=at(100)),
    ):
        assert after(state, same, at(2)) == ([], state)


def test_another_reason_or_end_is_the_pauses_from_then_on_and_what_is_left_out_stays():
    state = paused(reason="move", until=at(100), catch_up="all")
    (event,), state = after(state, PauseJob(by="bob", until=at(200)), at(5))
    assert event == JobPaused(by="bob", reason="move", paused_at=at(5), until=at(200), catch_up="all")
    assert (state.paused.by, state.due_at) == ("bob", at(200))
    _, state = after(state, PauseJob(by="cid", until=None, reason="longer"), at(6))
    assert (state.due_at, state.paused.reason, state.paused.catch_up) == (None, "longer", "all")
    assert state.next_for == at(10), "nothing of it was decided meanwhile"


def test_a_switch_leaves_alone_what_somebody_has_paused_and_what_another_one_has():
    for whose in ({}, {"switch": OTHER}):
        state = paused(reason="broken", **whose)
        assert after(state, PauseJob(by="bob", reason="move", switch=SWITCH), at(2)) == ([], state)
        assert after(state, ResumeJob(by="bob", switch=SWITCH), at(2)) == ([], state)
        assert after(state, ResumeJob(by="bob", switch=SWITCH), at(55)) == ([], state), "nor is it decided"


def test_a_switch_ends_what_it_began_and_may_say_more_of_it():
    state = paused(reason="move", switch=SWITCH)
    assert after(state, PauseJob(by="bob", switch=SWITCH), at(2))[0] == []
    _, state = after(state, PauseJob(by="bob", switch=SWITCH, until=at(90)), at(2))
    assert (state.due_at, state.paused.reason, state.paused.switch) == (at(90), "move", SWITCH)
    events, state = after(state, ResumeJob(by="bob", switch=SWITCH), at(25))
    assert (named(events), state.status) == (["OccurrencesSkipped", "JobResumed"], "pending")


def test_who_pauses_a_job_that_a_switch_has_paused_makes_it_theirs():
    state = paused(reason="move", until=at(90), switch=SWITCH)
    (event,), state = after(state, PauseJob(by="bob"), at(2))
    assert event == JobPaused(by="bob", reason="", paused_at=at(2)), "its end is the switch's, not theirs"
    assert after(state, ResumeJob(by="ann", switch=SWITCH), at(3))[0] == []


def test_who_resumes_a_job_resumes_it_whoever_has_paused_it():
    assert named(after(paused(switch=SWITCH), ResumeJob(by="bob"), at(2))[0]) == ["JobResumed"]


def test_what_can_not_be_decided_at_the_end_of_its_pause_stays_paused_without_one():
    broken = replace(paused(until=at(35)), spec=a_spec(cron="not a cron"))
    with pytest.raises(ValueError, match="cron"):
        after(broken, Wake(), at(36))
    events, state = after(broken, SuspendJob(by="timer", reason="zone gone"), at(36))
    assert (named(events), state.due_at, state.paused.by) == (["JobPaused"], None, "timer")
    assert after(state, SuspendJob(by="timer", reason="zone gone"), at(37)) == ([], state)


# Nothing missed is ever silent.


def _said():
    until = st.one_of(st.none(), st.integers(1, 400))
    catch_up = st.sampled_from(["skip", "latest", "all"])
    return st.one_of(
        st.tuples(st.just("pause"), until, catch_up),
        st.tuples(st.just("resume"), st.one_of(st.none(), catch_up)),
        st.tuples(st.sampled_from(["wake", "wake", "trigger", "rename", "reschedule", "end run"])),
    )


def _command(said, state, now, step):
    match said:
        case ("pause", until, catch_up):
            return PauseJob(by="ann", reason=str(step), until=until and at(now + until), catch_up=catch_up)
        case ("resume", catch_up):
            return ResumeJob(by="ann", catch_up=catch_up)
        case ("trigger",):
            run_id = f"{JOB[:-4]}{step:04x}"
            return TriggerJob(run_id=run_id, correlation_id="c", overlap_policy="allow")
        case ("rename",):
            return UpdateJob(spec=replace(state.spec, name=f"n{step}"))
        case ("reschedule",):
            every = state.spec.schedule.interval_seconds % 17 + 1
            schedule = replace(state.spec.schedule, interval_seconds=every)
            return UpdateJob(spec=replace(state.spec, schedule=schedule))
        case _:
            return Wake()


class _Ledger:
    """Which occurrences each schedule has had while the job had it, and how each was decided."""

    def __init__(self, state):
        self.spans, self.decided = (
            {},
            [],
        )  # what jitter holds back may be an occurrence of the next schedule too
        self.findings, self._followed = Findings(), schedules.Decided()
        self._began(state)

    def _began(self, state):
        self._schedule, self._anchor, self._first = state.spec.schedule, state.anchor_at, state.next_for

    def audits(self, state, change):
        schedules.check(self.findings, self._followed, state, change, "here")

    def saw(self, event, state):
        match event:
            case RunRequested(trigger="schedule", scheduled_for=instant):
                self.decided.append(instant)
            case OccurrencesSkipped(from_=first, to=last, count=count):
                found = list(self._occurrences(first, last))
                assert (len(found), found[-1]) == (count, last)
                self.decided += found
            case JobUpdated(updated_at=now) if event.spec.schedule != self._schedule:
                self.ends(now)
                self._began(state)
            case JobDeleted(deleted_at=now):
                self.ends(now)

    def ends(self, now):
        """The schedule is over at `now`: what it had until then must have been decided, once each, in order."""
        self.spans |= dict.fromkeys(self._occurrences(self._first, now))

    def _occurrences(self, first, last):
        while first is not None and first <= last:
            yield first
            first = next_after(self._schedule, first, anchor_at=self._anchor)


@given(
    every=st.integers(1, 40),
    misfire=st.sampled_from(["latest", "skip", "all"]),
    overlap=st.sampled_from(["skip", "allow"]),
    end_s=st.one_of(st.none(), st.integers(50, 2_000)),
    jitter=st.sampled_from([0, 0, 9]),
    story=st.lists(st.tuples(st.integers(0, 700), _said()), max_size=12),
)
@settings(max_examples=120, deadline=None)
@pytest.mark.thorough
def test_every_occurrence_is_decided_once_whatever_pauses_edits_and_ends_come_between(
    every, misfire, overlap, end_s, jitter, story
):
    state = a_job(
        every=every,
        misfire_policy=misfire,
        overlap_policy=overlap,
        misfire_grace_seconds=30,
        jitter_seconds=min(jitter, every - 1),
        **({} if end_s is None else {"end_at": at(end_s)}),
    )
    ledger, now = _Ledger(state), 0
    for step, (passed, said) in enumerate([*story, (700, ("delete",))]):
        now += passed
        if said == ("end run",) and state.active:
            done = Change(subject=f"run:{state.active[0]}", event=RunSucceeded(attempt=1), job=JOB, both=True)
            state = job.evolve(state, done)
            continue
        command = DeleteJob(by="ann") if said == ("delete",) else _command(said, state, now, step)
        state = _carried_out(state, command, at(now), ledger)
    assert ledger.decided == list(ledger.spans)
    assert [line.first for line in ledger.findings.lines() if line.violations] == []
    assert all(one < another for one, another in pairwise(ledger.decided))


def _carried_out(state, command, now, ledger):
    for _ in range(UNITS_MAX):
        try:
            decision = deciding.decide(state, command, now)
        except Refused:
            return state
        for change in decision.changes:
            ledger.audits(state, change)
            state = job.evolve(state, change)
            ledger.saw(change.event, state)
            if isinstance(change.event, JobCompleted):
                assert state.next_for is None
        is_woken_again = isinstance(command, Wake) and state.due_at is not None and state.due_at <= now
        if decision.settled and not (is_woken_again and decision.changes):
            return state
    raise AssertionError("it never ends")
