"""Occurrences that nobody decided, and those decided twice: counted as the domain itself decides them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from services.projector.gauges import End
from services.projector.missing import Horizons
from shared.domain import deciding, job
from shared.domain.commands import CreateJob, PauseJob, Wake
from shared.domain.events import OccurrencesSkipped, RunRequested
from shared.domain.occurrences import decided_again, undecided
from shared.eventlog.position import Position
from shared.readmodel.archive import Checkpoint
from shared.testing import NOON, a_job_id, a_spec, at

JOB = a_job_id(partition=3)


def a_job(**spec):
    command = CreateJob(job_id=JOB, spec=a_spec(**spec), owner="ann", tenant="t")
    return after(None, command, NOON)


def after(state, command, now):
    for change in deciding.decide(state, command, now).changes:
        state = job.evolve(state, change)
    return state


def decided_by(events):
    """How many occurrences events of the schedule decide."""
    return sum(event.count if isinstance(event, OccurrencesSkipped) else 1 for event in events)


@given(every=st.integers(1, 90), passed_s=st.integers(0, 900))
@settings(max_examples=25)
def test_as_many_are_undecided_as_a_wake_would_decide(every, passed_s):
    state = a_job(every=every)
    changes = deciding.decide(state, Wake(), at(passed_s)).changes
    expected = decided_by([change.event for change in changes])
    assert expected == passed_s // every
    assert undecided(state, at(passed_s), most=2_000) == expected
    assert undecided(after(state, Wake(), at(passed_s)), at(passed_s), most=2_000) == 0


@pytest.mark.parametrize(
    ("spec", "expected"),
    [({"cron": "* * * * *"}, 10), ({"once": at(30)}, 1), ({"once": at(601)}, 0), ({}, 0)],
)
def test_each_kind_of_schedule_has_its_occurrences(spec, expected):
    assert undecided(a_job(**spec), at(600), most=2_000) == expected


def test_a_job_that_is_paused_misses_nothing_and_no_count_goes_on_for_ever():
    state = a_job(every=1)
    assert undecided(state, at(10**6), most=50) == 50
    assert undecided(after(state, PauseJob(by="ann", reason=""), at(0)), at(60), most=50) == 0


def test_what_a_pause_that_should_have_ended_holds_back_is_missed_from_then_on():
    state = after(a_job(every=10), PauseJob(by="ann", until=at(35)), at(1))
    assert [undecided(state, at(second), most=50) for second in (34, 35, 61)] == [0, 3, 6]
    assert undecided(after(state, Wake(), at(36)), at(36), most=50) == 0
    empty = after(a_job(every=60), PauseJob(by="ann", until=at(35)), at(1))
    assert undecided(empty, at(40), most=50) == 0, "nothing fell due in it"


def fired(state, second):
    """The schedule's decision to run the occurrence of that second."""
    change = deciding.decide(replace(state, next_for=at(second)), Wake(), at(second)).changes[0]
    assert isinstance(change.event, RunRequested)
    return change.event


def skipped(first, last, count):
    return OccurrencesSkipped(from_=at(first), to=at(last), count=count, reason="misfire", next_for=None)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (lambda state: fired(state, 40), 0),
        (lambda state: fired(state, 30), 1),
        (lambda state: fired(state, 10), 1),
        (lambda state: replace(fired(state, 30), trigger="manual"), 0),
        (lambda _: skipped(40, 60, 3), 0),
        (lambda _: skipped(10, 30, 3), 3),
        (lambda _: skipped(20, 60, 5), 2),
        (lambda _: skipped(30, 30, 1), 1),
    ],
)
def test_a_decision_about_what_was_decided_is_counted_by_occurrences(event, expected):
    state = after(a_job(every=10, overlap_policy="allow"), Wake(), at(30))
    assert state.decided_to == at(30)
    assert decided_again(state, event(state)) == expected


def test_nothing_was_decided_of_a_new_job():
    state = a_job(every=10)
    assert decided_again(state, fired(state, 10)) == 0


# How far the archive tells all.


def end(pos, second):
    return End(Position(1, pos), at(second))


def archived(pos, partition=0):
    return Checkpoint(partition, 1, pos, "id", None, b"", 1)


def test_the_archive_tells_all_up_to_the_moment_at_which_the_log_ended_where_it_is():
    horizons = Horizons()
    assert horizons.saw({0: end(7, 10)}, {0: archived(7)}) == {0: at(10)}
    assert horizons.saw({0: end(9, 20)}, {0: archived(8)}) == {0: at(10)}, "one event is behind"
    assert horizons.saw({0: end(9, 30)}, {0: archived(9)}) == {0: at(30)}


def test_an_archive_that_always_lags_a_little_still_tells_up_to_a_moment_ago():
    horizons = Horizons()
    assert horizons.saw({0: end(9, 10)}, {0: archived(7)}) == {}, "nothing is known yet"
    assert horizons.saw({0: end(20, 20)}, {0: archived(8)}) == {}
    assert horizons.saw({0: end(30, 30)}, {0: archived(12)}) == {0: at(10)}
    assert horizons.saw({0: end(40, 40)}, {0: archived(31)}) == {0: at(30)}


def test_what_was_known_of_a_partition_goes_with_it():
    horizons = Horizons()
    horizons.saw({0: end(7, 10), 1: end(5, 10)}, {0: archived(7), 1: archived(4, 1)})
    assert horizons.saw({1: end(9, 20)}, {1: archived(6, 1)}) == {1: at(10)}
    assert horizons.saw({0: end(9, 30)}, {0: archived(8)}) == {}
