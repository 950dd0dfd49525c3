"""Cron expressions on the wall clock: what they say, and when a clock without a zone reads it next.

Each field is read here, strictly, and spelt out as a list of numbers before croniter walks it. croniter 7 is
lax where a schedule must not be: it reads `5-5` and `50-10` as the whole field or a wrapped one, `*/90` as
`0`, and drops the 13th from `0 0 13 * 5#2`. A list of numbers leaves it nothing to misread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from croniter import CroniterBadDateError, croniter

YEARS_SEARCHED = 8  # from one 29 February to the next over 1900 or 2100, the longest a calendar date waits
LENGTH_MAX = 1_000  # every second, minute and hour written out as lists is 420 characters

_MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_ALPHABET = re.compile(r"[0-9a-z*?/,#@() \t-]*")
_ITEM = re.compile(
    r"(?P<low>\*|[0-9]+|[a-z]{3})(?:-(?P<high>[0-9]+|[a-z]{3}))?(?:/(?P<step>[0-9]+)|#(?P<nth>[0-9]+))?"
)
_RANDOM = re.compile(r"r(\(.*\))?(/.*)?")
_WORKDAY = re.compile(r"(?P<day>[0-9]{1,2})w")
_WORKDAY_MAX = 28  # of the 31st, croniter takes the 30th's neighbour for it in a shorter month


class BadCron(ValueError):  # noqa: N818 - an answer to a client, like a refusal
    """The expression can't be read, or not by this version; the message is a sentence for the client."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def last(self) -> int:
        """The greatest value that isn't another over again: 7 is Sunday, as 0 is."""
        return 6 if self.name == "weekday" else self.high


_WEEKDAYS = _Field("weekday", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
_MONTHS = _Field(
    "month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
)
_DAYS = _Field("day-of-month", 1, 31)
_HOURS = _Field("hour", 0, 23)
_MINUTES = _Field("minute", 0, 59)
_SECONDS = _Field("second", 0, 59)
FIELDS = (_SECONDS, _MINUTES, _HOURS, _DAYS, _MONTHS, _WEEKDAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """One expression, read.

    Attributes:
        fixed_time: seconds, minutes and hours are numbers or lists: it names times of day. Otherwise (a `*`,
            range or step there) it is interval-like. DESIGN §6.3 has what that means when clocks change.
        walks: croniters whose union it is: day of month OR weekday are two, so is `1,5#2`.
    """

    fixed_time: bool
    walks: tuple[croniter, ...]

    def next_wall(self, after: datetime) -> datetime | None:
        """The first matching wall-clock time strictly after `after` (naive, whole seconds), a second sharp.

        None if there is none in the rest of this year and the YEARS_SEARCHED that follow. Takes well under a
        millisecond for any expression. For one thread at a time: croniter keeps its place inside.
        """
        return min(filter(None, (_step(walk, after) for walk in self.walks)), default=None)


def _step(walk: croniter, after: datetime) -> datetime | None:
    try:
        found: datetime = walk.get_next(datetime, start_time=after)
    except CroniterBadDateError:
        return None
    return found


def parse(expression: str) -> Cron:
    """Read five fields, six with the seconds first, or a macro such as `@daily`; case doesn't matter.

    Whether it ever fires isn't asked here (`0 0 30 2 *` is read without complaint).

    Raises:
        BadCron: anything that isn't understood exactly.
    """
    fields = fields_of(expression)
    second, minute, hour, day, month, weekday = fields
    clock = " ".join(
        _numbers(field, text) for field, text in ((_SECONDS, second), (_MINUTES, minute), (_HOURS, hour))
    )
    months = _numbers(_MONTHS, month)
    return Cron(
        fixed_time=not any(sign in text for text in fields[:3] for sign in "*-/"),
        walks=tuple(
            _walk(f"{clock} {days} {months} {weekdays}") for days, weekdays in _day_rules(day, weekday)
        ),
    )


def _walk(canonical: str) -> croniter:
    return croniter(
        canonical,
        datetime(1970, 1, 1),  # noqa: DTZ001 - wall-clock time; any start, so that croniter asks no clock
        second_at_beginning=True,
        max_years_between_matches=YEARS_SEARCHED,
    )


def fields_of(expression: str) -> list[str]:
    """The six fields in lower case, seconds first.

    Raises:
        BadCron: it hasn't five or six, or has signs that none has.
    """
    text = expression.strip(" \t").lower()
    if len(text) > LENGTH_MAX:
        raise BadCron(f"a cron expression has at most {LENGTH_MAX:,} characters, not {len(text):,}")
    if re.search(r"[\n;|]", text):
        raise BadCron("one expression a text: give a list of texts for the union of several")
    if not (expression.isascii() and _ALPHABET.fullmatch(text)):  # lower() turns U+212A into a plain k
        raise BadCron("a cron expression has letters, digits, blanks and * ? , - / # L W H only")
    if text.startswith("@"):
        text = _macro(text)
    fields = text.split()
    if len(fields) == 7:  # noqa: PLR2004 - the number is the message
        raise BadCron("seven fields (with a year) are not supported; use five, or six with the seconds first")
    if len(fields) not in {5, 6}:
        raise BadCron(f"a cron expression has five fields, or six with the seconds first, not {len(fields)}")
    return ["0", *fields] if len(fields) == 5 else fields  # noqa: PLR2004


def _macro(text: str) -> str:
    if text in _MACROS:
        return _MACROS[text]
    if text == "@reboot":
        raise BadCron("@reboot is not supported: a schedule names times, and a start of Daybook is none")
    raise BadCron(f"{text} is not known; the macros are {', '.join(_MACROS)}")


def _day_rules(day: str, weekday: str) -> list[tuple[str, str]]:
    """Pairs of day-of-month and weekday whose union the two fields mean: OR, unless one is exactly * or ?."""
    rules = []
    if day not in {"*", "?"}:
        items = day.split(",")
        workdays = [item for item in items if _WORKDAY.fullmatch(item)]
        rules += [(_workday(item), "*") for item in workdays]
        if plain := [item for item in items if item not in workdays]:
            rules.append((_month_days(plain), "*"))
    if weekday not in {"*", "?"}:
        items = weekday.split(",")
        special = [item for item in items if "#" in item or re.fullmatch(r"l[0-9]+", item)]
        plain = [item for item in items if item not in special]
        if special:
            rules.append(("*", ",".join(spelt for item in special for spelt in _special_weekdays(item))))
        if plain:
            rules.append(("*", _numbers(_WEEKDAYS, ",".join(plain))))
    return rules or [("*", "*")]


def _workday(item: str) -> str:
    """`15w`: of Monday to Friday, the day of the same month that is nearest to the 15th; alone, as croniter has it."""
    day = int(item[:-1])
    if not 1 <= day <= _WORKDAY_MAX:
        raise BadCron(f"day-of-month {item}: W goes with 1 to {_WORKDAY_MAX}, days that every month has")
    return f"{day}W"


def _month_days(items: list[str]) -> str:
    """Days of the month as croniter takes them; `l` is the last one."""
    plain = [item for item in items if item != "l"]
    last = ["l"] if "l" in items else []
    return ",".join([*([_numbers(_DAYS, ",".join(plain))] if plain else []), *last])


def _special_weekdays(item: str) -> list[str]:
    """`5#2` (the second Friday), `mon-fri#1`, `l5` (the last Friday), spelt out."""
    if item.startswith("l"):
        return [f"l{_number(_WEEKDAYS, item[1:])}"]
    read = _ITEM.fullmatch(item)
    if read is None or read["nth"] is None or read["low"] == "*":
        _refuse(_WEEKDAYS, item)
    if read["nth"] not in {"1", "2", "3", "4", "5"}:
        raise BadCron(f"weekday {item}: there are first to fifth weekdays in a month (#1 to #5)")
    return [f"{value}#{read['nth']}" for value in _range(_WEEKDAYS, read)]


def _numbers(field: _Field, text: str) -> str:
    """A whole field as `*`, or as a list of all its numbers, ascending."""
    if text == "*":
        return text
    values: set[int] = set()
    for item in text.split(","):
        read = _ITEM.fullmatch(item)
        if read is None or read["nth"] is not None or item == "*":
            _refuse(field, item)
        values.update(_range(field, read))
    return ",".join(map(str, sorted(values)))


def _range(field: _Field, read: re.Match[str]) -> range:
    """What `low`, `low-high` and either with a step mean; an open end is the last value of the field."""
    item, step = read[0], int(read["step"] or 1)
    if read["low"] == "*":
        low, high = field.low, field.last
        if read["high"]:
            _refuse(field, item)
    else:
        low = high = _number(field, read["low"])
        if read["high"]:
            high = _number(field, read["high"], at_least=low)
        elif read["step"]:
            high = field.last
    if not 1 <= step <= field.high:
        raise BadCron(f"{field.name} {item}: a step lies between 1 and {field.high}")
    if high < low:
        raise BadCron(f"{field.name} {item}: the range runs backwards; write two ranges with a comma between")
    return range(low, high + 1, step)


def _number(field: _Field, text: str, at_least: int = 0) -> int:
    """A number or name of the field; `sun` ends a range as 7, as in `sat-sun`."""
    if text in field.names:
        value = field.low + field.names.index(text)
        return 7 if field is _WEEKDAYS and value < at_least and value == 0 else value
    if not text.isdigit():
        _refuse(field, text)
    if not field.low <= int(text) <= field.high:
        raise BadCron(f"{field.name} {text} is out of range: {field.low} to {field.high}")
    return int(text)


def _refuse(field: _Field, item: str) -> NoReturn:
    if _RANDOM.fullmatch(item):
        raise BadCron(f"{field.name} {item}: R (a random value) is not supported; H draws one and keeps it")
    if field is _DAYS and item in {"lw", "wl"}:
        raise BadCron(f"{field.name} {item}: the last working day is not supported; L is the last day")
    if field is _WEEKDAYS and (last := re.fullmatch(r"([0-7])l", item)):
        raise BadCron(f"weekday {item}: the last one of a month is written L{last[1]} (0 or 7 is Sunday)")
    raise BadCron(f"{field.name} {item or '(empty)'}: not understood")
