"""Schedules as instants: single cases, what is refused, what it costs. `test_dst_record` has what clocks did."""

from __future__ import annotations

import time
import zoneinfo
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.domain.schedule import BadSchedule, Schedule, check, clock_notes, next_after, searches
from shared.domain.walk import SPANS_KEPT, Walk
from shared.domain.zones import UnknownZone, zone_named

from . import oracle
from .schedules import ANCHOR, cron, fires, utc


@pytest.mark.parametrize(("zone", "year"), [("Europe/Berlin", 2026), ("Australia/Lord_Howe", 2026)])
def test_a_job_every_minute_never_rests_and_never_hurries_when_clocks_change(zone, year):
    for change in oracle.clock_changes(zone, year):
        window = (change - timedelta(hours=3), change + timedelta(hours=3))

        assert fires(cron("* * * * *", zone), *window) == [
            window[0] + timedelta(minutes=minute) for minute in range(1, 361)
        ]


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


def test_what_was_done_long_ago_is_told_though_only_newer_occurrences_are_remembered():
    walk, before = Walk.of("30 2 * * *", "Europe/Berlin"), utc("2026-03-28T12:00")
    at = utc("2027-01-01")
    for _ in range(SPANS_KEPT + 1):
        at = walk.next_after(at)

    assert [note.rule for note in walk.notes(before, utc("2026-03-30"))] == ["gap_next_valid"]


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
