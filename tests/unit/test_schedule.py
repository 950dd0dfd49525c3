"""Schedules as instants: the table of clock changes, the oracle's verdict, what holds for all of them."""

from __future__ import annotations

import os
import time
import zoneinfo
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import islice, pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.schedule import BadSchedule, Schedule, check, clock_notes, next_after, searches
from shared.domain.walk import SPANS_KEPT, DstPolicy, Walk
from shared.domain.zones import UnknownZone, zone_named

from . import oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

COMPARISONS = int(os.environ.get("DAYBOOK_ORACLE_COMPARISONS", "100"))  # by hand: 20000 and more
ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",  # negative DST: winter is the exception
    "America/New_York",
    "America/Havana",  # changes at midnight
    "America/St_Johns",  # changed at 00:01 until 2011
    "America/Sao_Paulo",
    "Africa/Casablanca",  # negative DST, twice a year by the moon
    "Africa/Cairo",
    "Antarctica/Troll",  # two hours at once
    "Asia/Kathmandu",  # +05:45
    "Asia/Pyongyang",  # half an hour, for good, twice
    "Asia/Tehran",
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Apia",  # skipped 30 December 2011
    "Pacific/Chatham",  # +12:45, changes at 02:45
    "Pacific/Kwajalein",  # skipped 21 August 1993
]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cron(expression: str, zone: str = "UTC", **policy: str) -> Schedule:
    dst_policy = DstPolicy(**policy) if policy else None
    return Schedule(cron_expression=expression, timezone=zone, dst_policy=dst_policy)


def between(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    found = next_after(schedule, after, anchor_at=ANCHOR)
    while found is not None and found <= until:
        yield found
        found = next_after(schedule, found, anchor_at=ANCHOR)


def fires(schedule: Schedule, after: datetime, until: datetime) -> list[datetime]:
    return list(islice(between(schedule, after, until), 5_000))  # an end for what stands still


# The public record. Times in UTC; each row covers a day around one change.
# [EU] Directive 2000/84/EC: last Sundays of March and October, 01:00 UTC.
# [US] Energy Policy Act of 2005 §110: second Sunday of March, first Sunday of November, 02:00 local.
# [LHI] NSW Standard Time Act 1987 as amended 2005: half an hour at 02:00, first Sundays of October and April.
# [WS] Samoa, International Date Line Act 2011: midnight at the end of 29 December is the start of the 31st.
# [MA] Decree 2-18-855 (2018): +01 all year, +00 in Ramadan; 2025 from 23 February 03:00 to 6 April 02:00.
# [CU] Cuban practice in tzdata's northamerica: second Sunday of March at 00:00, first of November at 01:00.
# [CH] NZ Time Order 2007: Chatham Islands at 02:45 standard time, as New Zealand at 02:00.
# [NF] Newfoundland Standard Time Act: changes at 00:01 local, until November 2011.
# [MH] Kwajalein crossed the date line: 21 August 1993 was left out (tzdata, australasia).
CLOCK_CHANGES = [
    # Gaps, fixed-time: moved to the first valid instant.
    ("EU", "30 2 * * *", "Europe/Berlin", "2026-03-29", ["2026-03-29T01:00"]),
    ("EU", "0,15,45 2 * * *", "Europe/Berlin", "2026-03-29", ["2026-03-29T01:00"]),
    ("EU", "0 2,3 * * *", "Europe/Berlin", "2026-03-29", ["2026-03-29T01:00"]),
    ("EU", "30 0 2 * * *", "Europe/Berlin", "2026-03-29", ["2026-03-29T01:00"]),
    ("EU", "30 1 * * *", "Europe/Dublin", "2026-03-29", ["2026-03-29T01:00"]),
    ("US", "30 2 * * *", "America/New_York", "2026-03-08", ["2026-03-08T07:00"]),
    ("CU", "0 0 * * *", "America/Havana", "2026-03-08", ["2026-03-08T05:00"]),
    ("LHI", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["2026-10-03T15:30"]),
    ("LHI", "15,30 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["2026-10-03T15:30"]),
    ("MA", "15 2 * * *", "Africa/Casablanca", "2025-04-06", ["2025-04-06T02:00"]),
    ("CH", "0 3 * * *", "Pacific/Chatham", "2026-09-26T06:00", ["2026-09-26T14:00"]),
    ("WS", "0 12 * * *", "Pacific/Apia", "2011-12-29T23:00", ["2011-12-30T10:00", "2011-12-30T22:00"]),
    ("WS", "0 0 30,31 12 *", "Pacific/Apia", "2011-12-30", ["2011-12-30T10:00"]),
    ("MH", "0 9 21 8 *", "Pacific/Kwajalein", "1993-08-21", ["1993-08-21T12:00"]),
    # Gaps, interval-like: times that don't exist are no occurrences.
    ("EU", "*/30 2 * * *", "Europe/Berlin", "2026-03-29", []),
    ("EU", "0 1-3 * * *", "Europe/Berlin", "2026-03-28T23:30", ["2026-03-29T00:00", "2026-03-29T01:00"]),
    ("WS", "0 */12 30 12 *", "Pacific/Apia", "2011-12-29T23:00", []),
    # Overlaps, fixed-time: once, the first.
    ("EU", "30 2 * * *", "Europe/Berlin", "2026-10-25", ["2026-10-25T00:30"]),
    ("EU", "0 2,3 * * *", "Europe/Berlin", "2026-10-24T23:00", ["2026-10-25T00:00", "2026-10-25T02:00"]),
    ("US", "30 1 * * *", "America/New_York", "2026-11-01", ["2026-11-01T05:30"]),
    ("LHI", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", ["2026-04-04T14:45"]),
    ("MA", "30 2 * * *", "Africa/Casablanca", "2025-02-23", ["2025-02-23T01:30"]),
    ("CH", "0 3 * * *", "Pacific/Chatham", "2026-04-04T06:00", ["2026-04-04T13:15"]),
    ("NF", "30 23 * * *", "America/St_Johns", "2010-11-06T12:00", ["2010-11-07T02:00"]),
    ("NF", "0 0 * * *", "America/St_Johns", "2010-11-06T12:00", ["2010-11-07T02:30"]),
    # Overlaps, interval-like: both passes.
    ("EU", "30 2-2 * * *", "Europe/Berlin", "2026-10-25", ["2026-10-25T00:30", "2026-10-25T01:30"]),
    ("US", "*/30 1 * * *", "America/New_York", "2026-11-01",
     ["2026-11-01T05:00", "2026-11-01T05:30", "2026-11-01T06:00", "2026-11-01T06:30"]),
    ("LHI", "45 1-1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00",
     ["2026-04-04T14:45", "2026-04-04T15:15"]),
    ("MA", "30 2-2 * * *", "Africa/Casablanca", "2025-02-23", ["2025-02-23T01:30", "2025-02-23T02:30"]),
]  # fmt: skip


@pytest.mark.parametrize(("source", "expression", "zone", "start", "expected"), CLOCK_CHANGES)
def test_a_change_of_the_clocks_moves_drops_or_repeats_what_the_rule_says(
    source, expression, zone, start, expected
):
    day = utc(start)

    assert fires(cron(expression, zone), day, day + timedelta(hours=23)) == [utc(at) for at in expected]


@pytest.mark.parametrize(("zone", "year"), [("Europe/Berlin", 2026), ("Australia/Lord_Howe", 2026)])
def test_a_job_every_minute_never_rests_and_never_hurries_when_clocks_change(zone, year):
    for change in oracle.clock_changes(zone, year):
        window = (change - timedelta(hours=3), change + timedelta(hours=3))

        assert fires(cron("* * * * *", zone), *window) == [
            window[0] + timedelta(minutes=minute) for minute in range(1, 361)
        ]


# The oracle.


def random_cron(chance: Random) -> str:
    def numbers(low: int, high: int, most: int = 3) -> str:
        return ",".join(str(chance.randint(low, high)) for _ in range(chance.randint(1, most)))

    def span(low: int, high: int) -> str:
        return "{}-{}".format(*sorted((chance.randint(low, high), chance.randint(low, high))))

    def clock(low: int, high: int) -> str:
        return chance.choice(
            [
                "*",
                numbers(low, high),
                numbers(low, high),
                span(low, high),
                f"*/{chance.randint(1, high)}",
                f"{span(low, high)}/{chance.randint(1, 9)}",
                f"{chance.randint(low, high)}/{chance.randint(1, 9)},{chance.randint(low, high)}",
            ]
        )

    minutes = chance.choice([clock(0, 59), numbers(0, 59)])
    hours = chance.choice([clock(0, 23), numbers(0, 4, 5), numbers(0, 4, 5), span(0, 4), "*"])
    if chance.random() < 0.5:  # every day: the change of the clocks is among them
        return f"{minutes} {hours} * * *"
    day = chance.choice(
        ["*", "*", "*", "?", numbers(1, 31), span(1, 31), "L", "*/2", "15,L", "1W", "15W,28W", "28W,L,3"]
    )
    month = chance.choice(["*", "*", "*", span(1, 12), numbers(1, 12), "jan-jun,oct", "*/5"])
    weekdays = [
        "*",
        "*",
        "?",
        span(0, 7),
        numbers(0, 7),
        "sat-sun",
        "mon,5#2",
        "L0",
        "0#1,l5",
        "sun#5",
        "*/2",
    ]
    return f"{minutes} {hours} {day} {month} {chance.choice(weekdays)}"


def around_a_change(chance: Random, zone: str, hours: int) -> datetime:
    year = chance.randint(1990, 2060)
    changes = oracle.clock_changes(zone, year) if chance.random() < 0.7 else []
    near = chance.choice(
        changes or [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=chance.randrange(8760))]
    )
    return near - timedelta(milliseconds=chance.randrange(hours * 3_600_000))


def test_no_random_expression_fires_otherwise_than_the_oracle_saw_on_the_clock():
    for seed in range(COMPARISONS):
        chance = Random(seed)
        zone, by_seconds = chance.choice(ZONES), chance.random() < 0.1
        expression = ("0,30 " if chance.random() < 0.5 else "*/7 ") * by_seconds + random_cron(chance)
        hours = 1 if by_seconds else 14
        after = around_a_change(chance, zone, hours)
        until = after + timedelta(hours=hours)

        policy = {
            "gap": chance.choice(["auto", "next_valid", "skip"]),
            "overlap": chance.choice(["auto", "first", "last", "both"]),
        }

        expected = oracle.occurrences(expression, zone, after, until, **policy)

        found = fires(cron(expression, zone, **policy), after, until)
        assert found == expected, (seed, expression, zone, after, policy)


def test_no_random_expression_falls_on_other_days_than_the_oracle_found_in_the_calendar():
    for seed in range(COMPARISONS // 10):
        chance = Random(seed)
        expression = "0 0 " + " ".join(random_cron(chance).split()[2:])
        first, days = date(chance.randint(1990, 2058), 1, 1), 366
        start = datetime(first.year, 1, 1, tzinfo=UTC) - timedelta(seconds=1)

        found = fires(cron(expression), start, start + timedelta(days=days))

        assert [at.date() for at in found] == oracle.dates(expression, first, days), expression


# Properties.

INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
CRONS = st.builds(
    lambda seed, zone: cron(random_cron(Random(seed)), zone), st.integers(0, 10**6), st.sampled_from(ZONES)
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


def test_an_interval_counts_from_its_anchor_and_begins_one_interval_after_it():
    every_ten = Schedule(interval_seconds=10)
    anchor = utc("2026-01-01T00:00:03.250")

    assert next_after(every_ten, anchor - timedelta(days=1), anchor_at=anchor) == utc(
        "2026-01-01T00:00:13.250"
    )
    assert next_after(every_ten, anchor, anchor_at=anchor) == utc("2026-01-01T00:00:13.250")
    assert next_after(every_ten, utc("2026-01-01T00:00:13.250"), anchor_at=anchor) == utc(
        "2026-01-01T00:00:23.250"
    )


def test_a_single_time_is_an_occurrence_until_it_is_past_and_comes_out_in_utc():
    at = datetime(2026, 3, 29, 2, 30, 0, 123_999, tzinfo=timezone(timedelta(hours=1)))
    once = Schedule(run_at=at)
    in_utc = utc("2026-03-29T01:30:00.123")

    assert next_after(once, in_utc - timedelta(milliseconds=1), anchor_at=ANCHOR) == in_utc
    assert next_after(once, in_utc, anchor_at=ANCHOR) is None


def test_a_schedule_of_no_kind_has_no_occurrence():
    assert Schedule().kind == "none"
    assert next_after(Schedule(), ANCHOR, anchor_at=ANCHOR) is None


def test_until_is_inclusive_and_after_exclusive():
    hourly = cron("@hourly")

    assert fires(hourly, utc("2026-01-01T01:00"), utc("2026-01-01T03:00")) == [
        utc("2026-01-01T02:00"),
        utc("2026-01-01T03:00"),
    ]


def test_times_at_the_far_end_of_the_calendar_end_a_schedule_and_break_nothing():
    last_day = datetime.max.replace(tzinfo=UTC)

    for schedule in (cron("@yearly"), Schedule(interval_seconds=31_536_000)):
        assert next_after(schedule, last_day, anchor_at=ANCHOR) is None


# Cost.


def test_any_number_of_jobs_on_one_expression_cost_one_search_for_each_occurrence():
    midnight = cron("0 0 * * *", "America/Sao_Paulo")
    first, start = searches(), utc("2031-05-05T10:00")
    for job in range(1_000):  # created at different milliseconds, on one day
        next_after(midnight, start + timedelta(milliseconds=7 * job), anchor_at=ANCHOR)
    assert searches() == first + 1

    for _ in range(1_000):  # woken at midnight
        next_after(midnight, utc("2031-05-06T03:00"), anchor_at=ANCHOR)
    assert searches() == first + 2


def test_a_job_made_a_moment_earlier_widens_what_is_known_and_costs_no_second_span():
    walk = Walk.of("0 7 * * *", "Asia/Kathmandu")
    later, earlier = utc("2026-05-05T10:00"), utc("2026-05-05T09:00")
    before = searches()

    assert walk.next_after(later) == walk.next_after(earlier)
    assert walk.next_after(earlier + timedelta(minutes=1)) == walk.next_after(later)
    assert searches() == before + 2
    assert len(walk._spans) // 2 == 1


def test_the_memory_of_one_expression_is_bounded_and_forgets_its_oldest_occurrences():
    walk = Walk.of("* * * * *", "Asia/Kathmandu")
    for minute in range(SPANS_KEPT + 10):
        walk.next_after(ANCHOR + timedelta(minutes=minute))
    before = searches()

    walk.next_after(ANCHOR + timedelta(minutes=SPANS_KEPT))
    assert searches() == before
    assert len(walk._spans) // 2 == SPANS_KEPT
    walk.next_after(ANCHOR)
    assert searches() == before + 1


def test_an_instant_before_all_that_is_remembered_is_not_taken_for_one_of_it():
    walk = Walk.of("0 0 * * *", "UTC")
    walk.next_after(utc("2026-06-10T12:00"))
    walk.next_after(utc("2026-06-20T12:00"))

    assert walk.next_after(utc("2026-06-15T12:00")) == utc("2026-06-16T00:00")
    assert walk.next_after(utc("2026-06-11T00:00")) == utc("2026-06-12T00:00")
    assert walk.next_after(utc("2026-06-01T12:00")) == utc("2026-06-02T00:00")


# The door.


@pytest.mark.parametrize(
    ("schedule", "field", "says"),
    [
        (cron("0 9 * *"), "cron_expression", "five fields"),
        (cron("61 * * * *"), "cron_expression", "out of range"),
        (cron("0 0 30 2 *"), "cron_expression", "without an occurrence for more than 8 years"),
        (cron("0 0 31 2,4,6,9,11 *"), "cron_expression", "8 years"),
        (cron("0 0 * 2 mon#5"), "cron_expression", "8 years"),  # once in 28 years
        (cron("0 0 * 2 tue#5"), "cron_expression", "8 years"),  # as it happens in 2028, and then in 2056
        (cron("*/5 2 * 3 L0", "Europe/Berlin"), "cron_expression", "8 years"),  # only ever in the gap
        (cron("* * 2-2 * 3 L0", "Europe/Berlin"), "cron_expression", "8 years"),
        (cron("@daily", "Mars/Olympus"), "timezone", "IANA"),
        (Schedule(interval_seconds=0), "interval_seconds", "1 to 31,536,000"),
        (Schedule(interval_seconds=-5), "interval_seconds", "1 to 31,536,000"),
        (Schedule(interval_seconds=31_536_001), "interval_seconds", "1 to 31,536,000"),
        (Schedule(interval_seconds=60, timezone="Nowhere"), "timezone", "IANA"),
        (Schedule(run_at=datetime(2026, 1, 1)), "run_at", "offset"),  # noqa: DTZ001
        (Schedule(run_at=datetime(9500, 1, 1, tzinfo=UTC)), "run_at", "1970 to 8999"),
        (Schedule(cron_expression="@daily", interval_seconds=5), "interval_seconds", "at most one"),
        (Schedule(interval_seconds=5, run_at=ANCHOR), "run_at", "at most one"),
    ],
)
def test_a_schedule_that_can_not_be_kept_is_refused_with_its_field_and_a_sentence(schedule, field, says):
    with pytest.raises(BadSchedule, match=says) as refusal:
        check(schedule)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    "schedule",
    [
        cron("0 9 * * 1"),
        cron("0 0 29 2 *"),
        cron("0 0 29 2 *", "Pacific/Apia"),
        cron("0 0 30 2 1"),  # OR: the Mondays of February
        cron("30 2 * 3 L0", "Europe/Berlin"),  # fixed-time: moved out of the gap
        cron("* * * * * *"),
        cron("@yearly", "Asia/Kathmandu"),
        Schedule(interval_seconds=1),
        Schedule(interval_seconds=31_536_000),
        Schedule(run_at=ANCHOR),
        Schedule(timezone="Europe/Berlin"),
    ],
)
def test_a_schedule_that_can_be_kept_is_taken(schedule):
    check(schedule)
    assert next_after(schedule, ANCHOR - timedelta(days=1), anchor_at=ANCHOR) or schedule.kind == "none"


def test_29_february_is_found_over_the_eight_years_around_1900_and_2100():
    leap_day = cron("0 0 29 2 *")

    assert next_after(leap_day, utc("2096-02-29"), anchor_at=ANCHOR) == utc("2104-02-29")


@pytest.mark.parametrize(
    "key",
    ["", " ", "UTC\0", "../etc/passwd", "/etc/localtime", "Europe/../Europe/Berlin", "Europe", "posixrules",
     "localtime", "europe/berlin", "Factory", "zone.tab", "x" * 300, "Zürich", "__init__", "UTC\n"],
)  # fmt: skip
def test_a_zone_is_a_name_of_the_iana_tables_and_nothing_else(key):
    with pytest.raises(BadSchedule, match="no IANA time zone") as refusal:
        check(Schedule(timezone=key))
    assert len(str(refusal.value)) < 200
    with pytest.raises(UnknownZone):
        next_after(cron("@daily", key), ANCHOR, anchor_at=ANCHOR)


def test_zones_do_not_come_from_the_system(tmp_path):
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe/Berlin").write_bytes(b"not a table")
    zone_named.cache_clear()
    zoneinfo.reset_tzpath([tmp_path])
    try:
        walk = Walk.of("0 12 * * *", "Europe/Berlin")
    finally:
        zoneinfo.reset_tzpath()

    assert walk.next_after(utc("2026-07-01")) == utc("2026-07-01T10:00")


@pytest.mark.parametrize(
    "expression",
    ["59 59 23 31 2 *", "0 0 * 2 0#5,1#5,2#5,3#5,4#5,5#5,6#5", "*/59 */59 */23 */30 2 sun#5",
     "* * 2-2 * 3 L0", "0 0 31 2,4,6,9,11 *", ",".join(map(str, range(60))) + " * * * *"],
)  # fmt: skip
def test_a_hostile_expression_is_answered_in_a_moment(expression):
    started = time.perf_counter()
    with suppress(BadSchedule):
        check(cron(expression, "Europe/Berlin"))
    assert time.perf_counter() - started < 0.2


# Windows.


def test_a_window_has_its_ends_in_it():
    hourly = {"start_at": utc("2026-05-05T10:00"), "end_at": utc("2026-05-05T12:00")}
    inside = [utc(f"2026-05-05T{hour}:00") for hour in (10, 11, 12)]
    assert fires(Schedule(cron_expression="0 * * * *", **hourly), ANCHOR, utc("2027-01-01")) == inside
    assert fires(Schedule(interval_seconds=3600, **hourly), ANCHOR, utc("2027-01-01")) == inside
    between_hours = {"start_at": utc("2026-05-05T09:01"), "end_at": utc("2026-05-05T12:59")}
    assert fires(Schedule(cron_expression="0 * * * *", **between_hours), ANCHOR, utc("2027-01-01")) == inside


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


@pytest.mark.parametrize(
    ("schedule", "field", "says"),
    [
        (Schedule(run_at=ANCHOR, start_at=ANCHOR), "start_at", "goes with"),
        (Schedule(end_at=ANCHOR), "end_at", "goes with"),
        (Schedule(interval_seconds=5, start_at=datetime(2026, 1, 1)), "start_at", "needs an offset"),  # noqa: DTZ001
        (Schedule(interval_seconds=5, end_at=datetime(9500, 1, 1, tzinfo=UTC)), "end_at", "1970 to 8999"),
        (
            Schedule(interval_seconds=5, start_at=ANCHOR, end_at=ANCHOR - timedelta(seconds=1)),
            "end_at",
            "before",
        ),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(schedule, field, says):
    with pytest.raises(BadSchedule, match=says) as refusal:
        check(schedule)
    assert refusal.value.field == field
    check(Schedule(interval_seconds=5, start_at=ANCHOR, end_at=ANCHOR))


# The policy where clocks change, and what is told of it.

MARCH, OCTOBER = utc("2026-03-28T12:00"), utc("2026-10-24T12:00")


def note(rule, local_time, at):
    return (rule, local_time, utc(at))


@pytest.mark.parametrize(
    ("expression", "policy", "after", "expected", "notes"),
    [
        ("30 2 * * *", {}, MARCH, ["29T01:00"], [note("gap_next_valid", "2026-03-29T02:30:00", "2026-03-29T01:00")]),
        ("30 2 * * *", {"gap": "skip"}, MARCH, ["30T00:30"],
         [note("gap_skip", "2026-03-29T02:30:00", "2026-03-29T01:00")]),
        ("15,45 2 * * *", {"gap": "skip"}, MARCH, ["30T00:15"],
         [note("gap_skip", "2026-03-29T02:15:00", "2026-03-29T01:00")]),
        ("15 2-2 * * *", {}, MARCH, ["30T00:15"], [note("gap_skip", "2026-03-29T02:15:00", "2026-03-29T01:00")]),
        ("15 2-2 * * *", {"gap": "next_valid"}, MARCH, ["29T01:00"],
         [note("gap_next_valid", "2026-03-29T02:15:00", "2026-03-29T01:00")]),
        ("30 2 * * *", {}, OCTOBER, ["25T00:30"], []),
        ("30 2 * * *", {}, utc("2026-10-25T00:30"), ["26T01:30"],
         [note("overlap_first", "2026-10-25T02:30:00", "2026-10-25T01:30")]),
        ("30 2 * * *", {"overlap": "last"}, OCTOBER, ["25T01:30"],
         [note("overlap_last", "2026-10-25T02:30:00", "2026-10-25T00:30")]),
        ("30 2 * * *", {"overlap": "both"}, OCTOBER, ["25T00:30"], []),
        ("30 2 * * *", {"overlap": "both"}, utc("2026-10-25T00:30"), ["25T01:30"], []),
        ("30 2-2 * * *", {"overlap": "first"}, utc("2026-10-25T00:30"), ["26T01:30"],
         [note("overlap_first", "2026-10-25T02:30:00", "2026-10-25T01:30")]),
        ("30 2-2 * * *", {"overlap": "last"}, utc("2026-10-25T00:10"), ["25T01:30"],
         [note("overlap_last", "2026-10-25T02:30:00", "2026-10-25T00:30")]),
        ("30 2-2 * * *", {"overlap": "last"}, utc("2026-10-25T00:40"), ["25T01:30"], []),
        ("30 4 * * *", {}, MARCH, ["29T02:30"], []),
    ],
)  # fmt: skip
def test_a_policy_is_followed_and_what_it_did_is_told(expression, policy, after, expected, notes):
    schedule = cron(expression, "Europe/Berlin", **policy)
    at = next_after(schedule, after, anchor_at=ANCHOR)
    assert [f"{at:%dT%H:%M}"] == expected
    told = clock_notes(schedule, after, [at])
    assert [(each.rule, each.local_time, each.at) for each in told] == notes


def test_what_was_done_is_told_alike_whatever_was_asked_before_and_of_several_occurrences_at_once():
    schedule = cron("30 2 * * *", "America/New_York", gap="skip")
    late, early = utc("2027-03-14T06:59"), utc("2027-03-13T12:00")  # on the day, and before 13 March's 02:30
    for after in (late, early, late):
        at = next_after(schedule, after, anchor_at=ANCHOR)
        assert [each.rule for each in clock_notes(schedule, after, [at])] == ["gap_skip"]
    after_the_gap = utc("2027-03-14T07:00")
    assert clock_notes(schedule, after_the_gap, [at]) == ()
    days = fires(schedule, utc("2027-03-01"), utc("2027-12-01"))
    told = clock_notes(schedule, utc("2027-03-01"), days)
    assert [(each.rule, each.local_time) for each in told] == [("gap_skip", "2027-03-14T02:30:00")]


def test_of_several_expressions_each_tells_what_was_done_to_it():
    schedule = Schedule(cron_expression=("30 2 * * *", "0 * * * *"), timezone="Europe/Berlin")
    after = utc("2026-03-29T00:30")
    at = next_after(schedule, after, anchor_at=ANCHOR)
    assert at == utc("2026-03-29T01:00")
    assert [(each.rule, each.local_time) for each in clock_notes(schedule, after, [at])] == [
        ("gap_next_valid", "2026-03-29T02:30:00"),
        ("gap_skip", "2026-03-29T02:00:00"),
    ]


def test_half_a_year_between_occurrences_hides_no_change_of_the_clocks():
    schedule = cron("30 2 29 3,12 *", "Europe/Berlin", gap="skip")  # in winter both before and after
    at = next_after(schedule, MARCH, anchor_at=ANCHOR)
    assert at == utc("2026-12-29T01:30")
    assert [each.rule for each in clock_notes(schedule, MARCH, [at])] == ["gap_skip"]


def test_telling_costs_no_search_that_finding_has_not_made():
    schedule = cron("0 5 * * *", "Europe/Berlin")
    days = fires(schedule, utc("2026-03-20"), utc("2026-04-02"))
    before = searches()
    assert clock_notes(schedule, utc("2026-03-20"), days) == ()
    assert searches() == before


# Several expressions.


def test_several_expressions_are_their_union_each_by_its_own_rule_about_clocks():
    both = Schedule(cron_expression=("30 2 * * *", "0 */6 * * *", "30 2 * * *"), timezone="Europe/Berlin")
    window = utc("2026-03-28T22:00"), utc("2026-03-29T12:00")
    assert fires(both, *window) == [
        utc("2026-03-28T23:00"),
        utc("2026-03-29T01:00"),  # 02:30 was left out: moved to 03:00
        utc("2026-03-29T04:00"),
        utc("2026-03-29T10:00"),
    ]
    assert fires(both, *window) == sorted(
        {at for each in both.expressions for at in fires(cron(each, "Europe/Berlin"), *window)}
    )


def test_each_of_several_expressions_must_fire():
    with pytest.raises(BadSchedule, match=r"'0 0 30 2 \*' can go without"):
        check(Schedule(cron_expression=("@daily", "0 0 30 2 *")))
    with pytest.raises(BadSchedule, match="names no time"):
        check(Schedule(cron_expression=()))


def test_an_h_is_drawn_for_the_job_and_kept_and_what_has_none_stays_the_same_object():
    plain = Schedule(cron_expression=("@daily", "0 0 * * thu"))
    assert plain.expanded("a job") is plain
    check(Schedule(cron_expression="H H * * *"))
    with pytest.raises(BadSchedule, match="H is written"):
        check(Schedule(cron_expression="H(7) * * * *"))
    drawn = Schedule(cron_expression=("H 0 * * *", "0 12 * * *")).expanded("a job")
    assert drawn == drawn.expanded("another")
    assert drawn != Schedule(cron_expression=("H 0 * * *", "0 12 * * *")).expanded("another")
    check(drawn)
