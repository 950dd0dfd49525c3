"""Excluded dates: what is left of a schedule is what a walk over all of it would leave, at a bounded cost."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shared.domain.exclude import SPANS_MAX, Span
from shared.domain.schedule import BadSchedule, Schedule, check, clock_notes, next_after, searches
from shared.domain.zones import zone_named

from .schedules import ANCHOR, ZONES, between, utc

DAY = timedelta(days=1)
# Where clocks change in one of the zones, or a day is left out, or a midnight comes twice or never.
STARTS = [
    "2026-03-27", "2026-10-23", "2026-03-06", "2026-10-30", "2011-12-28", "1993-08-19", "2010-11-05", "2018-11-02",
    "2018-02-16", "2025-02-21", "2026-01-01",
]  # fmt: skip


def span(begin, end=None):
    return Span(from_=date.fromisoformat(begin), to=date.fromisoformat(end or begin))


def cron(expression, *spans, zone="UTC", **more):
    return Schedule(cron_expression=expression, timezone=zone, exclude=spans, **more)


def brute_force(schedule, after, until):
    """Every occurrence there would be, without those whose date on the wall is excluded."""
    zone = zone_named(schedule.timezone)
    return [
        at
        for at in between(replace(schedule, exclude=()), after, until)
        if not any(each.from_ <= at.astimezone(zone).date() <= each.to for each in schedule.exclude)
    ]


@st.composite
def spans_around(draw, start):
    first = start.date() + timedelta(days=draw(st.integers(-2, 8)))
    return Span(from_=first, to=first + timedelta(days=draw(st.sampled_from([0, 0, 1, 3]))))


@st.composite
def schedules(draw, start):
    spans = tuple(draw(st.lists(spans_around(start), min_size=1, max_size=5)))
    zone = draw(st.sampled_from(ZONES))
    if draw(st.booleans()):
        anchored = start + timedelta(minutes=draw(st.integers(0, 600)))
        seconds = draw(st.sampled_from([3_000, 7_777, 86_400, 90_000]))
        return Schedule(interval_seconds=seconds, start_at=anchored, timezone=zone, exclude=spans)
    expressions = draw(
        st.lists(
            st.sampled_from(
                ["*/30 * * * *", "0 0 * * *", "30 2 * * *", "15 23,0,1 * * *", "59 23 * * *", "0 12 * * 1-5"]
            ),
            min_size=1, max_size=2, unique=True,
        )
    )  # fmt: skip
    return cron(expressions[0] if len(expressions) == 1 else tuple(expressions), *spans, zone=zone)


@given(data=st.data(), start=st.sampled_from(STARTS))
@settings(max_examples=120, deadline=None)
@pytest.mark.thorough
def test_what_is_left_is_what_filtering_all_occurrences_leaves(data, start):
    after = utc(start)
    schedule = data.draw(schedules(after))
    until = after + 10 * DAY
    assert list(between(schedule, after, until)) == brute_force(schedule, after, until)


@given(data=st.data(), start=st.sampled_from(STARTS), hours=st.integers(0, 240))
@settings(max_examples=60, deadline=None)
def test_the_next_one_depends_on_the_moment_alone(data, start, hours):
    """Whoever asks from within an excluded day gets the answer of whoever asks from before it."""
    schedule = data.draw(schedules(utc(start)))
    after = utc(start) + timedelta(hours=hours)
    found = next_after(schedule, after, anchor_at=ANCHOR)
    for between_them in (after + (found - after) / 2, found - timedelta(milliseconds=1)):
        assert next_after(schedule, between_them, anchor_at=ANCHOR) == found


CASES = [
    # A day of 23 hours, and one of 25, are one day each.
    ("0 * * * *", "Europe/Berlin", span("2026-03-29"), "2026-03-28T22:30", "2026-03-29T22:00"),
    ("0 * * * *", "Europe/Berlin", span("2026-10-25"), "2026-10-24T21:30", "2026-10-25T23:00"),
    # Samoa had no 30 December 2011: after the 29th comes the 31st, and excluding the 30th excludes nothing.
    ("0 * * * *", "Pacific/Apia", span("2011-12-29"), "2011-12-29T09:30", "2011-12-30T10:00"),
    ("0 12 * * *", "Pacific/Apia", span("2011-12-30"), "2011-12-29T23:00", "2011-12-30T10:00"),
    # Havana's 8 March 2026 begins at 01:00, as its midnight is in a gap.
    ("*/30 * * * *", "America/Havana", span("2026-03-07"), "2026-03-07T12:00", "2026-03-08T05:00"),
    # Newfoundland went back from 00:01 to 23:01 in 2010: a minute of the 7th came before the 6th was over.
    ("* * * * *", "America/St_Johns", span("2010-11-06"), "2010-11-06T12:00", "2010-11-07T02:30"),
    ("*/7 * * * *", "America/St_Johns", span("2010-11-06"), "2010-11-07T02:30", "2010-11-07T03:30"),
    ("* * * * *", "America/St_Johns", span("2010-11-07"), "2010-11-07T02:29", "2010-11-07T02:31"),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "zone", "excluded", "after", "expected"), CASES)
def test_an_excluded_day_is_the_day_of_the_wall_clock(expression, zone, excluded, after, expected):
    schedule = cron(expression, excluded, zone=zone)
    assert next_after(schedule, utc(after), anchor_at=ANCHOR) == utc(expected)


def test_an_interval_keeps_its_phase_over_what_is_excluded():
    schedule = Schedule(interval_seconds=25 * 3600, exclude=(span("2026-01-02", "2026-01-05"),))
    found = [ANCHOR]
    for _ in range(3):
        found.append(next_after(schedule, found[-1], anchor_at=ANCHOR))
    assert {(at - ANCHOR) % timedelta(hours=25) for at in found} == {timedelta()}
    assert found[1] == ANCHOR + 5 * timedelta(hours=25)
    assert {other - one for one, other in pairwise(found[1:])} == {timedelta(hours=25)}


def test_stepping_over_a_range_costs_one_search_however_much_is_in_it():
    schedule = cron("* * * * * *", span("2027-01-01", "2076-12-31"), zone="Africa/Lagos")
    before = searches()
    assert next_after(schedule, utc("2026-12-31T23:30"), anchor_at=ANCHOR) == utc("2076-12-31T23:00")
    assert searches() - before == 2


def test_as_many_ranges_as_there_may_be_cost_a_search_each_and_one():
    spans = [Span(from_=date(2030, 1, 1) + n * DAY, to=date(2030, 1, 1) + n * DAY) for n in range(SPANS_MAX)]
    schedule = cron("* * * * *", *reversed(spans), zone="Africa/Accra")
    before = searches()
    assert next_after(schedule, utc("2029-12-31T23:59"), anchor_at=ANCHOR) == utc("2030-04-11")
    assert searches() - before <= SPANS_MAX + 1


def test_jobs_that_exclude_different_days_share_what_is_remembered_about_their_expression():
    plain = cron("23 5 * * *", zone="Europe/Rome")
    week = list(between(plain, utc("2026-06-01"), utc("2026-06-09")))
    before = searches()
    for day in range(2, 8):
        schedule = cron("23 5 * * *", span(f"2026-06-0{day}"), zone="Europe/Rome")
        assert next_after(schedule, week[day - 1] - DAY / 2, anchor_at=ANCHOR) == week[day]
    assert searches() == before


def test_the_end_of_a_schedule_within_an_excluded_range_is_its_end():
    end = utc("2026-05-03T12:00")
    schedule = cron("0 * * * *", span("2026-05-02", "2026-05-09"), end_at=end)
    assert next_after(schedule, utc("2026-05-01T23:30"), anchor_at=ANCHOR) is None


REFUSED = [
    ({"interval_seconds": 5, "exclude": (span("2026-01-02", "2026-01-01"),)}, "exclude"),
    ({"interval_seconds": 5, "exclude": (span("1969-12-31", "2026-01-01"),)}, "exclude"),
    ({"interval_seconds": 5, "exclude": (span("2026-12-31", "9999-12-31"),)}, "exclude"),
    ({"interval_seconds": 5, "exclude": (span("2026-12-31"),) * (SPANS_MAX + 1)}, "exclude"),
    ({"exclude": (span("2026-12-31"),)}, "exclude"),
    ({"run_at": datetime(2026, 12, 31, 23, tzinfo=UTC), "timezone": "Europe/Paris", "exclude": (span("2027-01-01"),)},
     "run_at"),
    ({"interval_seconds": 5, "start_at": utc("2026-01-01"), "end_at": utc("2026-01-01T23:59"),
      "exclude": (span("2026-01-01"),)}, "exclude"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "field"), REFUSED)
def test_what_excludes_too_much_or_nothing_that_there_is_is_refused(fields, field):
    with pytest.raises(BadSchedule) as caught:
        check(Schedule(**fields))
    assert caught.value.field == field


def test_a_one_off_beside_excluded_dates_is_taken():
    once = datetime(2026, 12, 31, 22, 59, tzinfo=UTC)
    check(Schedule(run_at=once, timezone="Europe/Paris", exclude=(span("2027-01-01"), span("2026-12-30"))))


@pytest.mark.parametrize(
    "spans", [(), (span("2026-03-20", "2026-03-28"),), (span("2026-03-20"), span("2026-03-28"))]
)
def test_what_was_done_where_clocks_change_is_told_also_right_after_excluded_days(spans):
    schedule = cron("30 2 * * *", *spans, zone="Europe/Berlin")
    before = utc("2026-03-19T01:30")
    moved = [*between(schedule, before, utc("2026-03-29T12:00"))]
    (note,) = clock_notes(schedule, before, moved)
    assert (note.rule, note.local_time, moved[-1]) == ("gap_next_valid", "2026-03-29T02:30:00", note.at)


def test_nothing_is_told_of_clock_changes_on_days_that_are_excluded():
    schedule = cron("30 2 * * *", span("2026-03-29"), zone="Europe/Berlin")
    assert clock_notes(schedule, utc("2026-03-28T01:30"), [utc("2026-03-30T00:30")]) == ()
