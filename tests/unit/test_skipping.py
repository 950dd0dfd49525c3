"""Occurrences skipped by hand: decided at the wake with a reason and a name, and shown before that."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.domain import deciding, job, skipping
from shared.domain.commands import (
    CreateJob,
    DeleteJob,
    PauseJob,
    ResumeJob,
    SkipOccurrence,
    UnskipOccurrence,
    UpdateJob,
    Wake,
)
from shared.domain.events import (
    JobCompleted,
    OccurrenceExcluded,
    OccurrenceIncluded,
    OccurrencesSkipped,
    RunRequested,
)
from shared.domain.exclude import Span
from shared.domain.refusals import IllegalTransition, NoSuchOccurrence, StaleRevision
from shared.testing import NOON, a_job_id, a_spec, at

JOB = a_job_id(partition=3)


def a_job(now=NOON, **spec):
    command = CreateJob(job_id=JOB, spec=a_spec(**spec), owner="ann", tenant="t")
    return fold(None, deciding.decide(None, command, now).changes)


def fold(state, changes):
    for change in changes:
        state = job.evolve(state, change)
    return state


def when(state, command, now):
    changes = deciding.decide(state, command, now).changes
    return [change.event for change in changes], fold(state, changes)


def skip(second, by="ann", **more):
    return SkipOccurrence(scheduled_for=at(second), by=by, **more)


def unskip(second, by="ann"):
    return UnskipOccurrence(scheduled_for=at(second), by=by)


def skipped(state, *seconds, by="ann"):
    for second in seconds:
        _, state = when(state, skip(second, by=by), NOON)
    return state


def test_a_skipped_occurrence_is_decided_at_its_time_and_says_who_wanted_that():
    (event,), state = when(a_job(every=10), skip(20, reason="the database moves"), at(3))
    assert event == OccurrenceExcluded(
        scheduled_for=at(20), by="ann", reason="the database moves", excluded_at=at(3), next_run_at=None
    )
    _, state = when(state, Wake(), at(10))
    (event,), state = when(state, Wake(), at(20))
    assert event == OccurrencesSkipped(
        from_=at(20), to=at(20), count=1, reason="excluded", by="ann", next_for=at(30)
    )
    assert (state.skipped, state.runs) == ((), 1)


def test_a_job_says_when_it_runs_next_not_when_it_is_woken_next():
    state = skipped(a_job(every=10), 10, 20, 40)
    assert (state.due_at, state.next_run_time) == (at(10), at(30))
    _, state = when(state, Wake(), at(10))
    assert (state.due_at, state.next_run_time) == (at(20), at(30))
    _, state = when(state, unskip(20), at(11))
    assert (state.due_at, state.next_run_time) == (at(20), at(20))
    _, state = when(state, skip(20), at(11))
    _, state = when(state, Wake(), at(20))
    _, state = when(state, Wake(), at(30))
    assert (state.due_at, state.next_run_time, len(state.skipped)) == (at(40), at(50), 1)


def test_with_jitter_it_says_when_the_next_one_fires():
    state = skipped(a_job(every=100, jitter_seconds=90), 100)
    assert at(200) < state.next_run_time < at(300)
    fires, (_, after) = state.next_run_time, when(state, Wake(), state.due_at)
    assert (after.due_at, after.next_run_time) == (fires, fires)


def test_a_job_whose_last_occurrence_is_skipped_runs_no_more_and_is_completed_at_its_time():
    state = skipped(a_job(once=at(5)), 5)
    assert (state.status, state.due_at, state.next_run_time) == ("pending", at(5), None)
    events, state = when(state, Wake(), at(5))
    assert [type(event) for event in events] == [OccurrencesSkipped, JobCompleted]
    assert (state.status, state.skipped) == ("completed", ())


def test_skipping_twice_and_unskipping_what_is_not_skipped_is_no_event():
    (_,), state = when(a_job(every=10), skip(20), at(1))
    assert when(state, skip(20, by="bob"), at(2)) == ([], state)
    (event,), state = when(state, unskip(20, by="bob"), at(3))
    assert event == OccurrenceIncluded(scheduled_for=at(20), by="bob", included_at=at(3), next_run_at=None)
    assert when(state, unskip(20), at(4)) == ([], state)
    (event,), _ = when(state, Wake(), at(10))
    assert isinstance(event, RunRequested)


@pytest.mark.parametrize(
    ("second", "named"),
    [
        (5, "its next occurrence is 2026-11-23T12:00:10.000Z"),
        (25, "the nearest occurrence before is 2026-11-23T12:00:20.000Z, after it 2026-11-23T12:00:30.000Z"),
        (
            10.001,
            "the nearest occurrence before is 2026-11-23T12:00:10.000Z, after it 2026-11-23T12:00:20.000Z",
        ),
        (3_599.999, "2026-11-23T12:59:50.000Z, after it 2026-11-23T13:00:00.000Z"),
        (7_000, "the nearest occurrence before is 2026-11-23T13:00:00.000Z, there is none after"),
    ],
)
@pytest.mark.parametrize("command", [skip, unskip])
def test_what_is_no_occurrence_is_refused_with_the_nearest_ones(command, second, named):
    with pytest.raises(NoSuchOccurrence, match=named):
        when(a_job(every=10, end_at=at(3_600)), command(second), at(1))


@given(every=st.integers(1, 5_000), off_ms=st.integers(1, 10**9))
@settings(max_examples=60)
def test_the_nearest_ones_are_the_nearest_ones(every, off_ms):
    state = a_job(every=every)
    wanted = off_ms / 1000 if off_ms % (every * 1000) else off_ms / 1000 + 0.001
    with pytest.raises(NoSuchOccurrence) as caught:
        when(state, skip(wanted), NOON)
    before, after = (wanted // every) * every, (wanted // every + 1) * every
    said = [
        each.isoformat(timespec="milliseconds").replace("+00:00", "Z") for each in (at(before), at(after))
    ]
    assert all(each in str(caught.value) for each in said[before == 0 :])


def test_a_job_without_a_schedule_has_nothing_to_skip():
    with pytest.raises(NoSuchOccurrence):
        when(a_job(), skip(10), at(1))


def test_a_skip_that_comes_too_late_is_refused_also_if_nobody_has_woken_the_job_yet():
    """The command settles what is due first: whoever wins, the occurrence is decided once."""
    state = a_job(every=10)
    with pytest.raises(IllegalTransition, match=r"2026-11-23T12:00:10.000Z has been decided.*12:00:20.000Z"):
        when(state, skip(10), at(10))
    _, decided = when(state, Wake(), at(10))
    for command in (skip(10), unskip(10)):
        with pytest.raises(IllegalTransition):
            when(decided, command, at(11))


def test_what_jitter_holds_back_can_still_be_skipped():
    state = a_job(every=100, jitter_seconds=90)
    assert state.due_at > at(101)
    (event,), state = when(state, skip(100), at(101))
    assert isinstance(event, OccurrenceExcluded)
    (event,), _ = when(state, Wake(), state.due_at)
    assert (event.reason, event.from_) == ("excluded", at(100))


def test_what_a_wake_decides_late_is_skipped_for_the_reason_that_somebody_gave():
    """Excluded ones are neither late nor the newest: of the others the newest that is late may run."""
    state = skipped(a_job(every=10, misfire_grace_seconds=5, overlap_policy="allow"), 20, 30, 50)
    state = skipped(state, 40, by="bob")
    events, _ = when(state, Wake(), at(58))
    told = [
        (event.reason, event.by, event.from_, event.to)
        if isinstance(event, OccurrencesSkipped)
        else event.scheduled_for
        for event in events
    ]
    assert told == [at(10), ("excluded", "ann", at(20), at(30)), ("excluded", "bob", at(40), at(40)),
                    ("excluded", "ann", at(50), at(50))]  # fmt: skip


def test_a_skip_between_what_is_in_time_and_what_is_late_keeps_the_order():
    state = skipped(
        a_job(every=10, misfire_policy="all", misfire_grace_seconds=15, overlap_policy="allow"), 20, 40
    )
    told = []
    while state.due_at <= at(60):
        events, state = when(state, Wake(), at(60))
        told += [getattr(event, "from_", None) or event.scheduled_for for event in events]
    assert told == [at(second) for second in (10, 20, 30, 40, 50, 60)]


def test_of_a_backlog_of_several_units_the_newest_runs_though_all_after_it_is_skipped():
    state = skipped(a_job(every=10, misfire_grace_seconds=0), *range(9_990, 10_051, 10))
    events, state = when(state, Wake(), at(10_055))
    while state.due_at <= at(10_055):
        more, state = when(state, Wake(), at(10_055))
        events += more
    assert [event.scheduled_for for event in events if isinstance(event, RunRequested)] == [at(9_980)]
    reasons = [(e.reason, e.count) for e in events if isinstance(e, OccurrencesSkipped)]
    assert (reasons[0], sum(count for reason, count in reasons if reason == "excluded")) == (
        ("misfire", 997),
        7,
    )


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 20),
    st.integers(0, 700),
    st.sampled_from(["skip", "allow"]),
    st.sampled_from(["latest", "skip", "all"]),
    st.sets(st.integers(1, 40), max_size=12),
    st.sampled_from([0, 3, 100]),
)
def test_every_occurrence_is_decided_once_and_every_skipped_one_as_that(
    every, late_s, overlap, misfire, numbers, jitter
):
    state = a_job(every=every, misfire_grace_seconds=30, overlap_policy=overlap, misfire_policy=misfire,
                  jitter_seconds=jitter)  # fmt: skip
    state = skipped(state, *(every * number for number in numbers))
    now, told = at(every + late_s), []
    while state.due_at <= now:
        events, state = when(state, Wake(), now)
        assert events
        told += events
    count = int((state.next_for - at(0)).total_seconds()) // every - 1
    decided = [each for event in told for each in _times(event, every)]
    assert decided == [at(every * number) for number in range(1, count + 1)]
    excluded = {
        each for event in told if getattr(event, "reason", "") == "excluded" for each in _times(event, every)
    }
    assert excluded == {at(every * number) for number in numbers if number <= count}
    assert {each.scheduled_for for each in state.skipped} == {at(every * n) for n in numbers if n > count}


def _times(event, every):
    if isinstance(event, RunRequested):
        return [event.scheduled_for]
    return [event.from_ + timedelta(seconds=every) * number for number in range(event.count)]


def test_a_paused_job_can_be_told_what_to_skip_and_stays_paused():
    _, state = when(a_job(every=10), PauseJob(by="ann"), at(1))
    (event,), state = when(state, skip(30), at(25))
    assert (type(event), state.status, state.next_run_time) == (OccurrenceExcluded, "paused", None)
    _, state = when(state, ResumeJob(by="ann"), at(26))
    assert (state.due_at, state.next_run_time) == (at(30), at(40))


def test_an_edit_of_the_schedule_leaves_what_is_to_be_skipped_and_its_passing_takes_it_away():
    state = skipped(a_job(every=10), 30, 40)
    spec = replace(state.spec, schedule=replace(state.spec.schedule, interval_seconds=15, start_at=at(15)))
    _, state = when(state, UpdateJob(spec=spec), at(1))
    assert [each.scheduled_for for each in state.skipped] == [at(30), at(40)]
    _, state = when(state, Wake(), at(15))
    assert (state.due_at, state.next_run_time) == (at(30), at(45))
    _, state = when(state, Wake(), at(30))
    assert [each.scheduled_for for each in state.skipped] == [at(40)], "no occurrence any more, and harmless"
    (event,), state = when(state, Wake(), at(45))
    assert (event.reason, state.skipped) == ("overlap", ())


def test_what_is_to_be_skipped_and_no_occurrence_any_more_can_be_taken_away():
    state = skipped(a_job(every=10), 40)
    spec = replace(state.spec, schedule=replace(state.spec.schedule, interval_seconds=15, start_at=at(15)))
    _, state = when(state, UpdateJob(spec=spec), at(1))
    (event,), state = when(state, unskip(40), at(2))
    assert (type(event), state.skipped) == (OccurrenceIncluded, ())


def test_excluded_dates_are_no_occurrences_to_be_skipped():
    tomorrow = (NOON + timedelta(days=1)).date()
    state = a_job(cron="0 9 * * *", exclude=(Span(from_=tomorrow, to=tomorrow),))
    with pytest.raises(NoSuchOccurrence, match=r"2026-11-25T09:00:00\.000Z"):
        when(state, skip(21 * 3600), NOON)


def test_only_so_many_are_to_be_skipped_at_a_time(monkeypatch):
    monkeypatch.setattr(skipping, "SKIPS_MAX", 3)
    state = skipped(a_job(every=10), 10, 20, 30)
    with pytest.raises(IllegalTransition, match="3 occurrences"):
        when(state, skip(40), NOON)
    assert when(state, skip(30), NOON)[0] == []
    _, state = when(state, Wake(), at(10))
    assert len(skipped(state, 40).skipped) == 3


def test_a_skip_goes_by_the_revision_that_it_was_made_up_from():
    with pytest.raises(StaleRevision):
        when(a_job(every=10), skip(20, if_revision=(7,)), NOON)


def test_a_deleted_job_has_nothing_to_skip():
    _, state = when(skipped(a_job(every=10), 20), DeleteJob(by="ann"), at(1))
    assert (state.skipped, state.next_run_time) == ((), None)


def test_those_that_were_skipped_do_not_count_as_runs():
    state = skipped(a_job(every=10, max_runs=1, overlap_policy="allow"), 10)
    _, state = when(state, Wake(), at(10))
    events, state = when(state, Wake(), at(20))
    assert [type(event) for event in events] == [RunRequested, JobCompleted]
