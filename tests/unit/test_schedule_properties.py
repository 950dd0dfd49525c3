"""What holds for every schedule, at every instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.cron_hash import expanded
from shared.domain.schedule import Schedule, next_after
from shared.domain.walk import Walk

from . import oracle
from .schedules import (
    ANCHOR,
    YEARS,
    ZONES,
    around_a_change,
    between,
    cron,
    fires,
    random_cron,
    utc,
)

pytestmark = pytest.mark.thorough
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
CRONS = st.builds(
    lambda seed, zone: cron(expanded(random_cron(Random(seed)), str(seed)), zone),
    st.integers(0, 10**6),
    st.sampled_from(ZONES),
)
INTERVALS = st.builds(lambda seconds: Schedule(interval_seconds=seconds), st.integers(1, 31_536_000))
ONCE = st.builds(lambda at: Schedule(run_at=at), INSTANTS)
SCHEDULES = CRONS | INTERVALS | ONCE


@settings(max_examples=40, deadline=None)
@given(SCHEDULES, INSTANTS)
def test_occurrences_come_strictly_one_after_the_other_in_utc(schedule, after):
    found = list(islice(between(schedule, after, utc("2070-01-01")), 8))

    assert all(early < late for early, late in pairwise([after, *found]))
    assert all(at.tzinfo is UTC and at.microsecond % 1000 == 0 for at in found)


@settings(max_examples=40, deadline=None)
@given(SCHEDULES, INSTANTS, st.integers(1, 8), st.floats(0, 1))
def test_splitting_an_interval_changes_nothing(schedule, after, count, where):
    found = list(islice(between(schedule, after, utc("2070-01-01")), count))
    until = found[-1] if found else after
    middle = after + (until - after) * where

    assert fires(schedule, after, middle) + fires(schedule, middle, until) == found


@settings(max_examples=40, deadline=None)
@given(CRONS, INSTANTS, st.lists(st.integers(-(10**9), 10**9), max_size=6))
def test_the_answer_depends_on_the_schedule_and_the_instant_not_on_what_was_asked_before(
    schedule, after, others
):
    for offset_ms in others:
        next_after(schedule, after + timedelta(milliseconds=offset_ms), anchor_at=ANCHOR)
    fresh = Walk.of(schedule.cron_expression, schedule.timezone)

    assert next_after(schedule, after, anchor_at=ANCHOR) == fresh.search(after).at


def several(seeds, zone, **policy):
    """The union of random expressions, and each of them alone."""
    spelt = tuple(expanded(random_cron(Random(seed)), str(seed)) for seed in seeds)
    return cron(spelt, zone, **policy), [cron(each, zone, **policy) for each in spelt]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4), st.sampled_from(ZONES), INSTANTS)
def test_several_expressions_fire_when_one_of_them_does(seeds, zone, after):
    union, alone = several(seeds, zone)
    until = after + timedelta(days=2)

    assert fires(union, after, until) == sorted({at for each in alone for at in fires(each, after, until)})


@st.composite
def near_a_change(draw):
    """An expression of a night in which a zone's clocks change, and that night."""
    chance = Random(draw(st.integers(0, 10**6)))
    zone, year = draw(st.sampled_from(ZONES)), draw(st.sampled_from(YEARS))
    after = around_a_change(chance, zone, year, 14)
    return expanded(random_cron(chance), "a job"), zone, after, after + timedelta(hours=14)


@settings(max_examples=60, deadline=None)
@given(near_a_change())
def test_the_policies_for_overlaps_part_both_passes_among_them(case):
    expression, zone, *window = case
    first, last, both = (
        set(fires(cron(expression, zone, overlap=policy), *window)) for policy in ("first", "last", "both")
    )

    assert first | last == both
    shown_once = {at for at in both if not _is_shown_twice(at, zone)}
    assert first & last == shown_once
    assert {at for at in first - last if _pass(at, zone) == 1} == set()
    assert {at for at in last - first if _pass(at, zone) == 0} == set()


@settings(max_examples=60, deadline=None)
@given(near_a_change())
def test_the_policies_for_gaps_differ_by_what_fires_at_their_ends_alone(case):
    expression, zone, *window = case
    skipped, moved = (
        set(fires(cron(expression, zone, gap=policy), *window)) for policy in ("skip", "next_valid")
    )

    assert skipped <= moved
    for at in moved - skipped:
        before = (at - timedelta(milliseconds=1)).astimezone(oracle.zone(zone)).utcoffset()
        assert at.astimezone(oracle.zone(zone)).utcoffset() > before


@settings(max_examples=60, deadline=None)
@given(near_a_change())
def test_auto_is_one_of_the_policies_that_can_be_asked_for(case):
    expression, zone, *window = case
    named = not set("*/-") & set("".join(expression.split()[:2]))
    asked = {"gap": "next_valid", "overlap": "first"} if named else {"gap": "skip", "overlap": "both"}

    assert fires(cron(expression, zone), *window) == fires(cron(expression, zone, **asked), *window)


def _pass(at: datetime, zone: str) -> int:
    return at.astimezone(oracle.zone(zone)).fold


def _is_shown_twice(at: datetime, zone: str) -> bool:
    wall = at.astimezone(oracle.zone(zone))
    return wall.replace(fold=0).utcoffset() > wall.replace(fold=1).utcoffset()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 31_536_000), INSTANTS, INSTANTS)
def test_an_interval_never_drifts(seconds, anchor, after):
    found = next_after(Schedule(interval_seconds=seconds), after, anchor_at=anchor)
    anchor -= timedelta(microseconds=anchor.microsecond % 1000)
    interval = timedelta(seconds=seconds)

    assert (found - anchor) % interval == timedelta(0)
    assert found >= anchor + interval
    assert found > after
    assert found - interval <= max(after, anchor)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10**6), INSTANTS, INSTANTS, INSTANTS)
def test_an_interval_with_a_start_begins_there_and_keeps_its_phase_whatever_its_anchor(
    seconds, start, anchor, after
):
    start = start.replace(microsecond=start.microsecond // 1000 * 1000)
    schedule = Schedule(interval_seconds=seconds, start_at=start)
    found = next_after(schedule, after, anchor_at=anchor)
    step = timedelta(seconds=seconds)
    assert found > after
    assert found >= start
    assert not (found - start) % step
    assert found - step <= after or found == start
