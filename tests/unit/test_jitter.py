"""Jitter: how an occurrence is spread over the time after it, and what goes by the time at which it fires."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.domain import deciding, ids, job, run
from shared.domain.commands import CreateJob, DeleteJob, PauseJob, ResumeJob, UpdateJob, Wake
from shared.domain.events import JobCompleted, JobUpdated, OccurrencesSkipped, RunRequested
from shared.domain.jitter import fires_at
from shared.domain.occurrences import undecided
from shared.domain.refusals import NeverFires
from shared.domain.schedule import next_after
from shared.metrics import Metrics
from shared.testing import NOON, a_job_id, a_spec, at

HOUR_S = 3_600
TICK = timedelta(milliseconds=1)


def an_id(number: int) -> str:
    return ids.chance_id(NOON, 0, number)


def jittered(jitter_s, **spec):
    return a_spec(jitter_seconds=jitter_s, **spec)


def a_job(jitter_s, *, job_id=None, now=NOON, **spec):
    command = CreateJob(
        job_id=job_id or a_job_id(partition=3), spec=jittered(jitter_s, **spec), owner="ann", tenant="t"
    )
    return fold(None, deciding.decide(None, command, now).changes)


def fold(state, changes):
    for change in changes:
        state = job.evolve(state, change)
    return state


def when(state, command, now):
    changes = deciding.decide(state, command, now).changes
    return [change.event for change in changes], fold(state, changes)


def held_back(jitter_s=1_800, **spec):
    """A job every hour whose occurrence at 13:00 fires minutes later."""
    for number in range(100):
        state = a_job(jitter_s, job_id=an_id(number), every=HOUR_S, **spec)
        if timedelta(minutes=10) < state.due_at - at(HOUR_S) < timedelta(minutes=25):
            return state
    raise AssertionError("of a hundred jobs none is in the middle: that is no spread")


@given(
    number=st.integers(0, 2**62 - 1),
    jitter_s=st.integers(1, 86_400),
    second=st.integers(0, 10**9),
    gap_ms=st.none() | st.integers(1, 10**9),
)
@settings(max_examples=200)
def test_an_occurrence_fires_within_its_jitter_and_before_the_next_ones_time(
    number, jitter_s, second, gap_ms
):
    schedule = jittered(jitter_s, every=60).schedule
    nominal = at(second)
    following = None if gap_ms is None else nominal + timedelta(milliseconds=gap_ms)

    fires = fires_at(schedule, an_id(number), nominal, following)

    assert nominal <= fires <= nominal + timedelta(seconds=jitter_s)
    assert following is None or fires < following
    assert fires.microsecond % 1_000 == 0
    assert fires == fires_at(schedule, an_id(number), nominal, following)


def test_what_was_drawn_in_one_release_is_drawn_in_the_next():
    """A changed draw would move what is announced already."""
    schedule = jittered(HOUR_S, every=86_400).schedule
    job_id = "01939d2a-1c00-8003-8000-000000000001"
    drawn = [fires_at(schedule, job_id, at(hour * HOUR_S), None) for hour in range(3)]
    assert drawn == [at(2_190.349), at(HOUR_S + 571.138), at(2 * HOUR_S + 2_757.933)]


def test_jobs_that_share_a_time_are_spread_evenly_over_the_jitter():
    schedule = jittered(100, every=HOUR_S).schedule
    tenths = [0] * 10
    for number in range(2_000):
        fires = fires_at(schedule, an_id(number), at(0), at(HOUR_S))
        tenths[int((fires - at(0)).total_seconds() // 10)] += 1
    assert all(150 < count < 250 for count in tenths), tenths  # 200 ± 3.7 standard deviations


def test_an_occurrence_is_spread_over_all_that_lies_before_the_next_one():
    schedule = jittered(86_400, every=2).schedule
    offsets = [(fires_at(schedule, an_id(number), at(0), at(2)) - at(0)) // TICK for number in range(2_000)]
    assert (min(offsets) < 20, max(offsets) > 1_980, max(offsets) < 2_000) == (True, True, True)


@given(
    number=st.integers(0, 10**6),
    jitter_s=st.integers(1, 200),
    cron=st.sampled_from(["* * * * *", "1,2,30 * * * *", "*/7 3-5 * * *"]),
)
@settings(max_examples=30)
def test_firing_keeps_the_order_of_the_times(number, jitter_s, cron):
    state = a_job(jitter_s, job_id=an_id(number), cron=cron, overlap_policy="allow")
    fired = []
    for _ in range(20):
        (event,), state = when(state, Wake(), state.due_at)
        fired.append(event)
    times = [event.scheduled_for for event in fired]
    assert times == _times(state, times[0], len(times))
    assert all(one.fires_at < other.scheduled_for <= other.fires_at for one, other in pairwise(fired))
    assert [event.requested_at for event in fired] == [event.fires_at for event in fired]


def _times(state, first, count):
    times = [first]
    while len(times) < count:
        times.append(next_after(state.spec.schedule, times[-1], anchor_at=state.anchor_at))
    return times


def test_a_job_is_woken_when_its_occurrence_fires_not_before():
    state = held_back()
    assert when(state, Wake(), at(HOUR_S))[0] == []
    assert when(state, Wake(), state.due_at - TICK)[0] == []
    (event,), after = when(state, Wake(), state.due_at)
    assert (event.scheduled_for, event.fires_at) == (at(HOUR_S), state.due_at)
    assert (after.next_for, after.due_at > at(2 * HOUR_S)) == (at(2 * HOUR_S), True)


def test_grace_counts_from_when_an_occurrence_fires():
    state = held_back(misfire_policy="skip", misfire_grace_seconds=60)
    (in_time,), _ = when(state, Wake(), state.due_at + timedelta(seconds=60))
    (late,), _ = when(state, Wake(), state.due_at + timedelta(seconds=60) + TICK)
    assert (type(in_time), type(late)) == (RunRequested, OccurrencesSkipped)


def test_what_runs_within_the_grace_of_its_jitter_is_no_late_run():
    state = held_back(misfire_policy="all")
    _, state = when(state, Wake(), state.due_at)
    assert state.late_runs == 0


@pytest.mark.parametrize("policy", ["latest", "all"])
def test_after_an_outage_what_has_not_fired_yet_waits_for_its_time(policy):
    state = a_job(1_800, every=HOUR_S, misfire_policy=policy, overlap_policy="allow")
    now = at(5 * HOUR_S)
    told = []
    while state.due_at <= now:
        events, state = when(state, Wake(), now)
        told += events
    decided = [getattr(event, "to", None) or event.scheduled_for for event in told]
    assert decided[-1] == (at(5 * HOUR_S) if state.next_for > at(5 * HOUR_S) else at(4 * HOUR_S))
    assert state.due_at > now
    assert undecided(state, now, most=10) == 0


@given(number=st.integers(0, 10**6), late_s=st.integers(0, 8 * HOUR_S))
@settings(max_examples=40)
def test_as_many_are_undecided_as_have_fired(number, late_s):
    state = a_job(3_000, job_id=an_id(number), every=HOUR_S)
    events, _ = when(state, Wake(), at(late_s))
    decided = sum(event.count if isinstance(event, OccurrencesSkipped) else 1 for event in events)
    assert undecided(state, at(late_s), most=100) == decided


# Commands while jitter holds an occurrence back.


def moment_before(state):
    """Its time has come, and it hasn't fired."""
    return at(HOUR_S) + (state.due_at - at(HOUR_S)) / 2 // TICK * TICK


def edited(state, **changes):
    return UpdateJob(spec=replace(state.spec, **changes))


def rescheduled(state, **changes):
    return edited(state, schedule=replace(state.spec.schedule, **changes))


def test_an_edit_of_something_else_moves_nothing():
    state = held_back()
    (event,), after = when(state, edited(state, name="b"), moment_before(state))
    assert isinstance(event, JobUpdated)
    assert (after.next_for, after.due_at) == (state.next_for, state.due_at)


def test_an_edit_of_the_jitter_alone_moves_when_the_same_occurrence_fires():
    state = held_back()
    (event,), after = when(state, rescheduled(state, jitter_seconds=3_599), at(60))
    assert (event.next_for, after.anchor_at) == (state.next_for, state.anchor_at)
    assert after.due_at == fires_at(after.spec.schedule, state.id, at(HOUR_S), at(2 * HOUR_S))
    assert after.due_at != state.due_at
    (event,), after = when(after, rescheduled(after, jitter_seconds=0), at(61))
    assert (event.next_fires_at, after.due_at) == (None, at(HOUR_S))


def test_less_jitter_makes_what_was_held_back_due_and_not_late():
    state = held_back(misfire_policy="skip", misfire_grace_seconds=5)
    now = moment_before(state)
    _, after = when(state, rescheduled(state, jitter_seconds=0), now)
    assert (after.next_for, after.due_at) == (at(HOUR_S), now)
    (event,), _ = when(after, Wake(), now)
    assert (type(event), event.scheduled_for, event.fires_at) == (RunRequested, at(HOUR_S), now)


def test_an_edit_to_other_times_records_what_it_drops():
    state = held_back()
    now = moment_before(state)
    (skipped, updated), after = when(state, rescheduled(state, interval_seconds=7_200), now)
    assert (skipped.from_, skipped.count, skipped.reason) == (at(HOUR_S), 1, "edited")
    assert (updated.next_for, after.next_for) == (now + timedelta(hours=2), now + timedelta(hours=2))


def test_an_edit_that_keeps_the_time_keeps_the_occurrence():
    state = held_back()
    (updated,), after = when(state, rescheduled(state, end_at=at(HOUR_S)), moment_before(state))
    assert (updated.next_for, after.due_at) == (
        at(HOUR_S),
        fires_at(after.spec.schedule, state.id, at(HOUR_S), None),
    )
    events, _ = when(after, Wake(), after.due_at)
    assert [type(event) for event in events] == [RunRequested, JobCompleted]


def test_what_is_late_by_the_times_of_an_edit_is_so_though_what_was_held_back_before_it_is_not():
    state = held_back(misfire_policy="skip", misfire_grace_seconds=5, overlap_policy="allow")
    now = moment_before(state)
    _, state = when(state, edited(state, schedule=a_spec(cron="* * * * *").schedule), now)
    assert (state.next_for, state.due_at) == (at(HOUR_S), now)
    events, _ = when(state, Wake(), now)
    assert (type(events[0]), events[0].scheduled_for) == (RunRequested, at(HOUR_S))
    assert (events[1].from_, events[1].reason) == (at(HOUR_S + 60), "misfire")


def test_a_deletion_records_what_it_drops():
    state = held_back()
    skipped, deleted = when(state, DeleteJob(by="ann"), moment_before(state))[0]
    assert (skipped.from_, skipped.reason, deleted.by) == (at(HOUR_S), "deleted", "ann")


def test_a_pause_that_ends_before_it_fires_costs_nothing_and_a_longer_one_is_told():
    state = held_back()
    _, paused = when(state, PauseJob(by="ann"), moment_before(state))
    resumed = when(paused, ResumeJob(by="ann"), state.due_at - TICK)[1]
    assert resumed.due_at == state.due_at
    skipped, _ = when(paused, ResumeJob(by="ann"), state.due_at)[0]
    assert (skipped.from_, skipped.reason) == (at(HOUR_S), "paused")


def test_a_one_off_is_spread_too():
    state = a_job(600, job_id=an_id(7), once=at(5))
    assert (state.next_for, at(5) <= state.due_at <= at(605)) == (at(5), True)
    (event, _), _ = when(state, Wake(), state.due_at)
    assert (event.scheduled_for, event.fires_at) == (at(5), state.due_at)


def test_end_and_number_of_runs_go_by_times_not_by_when_they_fire():
    spec = jittered(3_000, every=HOUR_S, end_at=at(HOUR_S))
    command = CreateJob(job_id=an_id(3), spec=spec, owner="ann", tenant="t")
    state = fold(None, deciding.decide(None, command, at(0)).changes)
    assert (state.next_for, state.due_at > at(HOUR_S)) == (at(HOUR_S), True)
    with pytest.raises(NeverFires):
        a_job(3_000, every=HOUR_S, end_at=at(HOUR_S - 1))


def test_what_is_late_is_late_after_the_jitter():
    """A run's delay, its start deadline and the timer's delay count from when it was to fire."""
    state, metrics = held_back(start_deadline_seconds=60), Metrics()
    (change,) = deciding.decide(state, Wake(), state.due_at + timedelta(seconds=2)).changes
    begun = run.evolve(None, change)
    assert (begun.scheduled_for, begun.wanted_at) == (at(HOUR_S), state.due_at)
    assert begun.start_by == state.due_at + timedelta(seconds=60)
    metrics.count_occurrences([change], change.event.requested_at)
    assert metrics.registry.get_sample_value("daybook_fire_delay_seconds_sum") == 2.0


def test_a_run_without_jitter_was_wanted_at_its_time_and_one_that_is_retried_when_that_was_asked_for():
    (change,) = deciding.decide(a_job(0, every=10), Wake(), at(10)).changes
    begun = run.evolve(None, change)
    assert (begun.fires_at, begun.wanted_at) == (None, at(10))
    retried = replace(change, event=replace(change.event, trigger="retry", fires_at=at(500)))
    assert run.evolve(None, retried).wanted_at == at(500)
