"""The job: given events, when a command, then events."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.domain import deciding, ids, job, settling
from shared.domain.commands import (
    CreateJob,
    DeleteJob,
    PauseJob,
    ResumeJob,
    RetryRun,
    SuspendJob,
    TriggerJob,
    UpdateJob,
    Wake,
)  # fmt: skip
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
)  # fmt: skip
from shared.domain.refusals import IllegalTransition, NeverFires, NoSuchJob, Overlaps, StaleRevision
from shared.domain.spec import run_spec
from shared.domain.walk import DstPolicy
from shared.testing import NOON, a_job_id, a_spec, at

JOB = a_job_id(partition=3)


def create(spec, now=NOON):
    return CreateJob(job_id=JOB, spec=spec, owner="ann", tenant="t"), now


def fold(state, decision):
    for change in decision.changes:
        state = job.evolve(state, change)
    return state


def a_job(now=NOON, **spec):
    command, _ = create(a_spec(**spec))
    return fold(None, deciding.decide(None, command, now))


def when(state, command, now):
    decision = deciding.decide(state, command, now)
    return [change.event for change in decision.changes], fold(state, decision)


def kinds(events):
    return [type(event).__name__ for event in events]


def ended(state, run_id):
    done = Change(subject=f"run:{run_id}", event=RunSucceeded(attempt=1), job=state.id, both=True)
    return job.evolve(state, done)


def test_an_interval_job_is_first_due_one_interval_after_its_creation():
    state = a_job(every=10)
    assert (state.status, state.next_for, state.due_at, state.revision) == ("pending", at(10), at(10), 1)


def test_a_job_without_a_schedule_is_pending_and_never_due():
    state = a_job()
    assert (state.status, state.next_for, state.due_at) == ("pending", None, None)


def test_a_wake_before_the_time_decides_nothing():
    assert when(a_job(every=10), Wake(), at(9.999))[0] == []


def test_a_wake_requests_the_occurrence_and_names_the_next_one():
    events, state = when(a_job(every=10), Wake(), at(10.002))
    (event,) = events
    assert isinstance(event, RunRequested)
    assert (event.scheduled_for, event.next_for, event.trigger) == (at(10), at(20), "schedule")
    assert (state.next_for, len(state.active)) == (at(20), 1)


def test_the_run_of_an_occurrence_has_an_id_of_its_cause():
    first = deciding.decide(a_job(every=10), Wake(), at(10)).changes[0].subject
    second = deciding.decide(a_job(every=10), Wake(), at(11)).changes[0].subject
    assert first == second
    assert ids.partition_of(first.removeprefix("run:")) == 3
    assert ids.time_of(first.removeprefix("run:")) == at(10)


def test_overlap_skip_records_what_met_an_active_run_with_the_run_in_the_way():
    _, state = when(a_job(every=10), Wake(), at(10))
    events, state = when(state, Wake(), at(20))
    (event,) = events
    assert event == OccurrencesSkipped(
        from_=at(20), to=at(20), count=1, reason="overlap", by=state.active[0], next_for=at(30)
    )
    state = ended(state, state.active[0])
    assert kinds(when(state, Wake(), at(30))[0]) == ["RunRequested"]


def test_overlap_allow_runs_beside_an_active_run_and_keeps_no_list():
    _, state = when(a_job(every=10, overlap_policy="allow"), Wake(), at(10))
    events, state = when(state, Wake(), at(20))
    assert kinds(events) == ["RunRequested"]
    assert state.active == ()
    assert not events[0].follows


def test_misfire_latest_runs_the_newest_and_records_the_others():
    events, state = when(a_job(every=100, misfire_grace_seconds=5), Wake(), at(390))
    assert kinds(events) == ["OccurrencesSkipped", "RunRequested"]
    assert (events[0].from_, events[0].to, events[0].count, events[0].reason) == (
        at(100),
        at(200),
        2,
        "misfire",
    )
    assert (events[0].next_for, events[1].scheduled_for, state.next_for) == (at(300), at(300), at(400))


def test_what_is_late_gives_way_to_what_is_within_the_grace():
    events, _ = when(a_job(every=100, misfire_grace_seconds=5), Wake(), at(302))
    assert [getattr(event, "scheduled_for", None) for event in events] == [None, at(300)]
    assert events[0].count == 2


def settled(state, now):
    """The events of wakes until nothing is due, and the job after them."""
    told = []
    while state.due_at is not None and state.due_at <= now:
        events, state = when(state, Wake(), now)
        told += events
    return told, state


def test_misfire_skip_runs_nothing_that_is_late():
    told, state = settled(
        a_job(every=10, misfire_policy="skip", misfire_grace_seconds=15, overlap_policy="allow"), at(60)
    )
    assert kinds(told) == ["OccurrencesSkipped", "RunRequested", "RunRequested"]
    assert (told[0].from_, told[0].to, told[0].count, told[0].reason) == (at(10), at(40), 4, "misfire")
    assert ([each.scheduled_for for each in told[1:]], state.next_for) == ([at(50), at(60)], at(70))


def test_misfire_skip_can_leave_nothing_to_run():
    told, state = settled(a_job(every=100, misfire_policy="skip", misfire_grace_seconds=15), at(150))
    assert (kinds(told), told[0].count, state.next_for) == (["OccurrencesSkipped"], 1, at(200))


def test_misfire_all_runs_what_is_late_the_oldest_first_by_fifty_a_wake():
    told, state = settled(
        a_job(every=1, misfire_policy="all", misfire_grace_seconds=5, overlap_policy="allow"), at(130)
    )
    assert [each.scheduled_for for each in told] == [at(second) for second in range(1, 131)]
    assert (set(kinds(told)), state.next_for, state.late_runs) == ({"RunRequested"}, at(131), 0)


def test_misfire_all_runs_at_most_a_thousand_in_a_row_and_records_the_others():
    job_ = a_job(every=1, misfire_policy="all", misfire_grace_seconds=5, overlap_policy="allow")
    told, state = settled(job_, at(3_000))
    runs = [each.scheduled_for for each in told if isinstance(each, RunRequested)]
    skips = [each for each in told if isinstance(each, OccurrencesSkipped)]
    assert runs == [at(second) for second in (*range(1, 1_001), *range(2_995, 3_001))]
    assert (skips[0].from_, skips[-1].to, sum(each.count for each in skips)) == (at(1_001), at(2_994), 1_994)
    assert {each.reason for each in skips} == {"misfire"}
    again, _ = settled(state, at(4_500))  # one was in time since: it may catch up again
    assert sum(isinstance(each, RunRequested) for each in again) == 1_006


def test_misfire_all_beside_an_active_run_is_up_to_the_overlap_policy():
    told, _ = settled(a_job(every=10, misfire_policy="all", misfire_grace_seconds=5), at(60))
    assert kinds(told) == ["RunRequested", "OccurrencesSkipped", "OccurrencesSkipped"]
    assert [each.reason for each in told[1:]] == ["overlap", "overlap"]


def test_everything_within_the_grace_runs_if_overlap_is_allowed():
    events, _ = when(a_job(every=10, overlap_policy="allow"), Wake(), at(35))
    assert [event.scheduled_for for event in events] == [at(10), at(20), at(30)]


def test_a_wake_fires_at_most_fifty_and_stays_due():
    events, state = when(a_job(every=1, overlap_policy="allow"), Wake(), at(60))
    assert len(events) == settling.FIRES_A_WAKE
    assert state.due_at == at(51)


@settings(deadline=None)
@given(
    st.integers(1, 50),
    st.integers(0, 4000),
    st.integers(0, 100),
    st.sampled_from(["skip", "allow"]),
    st.sampled_from(["latest", "skip", "all"]),
)
def test_every_occurrence_is_decided_exactly_once_however_late_the_wake(
    every, late_s, grace, overlap, misfire
):
    state = a_job(every=every, misfire_grace_seconds=grace, overlap_policy=overlap, misfire_policy=misfire)
    now = at(every + late_s)
    decided = 0
    while state.due_at is not None and state.due_at <= now:
        events, state = when(state, Wake(), now)
        assert events
        decided += sum(event.count if isinstance(event, OccurrencesSkipped) else 1 for event in events)
    assert decided == (every + late_s) // every
    assert state.next_for > now


def test_a_job_with_run_at_is_completed_after_its_one_run():
    state = a_job(once=at(5))
    events, state = when(state, Wake(), at(5))
    assert kinds(events) == ["RunRequested", "JobCompleted"]
    assert (state.status, state.due_at, state.over) == ("completed", None, False)
    assert ended(state, state.active[0]).over


def test_a_run_at_just_gone_by_still_counts_and_one_long_gone_is_refused():
    assert a_job(once=at(-30)).due_at == at(-30)
    with pytest.raises(NeverFires):
        a_job(once=at(-61))


@pytest.mark.parametrize("late_s", [0, 30])
def test_an_edit_decides_no_occurrence_again_that_was_decided_before(late_s):
    """A one-off that has run, edited within the grace: the same time must not be announced once more."""
    _, done = when(a_job(once=at(5)), Wake(), at(5))
    done = ended(done, done.active[0])
    (edited,), state = when(done, UpdateJob(spec=a_spec(once=at(5), timezone="Europe/Paris")), at(5 + late_s))
    assert (edited.next_for, state.status, state.revision) == (None, "completed", 2)
    with pytest.raises(NeverFires):
        when(done, UpdateJob(spec=a_spec(once=at(4))), at(5 + late_s))
    (later,), _ = when(done, UpdateJob(spec=a_spec(once=at(99))), at(5 + late_s))
    assert later.next_for == at(99)


def test_a_one_off_at_the_time_of_an_occurrence_that_the_old_schedule_had_is_refused():
    _, state = when(a_job(every=10, overlap_policy="allow"), Wake(), at(10))
    assert state.decided_to == at(10)
    with pytest.raises(NeverFires):
        when(state, UpdateJob(spec=a_spec(once=at(10))), at(12))
    skipped, state = when(a_job(every=10), Wake(), at(205))
    assert state.decided_to == max(
        e.to if isinstance(e, OccurrencesSkipped) else e.scheduled_for for e in skipped
    )


@pytest.mark.parametrize(
    "command", [PauseJob(by="ann"), DeleteJob(by="ann"), UpdateJob(spec=a_spec(every=60))]
)
def test_a_command_at_a_due_moment_swallows_nothing(command):
    events, _ = when(a_job(every=10), command, at(10.003))
    assert kinds(events)[0] == "RunRequested"
    assert events[0].scheduled_for == at(10)
    assert len(events) == 2


def test_an_edit_of_the_schedule_anchors_it_anew_and_counts_a_revision():
    events, state = when(a_job(every=10), UpdateJob(spec=a_spec(every=7)), at(3))
    assert isinstance(events[0], JobUpdated)
    assert (state.next_for, state.revision, state.anchor_at) == (at(10), 2, at(3))


def test_an_edit_of_something_else_keeps_the_phase():
    _, state = when(a_job(every=10), UpdateJob(spec=a_spec(every=10, name="b")), at(3))
    assert (state.next_for, state.anchor_at, state.spec.name) == (at(10), NOON, "b")


def test_an_edit_that_changes_nothing_is_no_event():
    assert when(a_job(every=10), UpdateJob(spec=a_spec(every=10)), at(3))[0] == []


def test_an_edit_cannot_change_the_type():
    with pytest.raises(IllegalTransition):
        when(a_job(every=10), UpdateJob(spec=a_spec(every=10, job_type="cleanup_task")), at(3))


def test_an_edit_brings_a_completed_job_back():
    _, state = when(a_job(once=at(5)), Wake(), at(5))
    _, state = when(state, UpdateJob(spec=a_spec(once=at(50))), at(6))
    assert (state.status, state.due_at) == ("pending", at(50))


def test_a_paused_job_is_not_due_and_resuming_records_what_it_missed():
    _, state = when(a_job(every=10), PauseJob(by="ann", reason="holiday"), at(1))
    assert (state.status, state.due_at, state.paused.reason) == ("paused", None, "holiday")
    assert when(state, Wake(), at(25))[0] == []
    events, state = when(state, ResumeJob(by="bob"), at(25))
    assert kinds(events) == ["OccurrencesSkipped", "JobResumed"]
    assert (events[0].count, events[0].reason, state.next_for, state.paused) == (2, "paused", at(30), None)


@pytest.mark.parametrize("command", [PauseJob(by="ann"), SuspendJob(by="timer", reason="x")])
def test_pausing_twice_is_no_event(command):
    _, state = when(a_job(every=10), PauseJob(by="ann"), at(1))
    assert when(state, command, at(2))[0] == []


def test_resuming_what_is_not_paused_is_no_event():
    assert when(a_job(every=10), ResumeJob(by="ann"), at(2))[0] == []


def test_a_completed_job_cannot_be_paused():
    _, state = when(a_job(once=at(5)), Wake(), at(5))
    with pytest.raises(IllegalTransition):
        when(state, PauseJob(by="ann"), at(6))


def test_a_backlog_too_long_for_one_unit_is_settled_in_several_before_the_command():
    _, state = when(a_job(every=1), PauseJob(by="ann"), at(0.5))
    now, rounds, counted = at(2500), 0, 0
    while True:
        decision = deciding.decide(state, ResumeJob(by="ann"), now)
        counted += sum(c.event.count for c in decision.changes if isinstance(c.event, OccurrencesSkipped))
        state = fold(state, decision)
        rounds += 1
        if decision.settled:
            break
    assert (rounds, counted, state.status, state.next_for) == (3, 2500, "pending", at(2501))


def test_an_edit_of_a_job_that_catches_up_comes_after_all_it_has_to_run():
    state = a_job(every=1, misfire_policy="all", overlap_policy="allow")
    asked, runs = UpdateJob(spec=a_spec(every=7)), 0
    for _ in range(30):
        decision = deciding.decide(state, asked, at(1_200))
        runs += sum(isinstance(each.event, RunRequested) for each in decision.changes)
        state = fold(state, decision)
        if decision.settled:
            break
    assert (runs, state.spec.schedule.interval_seconds, state.next_for) == (1_061, 7, at(1_207))


def test_a_suspended_job_needs_no_settling():
    broken = replace(a_job(every=10), spec=a_spec(cron="not a cron"))
    with pytest.raises(ValueError, match="cron"):
        when(broken, Wake(), at(11))
    events, state = when(broken, SuspendJob(by="timer", reason="zone gone"), at(11))
    assert (kinds(events), state.status, state.paused.by) == (["JobPaused"], "paused", "timer")


def test_a_trigger_runs_now_and_leaves_the_schedule_alone():
    trigger = TriggerJob(
        run_id=a_job_id(3), correlation_id="req-1", job_data={"operation": "echo", "n": 2}, priority=9
    )
    events, state = when(a_job(every=10), trigger, at(4))
    (event,) = events
    assert (event.trigger, event.scheduled_for, event.correlation_id) == ("manual", at(4), "req-1")
    assert (event.spec.job_data["n"], event.spec.priority, state.next_for) == (2, 9, at(10))


def test_a_trigger_beside_an_active_run_needs_leave_to_overlap():
    trigger = TriggerJob(run_id=a_job_id(3), correlation_id="c")
    _, state = when(a_job(every=10), trigger, at(1))
    with pytest.raises(Overlaps):
        when(state, trigger, at(2))
    allowed = replace(trigger, run_id=a_job_id(3), overlap_policy="allow")
    assert len(when(state, allowed, at(2))[1].active) == 2


def a_retry(**changes):
    spec = replace(run_spec(a_spec(), tenant="t"), job_data={"operation": "echo", "n": 7}, priority=2)
    made = RetryRun(
        run_id=a_job_id(3), correlation_id="req-2", of="old", scheduled_for=at(-60), revision=4, spec=spec
    )
    return replace(made, **changes)


@pytest.mark.parametrize("overlap", ["skip", "allow"])
def test_a_retry_does_again_what_the_old_run_was_to_do_and_leaves_the_schedule_alone(overlap):
    retry = a_retry()
    decision = deciding.decide(a_job(every=10, overlap_policy=overlap), retry, at(4))
    (change,) = decision.changes
    follows = overlap == "skip"
    assert (change.subject, change.job, change.both) == (f"run:{retry.run_id}", JOB, follows)
    assert change.event == RunRequested(
        job_id=JOB, scheduled_for=at(-60), fires_at=at(4), trigger="retry", of="old", revision=4, spec=retry.spec,
        follows=follows, correlation_id="req-2", requested_at=at(4),
    )  # fmt: skip
    state = job.evolve(a_job(every=10, overlap_policy=overlap), change)
    assert (state.next_for, state.active) == (at(10), (retry.run_id,) if follows else ())


def test_a_retry_beside_an_active_run_needs_leave_to_overlap():
    _, state = when(a_job(every=10), a_retry(), at(1))
    with pytest.raises(Overlaps):
        when(state, a_retry(), at(2))
    assert len(when(state, a_retry(overlap_policy="allow"), at(2))[1].active) == 2
    allowing = a_job(every=10, overlap_policy="allow", pause_after_failures=3)
    with_leave = when(allowing, a_retry(overlap_policy="skip"), at(1))[0]
    assert kinds(with_leave) == ["RunRequested"]


def test_a_retry_leaves_a_paused_job_paused_and_what_it_missed_undecided():
    _, state = when(a_job(every=10), PauseJob(by="ann"), at(1))
    events, state = when(state, a_retry(), at(25))
    assert (kinds(events), state.status, state.next_for) == (["RunRequested"], "paused", at(10))


def test_a_retry_of_a_completed_job_is_followed_until_it_has_ended():
    _, state = when(a_job(once=at(5)), Wake(), at(5))
    state = ended(state, state.active[0])
    assert state.over
    retry = a_retry()
    _, state = when(state, retry, at(6))
    assert (state.status, state.over) == ("completed", False)
    assert ended(state, retry.run_id).over


def test_a_retry_at_a_due_moment_swallows_nothing():
    events, _ = when(a_job(every=10, overlap_policy="allow"), a_retry(), at(10))
    assert [event.trigger for event in events] == ["schedule", "retry"]


@pytest.mark.parametrize(
    "command",
    [PauseJob(by="a"), ResumeJob(by="a"), DeleteJob(by="a"), UpdateJob(spec=a_spec()), a_retry()],
)
def test_a_deleted_job_takes_no_command_and_wakes_for_nothing(command):
    events, state = when(a_job(every=10), DeleteJob(by="ann"), at(1))
    assert isinstance(events[0], JobDeleted)
    assert state.due_at is None
    with pytest.raises(NoSuchJob):
        when(state, command, at(2))
    assert when(state, Wake(), at(100))[0] == []


def test_an_id_that_is_taken_is_refused():
    with pytest.raises(IllegalTransition):
        deciding.decide(a_job(), create(a_spec())[0], at(1))


def test_folding_leaves_a_job_alone_where_an_event_does_not_concern_it():
    state = a_job(every=10)
    for event in (
        JobCompleted(),
        JobPaused(by="a", reason="", paused_at=NOON),
        JobResumed(by="a", resumed_at=NOON),
    ):
        assert job.evolve(state, Change(subject=f"job:{JOB}", event=event)).id == JOB
    assert ended(state, "unknown") == state


def test_an_interval_never_drifts():
    state = a_job(every=7)
    for late_ms in (3, 900, 5, 0, 6500):
        now = state.next_for + timedelta(milliseconds=late_ms)
        _, state = when(state, Wake(), now)
        assert (state.next_for - NOON) % timedelta(seconds=7) == timedelta()


EDITS = [
    UpdateJob(spec=a_spec(name="other")),
    UpdateJob(spec=a_spec()),
    PauseJob(by="ann"),
    ResumeJob(by="ann"),
    DeleteJob(by="ann"),
    TriggerJob(run_id=a_job_id(partition=3), correlation_id="c"),
]


@pytest.mark.parametrize("command", EDITS)
def test_a_wish_made_up_from_another_revision_is_refused(command):
    state = a_job()
    for wanted in ((), (2,), (2, 3)):
        with pytest.raises(StaleRevision) as caught:
            deciding.decide(state, replace(command, if_revision=wanted), NOON)
        assert caught.value.current == "1"
    for wanted in (None, (1,), (3, 1)):
        assert deciding.decide(state, replace(command, if_revision=wanted), NOON) == deciding.decide(
            state, command, NOON
        )


def test_a_wish_made_up_from_another_revision_settles_nothing():
    with pytest.raises(StaleRevision):
        deciding.decide(a_job(every=1), PauseJob(by="ann", if_revision=(2,)), at(5_000))


def test_a_job_is_completed_by_the_last_occurrence_of_its_window_and_comes_back_with_a_later_end_in_phase():
    window = {"start_at": at(10), "end_at": at(25)}
    state = a_job(every=10, overlap_policy="allow", **window)
    assert state.next_for == at(10)
    told = []
    for second in (10, 20):
        events, state = when(state, Wake(), at(second))
        told += kinds(events)
    assert told == ["RunRequested", "RunRequested", "JobCompleted"]
    longer = a_spec(every=10, overlap_policy="allow", start_at=at(10), end_at=at(60))
    _, state = when(state, UpdateJob(spec=longer), at(33))
    assert (state.status, state.next_for) == (job.Status.PENDING, at(40))


@pytest.mark.parametrize(
    ("misfire", "seconds"), [("latest", [30, 40, 60]), ("skip", [30, 40, 60]), ("all", [10, 20, 30])]
)
def test_a_job_is_completed_by_the_last_of_its_runs_whatever_was_skipped_before(misfire, seconds):
    state = a_job(
        every=10, max_runs=3, overlap_policy="allow", misfire_policy=misfire, misfire_grace_seconds=15
    )
    told, state = settled(state, at(40))
    more, state = settled(state, at(70))
    events = [*told, *more]
    assert [each.scheduled_for for each in events if isinstance(each, RunRequested)] == [
        at(each) for each in seconds
    ]
    assert (kinds(events)[-1], state.status, state.next_for) == ("JobCompleted", "completed", None)


def test_runs_by_hand_are_not_counted_and_more_runs_bring_a_job_back():
    state = a_job(every=10, max_runs=1, overlap_policy="allow")
    _, state = when(state, TriggerJob(run_id=a_job_id(3), correlation_id="c"), at(5))
    _, state = when(state, Wake(), at(10))
    assert (state.status, state.runs) == ("completed", 1)
    with pytest.raises(NeverFires):
        when(state, UpdateJob(spec=a_spec(every=11, max_runs=1, overlap_policy="allow")), at(12))
    _, state = when(state, UpdateJob(spec=a_spec(every=10, max_runs=2, overlap_policy="allow")), at(12))
    assert (state.status, state.next_for) == ("pending", at(20))


def test_a_window_that_is_over_is_refused():
    with pytest.raises(NeverFires):
        a_job(every=10, end_at=at(-1))


def test_an_interval_keeps_its_phase_when_only_its_end_is_edited():
    state = a_job(every=10)
    _, state = when(state, UpdateJob(spec=a_spec(every=10, end_at=at(100))), at(14))
    assert (state.next_for, state.anchor_at) == (at(20), NOON)


BERLIN = {"every": None, "cron": "30 2 * * *", "timezone": "Europe/Berlin"}


def utc(text):
    return datetime.fromisoformat(text)


def clock(event):
    return [(each.rule, each.local_time) for each in event.clock]


def test_a_run_tells_that_its_occurrence_was_moved_where_clocks_were_put_forward_and_only_that_one_does():
    state = a_job(now=utc("2026-03-28T00:00:00Z"), overlap_policy="allow", **BERLIN)
    told = []
    for day in ("2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"):
        (event,), state = when(state, Wake(), utc(day))
        told.append(clock(event))
    assert told == [[], [("gap_next_valid", "2026-03-29T02:30:00")], []]


def test_what_a_policy_drops_is_told_by_the_occurrence_that_is_decided_next_even_if_that_is_skipped():
    spec = BERLIN | {"dst_policy": DstPolicy(gap="skip")}
    state = a_job(now=utc("2026-03-28T12:00:00Z"), **spec)
    (event,), _ = when(state, Wake(), utc("2026-03-30T00:30:00Z"))
    assert (event.scheduled_for, clock(event)) == (
        utc("2026-03-30T00:30:00Z"), [("gap_skip", "2026-03-29T02:30:00")]
    )  # fmt: skip
    _, paused = when(state, PauseJob(by="ann", reason=""), utc("2026-03-28T13:00:00Z"))
    (skipped, _), _ = when(paused, ResumeJob(by="ann"), utc("2026-03-31T12:00:00Z"))
    assert (skipped.count, clock(skipped)) == (2, [("gap_skip", "2026-03-29T02:30:00")])


def test_an_h_is_drawn_by_the_job_when_it_is_made_and_an_edit_that_says_the_same_is_none():
    state = a_job(every=None, cron="H H * * *")
    drawn = state.spec.schedule.cron_expression
    assert "H" not in drawn
    asked = a_spec(every=None, cron="H H * * *")
    assert when(state, UpdateJob(spec=asked), at(1))[0] == []
    (edited,), _ = when(state, UpdateJob(spec=replace(asked, priority=9)), at(1))
    assert edited.spec.schedule.cron_expression == drawn
