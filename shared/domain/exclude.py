"""Excluded dates: days on which a schedule has no occurrence, as a calendar on the wall in its zone has them.

An occurrence is excluded by the date that a clock in the zone shows at its instant. So a day of 23 or 25 hours is a
day, one that a zone leaves out excludes nothing, and an occurrence that was moved out of a gap goes by where it is.
"""

from __future__ import annotations

from datetime import (
    date,
    datetime,
    time,
    timedelta,
)
from typing import TYPE_CHECKING

from shared.domain.value import Value
from shared.domain.zones import change_around, instant_at, offset_at

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

SPANS_MAX = 100  # of one schedule
_DAY = timedelta(days=1)


class Span(Value, frozen=True, kw_only=True):
    """Consecutive dates, both included."""

    from_: date
    to: date


def excluded_until(spans: Iterable[Span], zone: ZoneInfo, at: datetime) -> datetime | None:
    """None if no span has the date of `at`; else the first instant after `at` at which a later date than its begins.

    What lies between is excluded too, unless a clock is put back over midnight meanwhile: then the excluded date comes
    again, and the instant that is returned comes before that.
    """
    day = at.astimezone(zone).date()
    last = max((span.to for span in spans if span.from_ <= day <= span.to), default=None)
    if last is None:
        return None
    return next(instant for instant in _begins(last + _DAY, zone) if instant > at)


def _begins(day: date, zone: ZoneInfo) -> tuple[datetime, ...]:
    """The instants at which a clock comes to the date: two, where it shows that midnight twice."""
    midnight = datetime.combine(day, time())
    change = change_around(zone, midnight)
    if change is None:
        return (instant_at(midnight, offset_at(zone, midnight, fold=0)),)
    if change.is_gap:  # which may have begun before midnight
        return (change.at,)
    return instant_at(midnight, change.before), instant_at(midnight, change.after)
