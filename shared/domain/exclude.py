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
FIRST, LAST = date(1970, 1, 2), date(8999, 12, 31)  # all that is scheduled lies within
FIRST, LAST = date(1970, 1, 2), date(8999, 12, 31)  # all that is scheduled lies within
_DAY = timedelta(days=1)


class Span(Value, frozen=True, kw_only=True):
    """Consecutive dates, both included."""

    from_: date
    to: date


class BadSpan(ValueError):  # noqa: N818 - an answer to a client, like a refusal
    """Such dates can't be excluded; the message is a sentence for the client."""


def check_span(span: Span) -> None:
    """Refuse what makes no sense: to be called where dates come in.

    Raises:
        BadSpan: it ends before it begins, or lies elsewhere than all that is scheduled.
    """
    if span.to < span.from_:
        raise BadSpan(f"the range ends on {span.to}, before it begins")
    if not FIRST <= span.from_ <= span.to <= LAST:
        raise BadSpan("excluded dates lie in the years 1970 to 8999")


def excluded_until(spans: Iterable[Span], zone: ZoneInfo, at: datetime) -> datetime | None:
    """None if no span has the date of `at`; else an instant after `at` up to which every other is excluded too.

    There a later date begins, or a clock is put back to a date before the span: whoever asks looks again.
    """
    day = at.astimezone(zone).date()
    span = max(
        (span for span in spans if span.from_ <= day <= span.to), key=lambda each: each.to, default=None
    )
    if span is None:
        return None
    put_back = change_around(zone, datetime.combine(span.from_, time()))
    if put_back is not None and at < put_back.at:
        return put_back.at
    return next(instant for instant in _begins(span.to + _DAY, zone) if instant > at)


def _begins(day: date, zone: ZoneInfo) -> tuple[datetime, ...]:
    """The instants at which a clock comes to the date: two, where it shows that midnight twice."""
    midnight = datetime.combine(day, time())
    change = change_around(zone, midnight)
    if change is None:
        return (instant_at(midnight, offset_at(zone, midnight, fold=0)),)
    if change.is_gap:  # which may have begun before midnight
        return (change.at,)
    return instant_at(midnight, change.before), instant_at(midnight, change.after)
