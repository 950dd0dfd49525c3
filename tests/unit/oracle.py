"""When a schedule fires, found by looking at the clock again and again.

The judge of `shared/domain/schedule.py`: it imports neither that nor croniter, has its own reading of an
expression, and never computes a time. It steps through every second (or minute) of UTC, reads the wall clock
of the zone, and asks whether that matches. Slow and plain on purpose.
"""

from __future__ import annotations

import calendar
import importlib.resources
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_BOUNDS = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
_ANY = ("*", "?")


def occurrences(
    expression: str, key: str, after: datetime, until: datetime, gap: str = "auto", overlap: str = "auto"
) -> list[datetime]:
    """All occurrences in (after, until], by DESIGN §6.3 and what `dst_policy` says."""
    fields = expression.lower().split()
    step = 1 if len(fields) == 6 else 60
    fields = ["0", *fields] if len(fields) == 5 else fields
    seconds, minutes, hours = (_values(fields[place], place) for place in range(3))
    named = not any(sign in field for field in fields[:3] for sign in "*/-")  # fixed-time
    moved = named if gap == "auto" else gap == "next_valid"
    chosen = ("first" if named else "both") if overlap == "auto" else overlap
    times = {"first": (None, 0), "last": (None, 1), "both": (None, 0, 1)}[chosen]

    def matches(wall: datetime) -> bool:
        in_time = wall.minute in minutes and wall.hour in hours and wall.second in seconds
        return in_time and day_matches(fields[3:], wall.date())

    found = []
    first = (int(after.timestamp()) // step + 1) * step
    one_step = timedelta(seconds=step)
    before = _wall(first - step, zone(key))
    for second in range(first, int(until.timestamp()) // step * step + 1, step):
        wall = _wall(second, zone(key))
        fires = matches(wall) and _which_time(second, zone(key)) in times
        if moved and wall - before > one_step:
            jumped = int((wall - before).total_seconds())
            fires |= any(matches(before + timedelta(seconds=lost)) for lost in range(step, jumped, step))
        if fires:
            found.append(datetime.fromtimestamp(second, UTC))
        before = wall
    return found


def dates(expression: str, first: date, days: int) -> list[date]:
    """The dates on which an expression of five fields matches."""
    rule = expression.lower().split()[2:]
    every = (first + timedelta(days=number) for number in range(days))
    return [day for day in every if day_matches(rule, day)]


def clock_changes(key: str, year: int) -> list[datetime]:
    """The hours of a year (in UTC) in whose course a zone's offset changes."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    days = _changing(key, [start + timedelta(days=number) for number in range(367)])
    return [hour for day in days for hour in _changing(key, [day + timedelta(hours=h) for h in range(25)])]


@cache
def zone(key: str) -> ZoneInfo:
    """The zone as the tzdata package has it, whatever the system says."""
    with importlib.resources.files("tzdata").joinpath("zoneinfo", *key.split("/")).open("rb") as table:
        return ZoneInfo.from_file(table, key=key)


def _changing(key: str, instants: list[datetime]) -> list[datetime]:
    offsets = [instant.astimezone(zone(key)).utcoffset() for instant in instants]
    return [at for at, here, there in zip(instants, offsets, offsets[1:], strict=False) if here != there]


def day_matches(rule: list[str], day: date) -> bool:
    """Whether [day of month, month, weekday] say yes: the first OR the last, unless one is `*` or `?`."""
    of_month, month, of_week = rule
    if day.month not in _values(month, 4):
        return False
    by_number = any(_is_month_day(item, day) for item in of_month.split(","))
    by_name = any(_is_weekday(item, day) for item in of_week.split(","))
    if of_month in _ANY:
        return of_week in _ANY or by_name
    return by_number if of_week in _ANY else by_number or by_name


def _is_month_day(item: str, day: date) -> bool:
    if item == "l":
        return (day + timedelta(days=1)).day == 1
    if item.endswith("w"):
        return day == _working_day_near(day.replace(day=int(item[:-1])))
    return item not in _ANY and _says(item, day.day, 3)


def _working_day_near(day: date) -> date:
    """Saturday: the Friday before; Sunday: the Monday after; but never of another month."""
    nearest = [day + timedelta(days=away) for away in (0, -1, 1, -2, 2)]
    return next(each for each in nearest if each.weekday() < 5 and each.month == day.month)


def _is_weekday(item: str, day: date) -> bool:
    weekday = (day.weekday() + 1) % 7
    if item.startswith("l"):
        days_left = calendar.monthrange(day.year, day.month)[1] - day.day
        return int(item[1:]) % 7 == weekday and days_left < 7
    if "#" in item:
        item, which = item.split("#")
        return _says(item, weekday, 5) and (day.day - 1) // 7 + 1 == int(which)
    return item not in _ANY and _says(item, weekday, 5)


@cache
def _values(field: str, place: int) -> frozenset[int]:
    low, high = _BOUNDS[place]
    return frozenset(v for v in range(low, high + 1) if any(_says(i, v, place) for i in field.split(",")))


def _says(item: str, value: int, place: int) -> bool:
    """Whether one item of a list names the value; Sunday is 0 and 7."""
    body, _, step = item.partition("/")
    low_text, dash, high_text = body.partition("-")
    low, high = (_BOUNDS[place][0], _BOUNDS[place][1]) if body == "*" else (_number(low_text, place), 0)
    if dash:
        high = _number(high_text, place)
        high = 7 if place == 5 and high == 0 and low > 0 else high
    elif body != "*":
        high = _BOUNDS[place][1] if step else low
    candidates = (value, 7) if place == 5 and value == 0 else (value,)
    return any(low <= v <= high and (v - low) % int(step or 1) == 0 for v in candidates)


def _number(text: str, place: int) -> int:
    if place == 4 and text in _MONTHS:
        return _MONTHS.index(text) + 1
    return _DAYS.index(text) if place == 5 and text in _DAYS else int(text)


def _which_time(second: int, tz: ZoneInfo) -> int | None:
    """Whether the clock reads what it does for the first of two times (0), or the second (1); None: only once."""
    now = datetime.fromtimestamp(second, tz)
    if now.fold:
        return 1
    return 0 if now.replace(fold=1).timestamp() > second else None


def _wall(second: int, tz: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(second, tz).replace(tzinfo=None)
