"""Changes of clocks that the public record has: what each makes of a schedule, by default and by every policy.

Each row names where it is from. `tz NEWS 2018e` is the announcement of that release of the IANA tables, `tz asia` a
file of theirs. All times of rows are UTC; a window of half a day on both sides of the change is looked at.

Sources: [EU] Directive 2000/84/EC, art. 2 and 3: last Sundays of March and October, 01:00 UTC. [US] Energy Policy
Act of 2005, § 110: second Sunday of March, first Sunday of November, 02:00. [IE] Standard Time (Amendment) Act 1971:
standard time is that of summer, winter is the exception; tz NEWS 2018e. [LHI] Standard Time Act 1987 (NSW): half an
hour at 02:00, first Sundays of October and April. [NZ] Time Order 2007: Chatham Islands at 02:45 standard time.
[MA] Decree 2-18-855 (2018): +01, in Ramadan +00; dates of 2025 in tz africa. [BR] Decretos 8.112/2013 and 9.242/2017:
at 00:00; tz NEWS 2018a. [EG] tz NEWS 2023a: last Friday of April 00:00 to last Thursday of October 24:00. [WS]
International Date Line Act 2011: at the end of 29 December it was the 31st. [Debian] cron(8), notes: what names a
time is run soon after the gap, and not again in the hour that comes twice; what repeats goes by the clock.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import NamedTuple

import pytest

from shared.domain.schedule import clock_notes

from . import oracle
from .schedules import between, cron, fires, utc

pytestmark = pytest.mark.thorough
HALF_A_DAY = timedelta(hours=12)
INSTANT = timedelta(milliseconds=1)


class Gap(NamedTuple):
    """A clock was put forward; `lost` is the first time of the expression that it never showed."""

    source: str
    zone: str
    change: str
    minutes: int
    expression: str
    lost: str
    default: str  # one of both policies
    next_valid: str
    skip: str


class Overlap(NamedTuple):
    """A clock was put back; `shown` is the first time of the expression that it showed twice."""

    source: str
    zone: str
    change: str
    minutes: int
    expression: str
    shown: str
    default: str  # "first" or "both"
    first: str
    last: str


GAPS = [
    Gap("[EU] [Debian]", "Europe/Berlin", "2026-03-29T01:00", 60, "30 2 * * *", "29T02:30",
        "next_valid", "29T01:00", ""),
    Gap("[EU] [Debian]: several lost times are one", "Europe/Berlin", "2026-03-29T01:00", 60, "0,15,45 2 * * *",
        "29T02:00", "next_valid", "29T01:00", ""),
    Gap("[EU]: one that exists anyway", "Europe/Berlin", "2026-03-29T01:00", 60, "0 2,3 * * *", "29T02:00",
        "next_valid", "29T01:00", "29T01:00"),
    Gap("[EU]: seconds, too", "Europe/Berlin", "2026-03-29T01:00", 60, "30 0 2 * * *", "29T02:00:30",
        "next_valid", "29T01:00", ""),
    Gap("[EU] [Debian]: what repeats goes by the clock", "Europe/Berlin", "2026-03-29T01:00", 60, "*/30 2 * * *",
        "29T02:00", "skip", "29T01:00", ""),
    Gap("[EU]", "Europe/Berlin", "2026-03-29T01:00", 60, "0 1-3 * * *", "29T02:00",
        "skip", "29T00:00 29T01:00", "29T00:00 29T01:00"),
    Gap("[IE] negative DST", "Europe/Dublin", "2026-03-29T01:00", 60, "30 1 * * *", "29T01:30",
        "next_valid", "29T01:00", ""),
    Gap("[US]", "America/New_York", "2026-03-08T07:00", 60, "30 2 * * *", "08T02:30",
        "next_valid", "08T07:00", ""),
    Gap("[US]: weekdays-only midnight after it, apscheduler issue 529", "America/Chicago", "2021-03-14T08:00", 60,
        "0 2 * * 0-4", "14T02:00", "next_valid", "14T08:00", ""),
    Gap("[US]: apscheduler issue 1059 found a time that isn't", "America/New_York", "2013-03-10T07:00", 60,
        "0 2 * * *", "10T02:00", "next_valid", "10T07:00", ""),
    Gap("[US]: rundeck issue 6879, skipped silently", "America/New_York", "2021-03-14T07:00", 60, "0 2 14 3 *",
        "14T02:00", "next_valid", "14T07:00", ""),
    Gap("tz antarctica: two hours at once", "Antarctica/Troll", "2026-03-29T01:00", 120, "30 1,2 * * *", "29T01:30",
        "next_valid", "29T01:00", ""),
    Gap("[MA] the end of Ramadan 2025", "Africa/Casablanca", "2025-04-06T02:00", 60, "15 2 * * *", "06T02:15",
        "next_valid", "06T02:00", ""),
    Gap("[EG] midnight, the first time after eight years", "Africa/Cairo", "2023-04-27T22:00", 60, "0 0 * * *",
        "28T00:00", "next_valid", "27T22:00", ""),
    Gap("[BR] midnight", "America/Sao_Paulo", "2018-11-04T03:00", 60, "0 0 * * *", "04T00:00",
        "next_valid", "04T03:00", ""),
    Gap("[BR] midnight", "America/Sao_Paulo", "2018-11-04T03:00", 60, "*/20 0 * * *", "04T00:00",
        "skip", "04T03:00", ""),
    Gap("tz northamerica, Rule Cuba: midnight", "America/Havana", "2026-03-08T05:00", 60, "0 0 * * *", "08T00:00",
        "next_valid", "08T05:00", ""),
    Gap("tz NEWS 2016d: -04:30 to -04 for good", "America/Caracas", "2016-05-01T07:00", 30, "45 2 * * *", "01T02:45",
        "next_valid", "01T07:00", ""),
    Gap("tz NEWS 2018e and 2018f: +08:30 to +09 for good", "Asia/Pyongyang", "2018-05-04T15:00", 30, "45 23 * * *",
        "04T23:45", "next_valid", "04T15:00", ""),
    Gap("tz asia, Nepal: +05:30 to +05:45 on New Year 1986", "Asia/Kathmandu", "1985-12-31T18:30", 15, "0 0 * * *",
        "01T00:00", "next_valid", "31T18:30", ""),
    Gap("tz europe: Moscow, +03 to +04 for good", "Europe/Moscow", "2011-03-26T23:00", 60, "30 2 * * *", "27T02:30",
        "next_valid", "26T23:00", ""),
    Gap("[LHI] half an hour", "Australia/Lord_Howe", "2026-10-03T15:30", 30, "15 2 * * *", "04T02:15",
        "next_valid", "03T15:30", ""),
    Gap("[LHI] its end exists", "Australia/Lord_Howe", "2026-10-03T15:30", 30, "15,30 2 * * *", "04T02:15",
        "next_valid", "03T15:30", "03T15:30"),
    Gap("[NZ] from 02:45", "Pacific/Chatham", "2026-09-26T14:00", 60, "0 3 * * *", "27T03:00",
        "next_valid", "26T14:00", ""),
    Gap("[WS] a day", "Pacific/Apia", "2011-12-30T10:00", 1440, "0 12 * * *", "30T12:00",
        "next_valid", "30T10:00 30T22:00", "30T22:00"),
    Gap("[WS] a day, by its date", "Pacific/Apia", "2011-12-30T10:00", 1440, "0 0 30,31 12 *", "30T00:00",
        "next_valid", "30T10:00", "30T10:00"),
    Gap("[WS] a day of what repeats", "Pacific/Apia", "2011-12-30T10:00", 1440, "0 */12 30 12 *", "30T00:00",
        "skip", "30T10:00", ""),
    Gap("tz NEWS 93e and 2018h: a day", "Pacific/Kwajalein", "1993-08-21T12:00", 1440, "0 9 21 8 *", "21T09:00",
        "next_valid", "21T12:00", ""),
]  # fmt: skip

OVERLAPS = [
    Overlap("[EU] [Debian]", "Europe/Berlin", "2026-10-25T01:00", 60, "30 2 * * *", "25T02:30",
            "first", "25T00:30", "25T01:30"),
    Overlap("[EU]: beside one shown once", "Europe/Berlin", "2026-10-25T01:00", 60, "0 2,3 * * *", "25T02:00",
            "first", "25T00:00 25T02:00", "25T01:00 25T02:00"),
    Overlap("[EU] [Debian]: what repeats goes by the clock", "Europe/Berlin", "2026-10-25T01:00", 60, "30 2-2 * * *",
            "25T02:30", "both", "25T00:30", "25T01:30"),
    Overlap("[IE] negative DST", "Europe/Dublin", "2026-10-25T01:00", 60, "30 1 * * *", "25T01:30",
            "first", "25T00:30", "25T01:30"),
    Overlap("[US]", "America/New_York", "2026-11-01T06:00", 60, "30 1 * * *", "01T01:30",
            "first", "01T05:30", "01T06:30"),
    Overlap("[US]", "America/New_York", "2026-11-01T06:00", 60, "*/30 1 * * *", "01T01:00",
            "both", "01T05:00 01T05:30", "01T06:00 01T06:30"),
    Overlap("[EU]: apscheduler issue 1021 never left this hour", "Europe/Helsinki", "2017-10-29T01:00", 60,
            "30 2-4 * * *", "29T03:30", "both", "28T23:30 29T00:30 29T02:30", "28T23:30 29T01:30 29T02:30"),
    Overlap("tz antarctica: two hours at once", "Antarctica/Troll", "2026-10-25T01:00", 120, "30 2 * * *", "25T02:30",
            "first", "25T00:30", "25T02:30"),
    Overlap("[MA] the start of Ramadan 2025", "Africa/Casablanca", "2025-02-23T02:00", 60, "30 2 * * *", "23T02:30",
            "first", "23T01:30", "23T02:30"),
    Overlap("[EG] before midnight", "Africa/Cairo", "2023-10-26T21:00", 60, "30 23 * * *", "26T23:30",
            "first", "26T20:30", "26T21:30"),
    Overlap("[BR] before midnight", "America/Sao_Paulo", "2018-02-18T02:00", 60, "30 23 * * *", "17T23:30",
            "first", "18T01:30", "18T02:30"),
    Overlap("Gaceta Oficial 38.819 (2007): -04 to -04:30 for good", "America/Caracas", "2007-12-09T07:00", 30,
            "45 2 * * *", "09T02:45", "first", "09T06:45", "09T07:15"),
    Overlap("tz NEWS 2015f: +09 to +08:30", "Asia/Pyongyang", "2015-08-14T15:00", 30, "45 23 * * *", "14T23:45",
            "first", "14T14:45", "14T15:15"),
    Overlap("tz NEWS 2014f: +04 to +03 for good", "Europe/Moscow", "2014-10-25T22:00", 60, "30 1 * * *", "26T01:30",
            "first", "25T21:30", "25T22:30"),
    Overlap("tz NEWS 2024a: +06 to +05 after a 29 February", "Asia/Almaty", "2024-02-29T18:00", 60, "30 23 29 2 *",
            "29T23:30", "first", "29T17:30", "29T18:30"),
    Overlap("tz NEWS 2021a: +03 to +02 on the last of a month", "Africa/Juba", "2021-01-31T21:00", 60, "30 23 L * *",
            "31T23:30", "first", "31T20:30", "31T21:30"),
    Overlap("[LHI] half an hour", "Australia/Lord_Howe", "2026-04-04T15:00", 30, "45 1 * * *", "05T01:45",
            "first", "04T14:45", "04T15:15"),
    Overlap("[LHI] half an hour", "Australia/Lord_Howe", "2026-04-04T15:00", 30, "45 1-1 * * *", "05T01:45",
            "both", "04T14:45", "04T15:15"),
    Overlap("[NZ] from 03:45", "Pacific/Chatham", "2026-04-04T14:00", 60, "0 3 * * *", "05T03:00",
            "first", "04T13:15", "04T14:15"),
    Overlap("tz northamerica, Rule StJohns: at 00:01 until 2011", "America/St_Johns", "2010-11-07T02:31", 60,
            "30 23 * * *", "06T23:30", "first", "07T02:00", "07T03:00"),
    Overlap("tz northamerica, Rule StJohns: at 00:01 until 2011", "America/St_Johns", "2010-11-07T02:31", 60,
            "0 0 * * *", "07T00:00", "first", "07T02:30", "07T03:30"),
]  # fmt: skip

UNCHANGED = [  # what was called off, where an older table still has it
    ("tz NEWS 2016g: Turkey keeps +03", "Europe/Istanbul", "2016-10-30T01:00", "30 3 * * *", "30T00:30"),
    (
        "tz NEWS 2019b: Brazil has no DST any more",
        "America/Sao_Paulo",
        "2019-11-03T03:00",
        "30 0 * * *",
        "03T03:30",
    ),
    ("tz NEWS 2021b: nor has Samoa", "Pacific/Apia", "2021-09-25T14:00", "30 3 * * *", "25T14:30"),
    (
        "tz NEWS 2022f: nor has most of Mexico",
        "America/Mexico_City",
        "2023-04-02T08:00",
        "30 2 * * *",
        "02T08:30",
    ),
    ("tz NEWS 2014f: nor has Moscow", "Europe/Moscow", "2015-03-28T23:00", "30 2 * * *", "28T23:30"),
    ("IANA: UTC never had", "UTC", "2026-03-29T01:00", "30 1 * * *", "29T01:30"),
]


def names(case) -> str:
    return f"{case[1]}-{case[2][:10]}-{case[4]}"


def moments(told: str, change: str) -> list:
    """`29T01:00 …` in the month of the change."""
    return [utc(f"{change[:8]}{each}") for each in told.split()]


def offset_minutes(zone: str, at) -> float:
    return at.astimezone(oracle.zone(zone)).utcoffset() / timedelta(minutes=1)


def of(case, **policy):
    """What fires around the change; the oracle sees the same."""
    change = utc(case.change)
    window = (change - HALF_A_DAY, change + HALF_A_DAY)
    found = fires(cron(case.expression, case.zone, **policy), *window)
    assert found == oracle.occurrences(case.expression, case.zone, *window, **policy)
    return found


def told_of(case, **policy):
    """The rules that were applied, and to which local time."""
    start, schedule = utc(case.change) - HALF_A_DAY, cron(case.expression, case.zone, **policy)
    days = list(islice(between(schedule, start, utc("2100-01-01")), 40))
    end = utc(case.change) + HALF_A_DAY
    return {(note.rule, note.local_time[8:]) for note in clock_notes(schedule, start, days) if note.at <= end}


@pytest.mark.parametrize("case", GAPS, ids=names)
def test_what_a_clock_leaves_out_is_moved_or_dropped(case):
    change = utc(case.change)
    assert offset_minutes(case.zone, change) - offset_minutes(case.zone, change - INSTANT) == case.minutes

    moved, dropped = moments(case.next_valid, case.change), moments(case.skip, case.change)
    assert of(case, gap="next_valid") == moved
    assert of(case, gap="skip") == dropped
    assert of(case) == {"next_valid": moved, "skip": dropped}[case.default]


@pytest.mark.parametrize("case", GAPS, ids=names)
def test_what_was_done_about_a_gap_is_told(case):
    lost = case.lost if len(case.lost) > len("29T02:30") else f"{case.lost}:00"
    for policy, asked in (("next_valid", "next_valid"), ("skip", "skip"), ("auto", case.default)):
        assert told_of(case, gap=policy) == {(f"gap_{asked}", lost)}


@pytest.mark.parametrize("case", OVERLAPS, ids=names)
def test_what_a_clock_shows_twice_fires_in_one_pass_or_in_both(case):
    change = utc(case.change)
    assert offset_minutes(case.zone, change - INSTANT) - offset_minutes(case.zone, change) == case.minutes

    first, last = moments(case.first, case.change), moments(case.last, case.change)
    assert of(case, overlap="first") == first
    assert of(case, overlap="last") == last
    assert of(case, overlap="both") == sorted({*first, *last})
    assert of(case) == {"first": first, "both": sorted({*first, *last})}[case.default]


@pytest.mark.parametrize("case", OVERLAPS, ids=names)
def test_what_was_done_about_an_overlap_is_told(case):
    shown = f"{case.shown}:00"
    for policy, asked in (("first", "first"), ("last", "last"), ("both", "both"), ("auto", case.default)):
        assert told_of(case, overlap=policy) == (set() if asked == "both" else {(f"overlap_{asked}", shown)})


@pytest.mark.parametrize("overlap", ["auto", "first", "last", "both"])
@pytest.mark.parametrize("gap", ["auto", "next_valid", "skip"])
@pytest.mark.parametrize("case", UNCHANGED, ids=lambda case: case[1])
def test_a_change_that_was_called_off_moves_and_drops_nothing(case, gap, overlap):
    _, zone, moment, expression, expected = case
    window = (utc(moment) - HALF_A_DAY, utc(moment) + HALF_A_DAY)

    schedule = cron(expression, zone, gap=gap, overlap=overlap)
    found = fires(schedule, *window)
    assert found == moments(expected, moment)
    assert clock_notes(schedule, window[0], found) == ()


def test_the_record_is_wide():
    zones = {case.zone for case in (*GAPS, *OVERLAPS)} | {case[1] for case in UNCHANGED}
    assert len(zones) >= 20
    assert {case.minutes for case in GAPS} == {15, 30, 60, 120, 1440}
