"""Schedules for tests: written short, walked to an end, and drawn at random."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from shared.domain.schedule import Schedule, next_after
from shared.domain.walk import DstPolicy

from . import oracle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

ANCHOR = datetime(2026, 1, 1, tzinfo=UTC)
YEARS = range(1990, 2061)
ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",  # negative DST: winter is the exception
    "Europe/Moscow",  # changed for good in 2011, and back in 2014
    "America/New_York",
    "America/Caracas",  # half an hour, for good, twice
    "America/Havana",  # changes at midnight
    "America/St_Johns",  # changed at 00:01 until 2011
    "America/Sao_Paulo",  # midnight was left out, until 2018
    "Africa/Casablanca",  # negative DST, twice a year by the moon
    "Africa/Cairo",
    "Antarctica/Troll",  # two hours at once
    "Asia/Gaza",  # up to four changes a year
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


def random_cron(chance: Random, *, seconds: str = "") -> str:
    """Five fields, or six with these `seconds` first; `H` isn't drawn yet."""
    minutes = chance.choice([_clock(chance, 0, 59), _numbers(chance, 0, 59)])
    at_night = _numbers(chance, 0, 4, 5)  # clocks change then
    hours = chance.choice([_clock(chance, 0, 23), at_night, at_night, _span(chance, 0, 4), "*"])
    days = "* * *"  # the change of the clocks is among them
    if chance.random() < 0.5:
        days = f"{_month_days(chance)} {_months(chance)} {_weekdays(chance)}"
    return f"{seconds} {minutes} {hours} {days}".strip()


def random_seconds(chance: Random) -> str:
    return chance.choice(["0,30", "*/7", "*", _clock(chance, 0, 59), _numbers(chance, 0, 59)])


def around_a_change(chance: Random, zone: str, year: int, hours: int) -> datetime:
    """An instant from which mostly less than `hours` are left to a change of the clocks, to the millisecond."""
    changes = oracle.clock_changes(zone, year) if chance.random() < 0.7 else []
    near = chance.choice(
        changes or [datetime(year, 1, 1, tzinfo=UTC) + timedelta(hours=chance.randrange(8760))]
    )
    return near - timedelta(milliseconds=chance.randrange(hours * 3_600_000))


def _clock(chance: Random, low: int, high: int) -> str:
    return chance.choice(
        [
            "*",
            _numbers(chance, low, high),
            _numbers(chance, low, high),
            _span(chance, low, high),
            f"*/{chance.randint(1, high)}",
            f"{_span(chance, low, high)}/{chance.randint(1, 9)}",
            f"{chance.randint(low, high)}/{chance.randint(1, 9)},{chance.randint(low, high)}",
            "H",
            f"H({low}-{low + 9})/{chance.randint(1, 9)}",
            f"{chance.randint(low, high)},H({low}-{chance.randint(low, high)})",
        ]
    )


def _month_days(chance: Random) -> str:
    some = [
        _numbers(chance, 1, 31),
        _span(chance, 1, 31),
        "L",
        "*/2",
        "15,L",
        "1W",
        "15W,28W",
        "28W,L,3",
        "H",
    ]
    return chance.choice(["*", "*", "*", "?", *some])


def _months(chance: Random) -> str:
    some = [_span(chance, 1, 12), _numbers(chance, 1, 12), "jan-jun,oct", "*/5", "MAR,oct-DEC", "H,4"]
    return chance.choice(["*", "*", "*", *some])


def _weekdays(chance: Random) -> str:
    some = [_span(chance, 0, 7), _numbers(chance, 0, 7), "sat-sun", "mon,5#2", "L0", "0#1,l5", "sun#5", "*/2"]
    return chance.choice(["*", "*", "?", *some, "mon-fri#1", "Fri-Sun", "mon-fri/2", "L7,sat", "H"])


def _numbers(chance: Random, low: int, high: int, most: int = 3) -> str:
    return ",".join(str(chance.randint(low, high)) for _ in range(chance.randint(1, most)))


def _span(chance: Random, low: int, high: int) -> str:
    return "{}-{}".format(*sorted((chance.randint(low, high), chance.randint(low, high))))
