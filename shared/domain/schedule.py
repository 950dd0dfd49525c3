"""Schedules: when a job is to run, as instants, whatever the clocks on the walls do meanwhile (DESIGN §6.3).

croniter walks wall-clock time (`cron.py`); the way from there to instants is here. A wall clock is changed
now and then. Put forward, it leaves times of day out (a *gap*): a fixed-time expression fires at the first
valid instant after it, once however many of its times were lost; an interval-like one doesn't fire in it.
Put back, it shows times of day twice (an *overlap*): fixed-time fires the first time, interval-like both.
Both rules go by UTC offsets alone, so negative DST, half hours and missing days are no special case.
"""

from __future__ import annotations

import importlib.resources
from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from threading import Lock
from typing import ClassVar, Literal, Self
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from shared.domain import ids
from shared.domain.cron import YEARS_SEARCHED, BadCron, Cron, parse
from shared.domain.cron_hash import expanded, has_hash
from shared.domain.value import Value

INTERVAL_MAX_S = 31_536_000  # 365 days
WALKS_KEPT = 1_024  # (expression, zone) pairs; with SPANS_KEPT at most 16 MB
SPANS_KEPT = 1_024  # occurrences remembered of each

_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(9000, 1, 1, tzinfo=UTC)  # leaves every search room below year 9999
_SEARCH_MAX = timedelta(days=366 * (YEARS_SEARCHED + 1))
# An expression must fire in eight years from each of these. They share no weekday of a 29 February, so what
# fires in both (unlike a fifth Monday of February: every 28 years) fires in any eight years.
_PROBES = (datetime(2025, 3, 1, tzinfo=UTC), datetime(2033, 3, 1, tzinfo=UTC))


class BadSchedule(ValueError):  # noqa: N818 - an answer to a client, like a refusal
    """The schedule can't be kept; the message is a sentence for the client, `field` what it is about."""

    def __init__(self, message: str, *, field: str) -> None:
        """Say what is wrong with which of cron_expression, interval_seconds, run_at and timezone."""
        super().__init__(message)
        self.field = field


class Schedule(Value, frozen=True, kw_only=True):
    """When a job runs: at most one of the first three; none means when triggered. `check` says if it can.

    Attributes:
        cron_expression: one, or several whose union it is.
    """

    cron_expression: str | tuple[str, ...] | None = None
    interval_seconds: int | None = None
    run_at: datetime | None = None
    timezone: str = "UTC"

    @property
    def kind(self) -> Literal["cron", "interval", "once", "none"]:
        """Which of the three it is."""
        if self.cron_expression is not None:
            return "cron"
        if self.interval_seconds is not None:
            return "interval"
        return "none" if self.run_at is None else "once"

    @property
    def expressions(self) -> tuple[str, ...]:
        """Its cron expressions."""
        several = self.cron_expression
        return several if isinstance(several, tuple) else () if several is None else (several,)

    def expanded(self, job_id: str) -> Self:
        """As it is kept for a job: each `H` is replaced by the number that the job draws.

        Raises:
            BadCron: an `H` isn't understood.
        """
        if not any(map(has_hash, self.expressions)):
            return self
        spelt = tuple(expanded(each, job_id) for each in self.expressions)
        return replace(self, cron_expression=spelt if isinstance(self.cron_expression, tuple) else spelt[0])


def check(schedule: Schedule) -> None:
    """Refuse what can't be kept: to be called where a schedule comes in.

    Raises:
        BadSchedule: two kinds, an expression that isn't understood or never fires, an unknown zone, an
            interval out of 1…31,536,000 s, a `run_at` without offset.
    """
    given = [name for name in ("cron_expression", "interval_seconds", "run_at") if _has(schedule, name)]
    if len(given) > 1:
        raise BadSchedule(f"give at most one of {', '.join(given)}", field=given[1])
    zone_named(schedule.timezone)
    if schedule.cron_expression == ():
        raise BadSchedule("an empty list names no time", field="cron_expression")
    for expression in schedule.expressions:
        _check_expression(expression, schedule.timezone)
    if schedule.interval_seconds is not None and not 1 <= schedule.interval_seconds <= INTERVAL_MAX_S:
        raise BadSchedule(f"an interval lasts 1 to {INTERVAL_MAX_S:,} seconds", field="interval_seconds")
    if schedule.run_at is not None:
        _check_run_at(schedule.run_at)


def next_after(schedule: Schedule, after: datetime, *, anchor_at: datetime) -> datetime | None:
    """The first occurrence strictly after `after`, aware UTC in whole milliseconds; None if none is left.

    Depends on nothing but its arguments and the zone tables. An interval counts from `anchor_at` (creation,
    or the last edit of the schedule): `anchor_at + k · interval`, k ≥ 1, so it never drifts.

    Raises:
        BadSchedule: the expression or zone isn't known (any more).
    """
    if after >= _END:
        return None
    if schedule.cron_expression is not None:
        return _next_of(schedule.cron_expression, schedule.timezone, after)
    if schedule.interval_seconds is not None:
        return _next_tick(schedule.interval_seconds * 1000, ids.to_ms(after), ids.to_ms(anchor_at))
    if schedule.run_at is not None and (once := _utc_ms(schedule.run_at)) > after:
        return once
    return None


def searches() -> int:
    """How many cron searches this process made so far: occurrences not remembered (`check` looks aside)."""
    return Walk.searches


def _has(schedule: Schedule, name: str) -> bool:
    return getattr(schedule, name) is not None


def _check_expression(expression: str, timezone: str) -> None:
    try:
        spelt = expanded(expression, "")
    except BadCron as refusal:
        raise BadSchedule(str(refusal), field="cron_expression") from refusal
    if not _fires(spelt, timezone):
        raise BadSchedule(
            f"{expression!r} can go without an occurrence for more than {YEARS_SEARCHED} years",
            field="cron_expression",
        )


def _check_run_at(run_at: datetime) -> None:
    if run_at.utcoffset() is None:
        raise BadSchedule("run_at needs an offset, such as 2026-03-29T02:30:00+01:00", field="run_at")
    if not _EPOCH < run_at < _END:
        raise BadSchedule("run_at lies outside the years 1970 to 8999", field="run_at")


def _next_of(expressions: str | tuple[str, ...], timezone: str, after: datetime) -> datetime | None:
    if isinstance(expressions, str):
        return _walk(expressions, timezone).next_after(after)
    found = (_walk(each, timezone).next_after(after) for each in expressions)
    return min(filter(None, found), default=None)


def _next_tick(interval_ms: int, after_ms: int, anchor_ms: int) -> datetime:
    return ids.from_ms(anchor_ms + interval_ms * max(1, (after_ms - anchor_ms) // interval_ms + 1))


def _utc_ms(at: datetime) -> datetime:
    at = at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


# Zones.


@cache
def zone_named(key: str) -> ZoneInfo:
    """A zone of the `tzdata` package: zoneinfo by itself prefers the system's, often older, tables."""
    if key not in _zone_names():
        raise BadSchedule(f"{key[:80]!r} is no IANA time zone such as 'Europe/Berlin'", field="timezone")
    table = importlib.resources.files("tzdata").joinpath("zoneinfo", *key.split("/"))
    with table.open("rb") as stream:
        return ZoneInfo.from_file(stream, key=key)


@cache
def _zone_names() -> frozenset[str]:
    names = importlib.resources.files("tzdata").joinpath("zones").read_text(encoding="ascii").split()
    return frozenset(names) - {"Factory"}  # the zone of a machine nobody has set up


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """A change of a wall clock from one UTC offset to another."""

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def is_gap(self) -> bool:
        return self.after > self.before

    @property
    def wall_before(self) -> datetime:
        """What the clock would have read at the change."""
        return self.at.replace(tzinfo=None) + self.before

    @property
    def wall_after(self) -> datetime:
        """What it reads."""
        return self.at.replace(tzinfo=None) + self.after


def _change_around(zone: ZoneInfo, wall: datetime) -> _Change | None:
    """The change because of which a clock in `zone` reads `wall` twice or never; None if it reads it once."""
    before, after = _offset(zone, wall, fold=0), _offset(zone, wall, fold=1)
    if before == after:
        return None
    start = _instant(wall, max(before, after))  # PEP 495: the change comes after this and by |after - before|
    last_s = abs(after - before) // _SECOND
    moved_s = bisect_left(
        range(last_s),
        True,
        key=lambda second: (start + second * _SECOND).astimezone(zone).utcoffset() != before,
    )
    return _Change(at=start + moved_s * _SECOND, before=before, after=after)


def _offset(zone: ZoneInfo, wall: datetime, *, fold: int) -> timedelta:
    offset = wall.replace(tzinfo=zone, fold=fold).utcoffset()
    assert offset is not None  # noqa: S101 - a zone has one at any time
    return offset


def _instant(wall: datetime, offset: timedelta) -> datetime:
    return (wall - offset).replace(tzinfo=UTC)


# Cron on instants.


@lru_cache(maxsize=WALKS_KEPT)
def _walk(expression: str, timezone: str) -> Walk:
    return Walk.of(expression, timezone)


@lru_cache(maxsize=WALKS_KEPT)
def _fires(expression: str, timezone: str) -> bool:
    """Whether it fires in any eight years, as instants: a time of day may only ever stand in a gap."""
    walk = Walk.of(expression, timezone)
    return all(walk.search(probe) is not None for probe in _PROBES)


class Walk:
    """The way of one expression through one zone, and what is remembered of it.

    Every `after` in [previous, next) has the same next. So it is spans that are remembered, not arguments,
    and jobs made at different instants share one search for each occurrence.
    """

    searches: ClassVar[int] = 0

    def __init__(self, cron: Cron, zone: ZoneInfo) -> None:
        self._cron = cron
        self._zone = zone
        self._spans = array("q")  # start, next, start, next, …: ascending seconds since 1970
        self._lock = Lock()  # spans, and the croniters inside `cron`, are for one thread at a time

    @classmethod
    def of(cls, expression: str, timezone: str) -> Self:
        """A way about which nothing is known yet.

        Raises:
            BadSchedule: expression or zone isn't known.
        """
        try:
            return cls(parse(expression), zone_named(timezone))
        except BadCron as refusal:
            raise BadSchedule(str(refusal), field="cron_expression") from refusal

    def next_after(self, after: datetime) -> datetime | None:
        """The first occurrence strictly after `after`, searched for only if no known span holds `after`."""
        second = (after - _EPOCH) // _SECOND  # occurrences fall on whole seconds
        with self._lock:
            place = bisect_right(self._spans, second)
            if place % 2 == 0:  # it lies behind a `next`, before a `start`
                Walk.searches += 1
                found = self.search(after)
                if found is not None:
                    self._remember(place, second, (found - _EPOCH) // _SECOND)
                return found
            return _EPOCH + self._spans[place] * _SECOND

    def _remember(self, place: int, start: int, end: int) -> None:
        if place < len(self._spans) and self._spans[place + 1] == end:
            self._spans[place] = start  # the span after it began earlier than was known
            return
        self._spans[place:place] = array("q", (start, end))
        if len(self._spans) > 2 * SPANS_KEPT:
            del self._spans[:2]

    def search(self, after: datetime) -> datetime | None:
        """The first occurrence strictly after `after`; None if the next eight years have none."""
        local = after.astimezone(self._zone)
        wall = local.replace(tzinfo=None, fold=0, microsecond=0)
        overlap = _change_around(self._zone, wall)
        if overlap is None:
            return self._first_after(wall)
        if local.fold == 0:
            found = self._cron.next_wall(wall)
            if found is not None and found < overlap.wall_before:
                return _instant(found, overlap.before)
            wall = overlap.wall_after - _SECOND
        if self._cron.fixed_time:
            wall = overlap.wall_before - _SECOND  # the second pass is not for it
        found = self._cron.next_wall(wall)
        if found is not None and found < overlap.wall_before:
            return _instant(found, overlap.after)
        return self._first_after(wall)

    def _first_after(self, wall: datetime) -> datetime | None:
        """The first occurrence at a wall-clock time later than `wall`, of two passes the first."""
        limit = wall + _SEARCH_MAX
        while (found := self._cron.next_wall(wall)) is not None and found < limit:
            change = _change_around(self._zone, found)
            if change is None:
                return _instant(found, _offset(self._zone, found, fold=0))
            if not change.is_gap:
                return _instant(found, change.before)
            if self._cron.fixed_time:
                return change.at
            wall = change.wall_after - _SECOND
        return None
