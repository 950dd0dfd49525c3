"""Schedules: when a job is to run, as instants, whatever the clocks on the walls do meanwhile (DESIGN §6.3).

Cron expressions are walked by `walk.py`, each by itself; several in one job are a union.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Self

from msgspec.structs import replace

from shared.domain import ids
from shared.domain.cron import YEARS_SEARCHED, BadCron
from shared.domain.cron_hash import expanded, has_hash
from shared.domain.exclude import SPANS_MAX, BadSpan, Span, check_span, excluded_until
from shared.domain.jitter import JITTER_MAX_S
from shared.domain.value import Value, told
from shared.domain.walk import ClockNote, DstPolicy, Walk, walk_of
from shared.domain.zones import UnknownZone, zone_named

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERVAL_MAX_S = 31_536_000  # 365 days

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TICK = timedelta(milliseconds=1)  # instants are told apart by no less
_END = datetime(9000, 1, 1, tzinfo=UTC)  # leaves every search room below year 9999
# An expression must fire in eight years from each of these. They share no weekday of a 29 February, so what
# fires in both (unlike a fifth Monday of February: every 28 years) fires in any eight years.
_PROBES = (datetime(2025, 3, 1, tzinfo=UTC), datetime(2033, 3, 1, tzinfo=UTC))
_QUIET = timedelta(days=25)  # no zone has changed its offset twice within less, and come back


class BadSchedule(ValueError):  # noqa: N818 - an answer to a client, like a refusal
    """The schedule can't be kept; the message is a sentence for the client, `field` what it is about."""

    def __init__(self, message: str, *, field: str) -> None:
        """Say what is wrong with which of cron_expression, interval_seconds, run_at and timezone."""
        super().__init__(message)
        self.field = field


class Schedule(Value, frozen=True, kw_only=True, omit_defaults=True):
    """When a job runs: at most one of the first three; none means when triggered. `check` says if it can.

    Attributes:
        cron_expression: one, or several whose union it is.
        dst_policy: of cron expressions, where clocks change; None: `auto`.
        start_at: there is no occurrence before it; the first of an interval.
        end_at: there is none after it.
        max_runs: there is none once so many have run, ever; those that were skipped don't count.
        jitter_seconds: an occurrence may fire so much later than its time (`shared.domain.jitter`).
        exclude: dates in its zone that have no occurrence.
        exclude_calendars: names of calendars: what they exclude when its time comes is skipped (`calendars`).
    """

    cron_expression: str | tuple[str, ...] | None = None
    interval_seconds: int | None = None
    run_at: datetime | None = None
    timezone: str = told("UTC")
    dst_policy: DstPolicy | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    max_runs: int | None = None
    jitter_seconds: int = 0
    exclude: tuple[Span, ...] = ()
    exclude_calendars: tuple[str, ...] = ()

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

    def is_used_up(self, runs: int) -> bool:
        """Whether so many runs are all that there are to be."""
        return self.max_runs is not None and runs >= self.max_runs

    def is_in_phase_with(self, before: Schedule) -> bool:
        """Whether both are the same interval, which may begin or end at another time."""
        return self.interval_seconds is not None and self.interval_seconds == before.interval_seconds

    def has_the_times_of(self, before: Schedule) -> bool:
        """Whether both have the same occurrences, whatever jitter makes of them.

        A one-off that keeps its time is the occurrence it was, decided or not, in whatever zone it is shown.
        """
        if self.run_at is not None:
            return self.run_at == before.run_at
        return replace(self, jitter_seconds=0) == replace(before, jitter_seconds=0)

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
    try:
        zone_named(schedule.timezone)
    except UnknownZone as refusal:
        raise BadSchedule(str(refusal), field="timezone") from refusal
    if schedule.cron_expression == ():
        raise BadSchedule("an empty list names no time", field="cron_expression")
    for expression in schedule.expressions:
        _check_expression(expression, schedule)
    if schedule.interval_seconds is not None and not 1 <= schedule.interval_seconds <= INTERVAL_MAX_S:
        raise BadSchedule(f"an interval lasts 1 to {INTERVAL_MAX_S:,} seconds", field="interval_seconds")
    if schedule.run_at is not None:
        check_moment(schedule.run_at, "run_at")
    _check_window(schedule)
    _check_jitter(schedule)
    _check_exclude(schedule)
    if schedule.exclude_calendars and schedule.kind == "none":
        raise BadSchedule("exclude_calendars goes with a schedule", field="exclude_calendars")


def check_moment(at: datetime, field: str) -> None:
    """Refuse a time that no schedule reaches; `field` is what it is of.

    Raises:
        BadSchedule: it has no offset, or lies before 1970 or after 8999.
    """
    if at.utcoffset() is None:
        raise BadSchedule(f"{field} needs an offset, such as 2026-03-29T02:30:00+01:00", field=field)
    if not _EPOCH < at < _END:
        raise BadSchedule(f"{field} lies outside the years 1970 to 8999", field=field)


def next_after(schedule: Schedule, after: datetime, *, anchor_at: datetime) -> datetime | None:
    """The first occurrence strictly after `after`, aware UTC in whole milliseconds; None if none is left.

    Depends on nothing but its arguments and the zone tables. An interval never drifts: it is `start_at + k · interval`,
    k ≥ 0, or without that `anchor_at + k · interval`, k ≥ 1, from creation or the edit that gave it its phase.

    Raises:
        BadCron, UnknownZone: the expression or zone isn't known (any more).
    """
    if after >= _END:
        return None
    if schedule.start_at is not None:
        after = max(after, schedule.start_at - TICK)
    found = _unbounded(schedule, after, anchor_at)
    if schedule.exclude:
        found = _past_the_excluded(schedule, found, anchor_at)
    return None if found is None or (schedule.end_at is not None and found > schedule.end_at) else found


def is_occurrence(schedule: Schedule, at: datetime, *, anchor_at: datetime) -> bool:
    """Whether there is one at `at`."""
    return next_after(schedule, at - TICK, anchor_at=anchor_at) == at


def _past_the_excluded(schedule: Schedule, found: datetime | None, anchor_at: datetime) -> datetime | None:
    """The first occurrence from `found` on that isn't excluded: one search a span, however many times are in it.

    Spans stay out of what is remembered about an expression: jobs share that whatever days they leave out.
    """
    zone = zone_named(schedule.timezone)
    while found is not None and (end := excluded_until(schedule.exclude, zone, found)) is not None:
        if end >= _END or (schedule.end_at is not None and end > schedule.end_at):
            return None
        found = _unbounded(schedule, end - TICK, anchor_at)
    return found


def _unbounded(schedule: Schedule, after: datetime, anchor_at: datetime) -> datetime | None:
    if schedule.cron_expression is not None:
        return _next_of(schedule, after)
    if schedule.interval_seconds is not None:
        return _next_tick(schedule, after, anchor_at)
    if schedule.run_at is not None and (once := _utc_ms(schedule.run_at)) > after:
        return once
    return None


def clock_notes(
    schedule: Schedule, after: datetime, occurrences: Sequence[datetime]
) -> tuple[ClockNote, ...]:
    """What was done where clocks changed: on the way from `after` over consecutive `occurrences` to their last."""
    if not schedule.expressions or schedule.timezone == "UTC":
        return ()
    zone, last = zone_named(schedule.timezone), occurrences[-1]
    if last - after < _QUIET and after.astimezone(zone).utcoffset() == last.astimezone(zone).utcoffset():
        return ()
    found = {
        (note.at, note): None
        for walk in _walks(schedule)
        for one, another in pairwise((after, *occurrences))
        for note in walk.notes(_resumed(schedule, one, another), another)
    }
    return tuple(note for _, note in sorted(found, key=lambda key: key[0]))


def _resumed(schedule: Schedule, one: datetime, another: datetime) -> datetime:
    """From where the search went on that came from `one`, an occurrence or before all, to `another`, the next."""
    zone, at = zone_named(schedule.timezone), one
    while schedule.exclude:
        found = _unbounded(schedule, at, another)
        end = None if found is None else excluded_until(schedule.exclude, zone, found)
        if end is None or end > another:
            break
        at = end - TICK
    return at


def searches() -> int:
    """How many cron searches this process made so far: occurrences not remembered (`check` looks aside)."""
    return Walk.searches


def _has(schedule: Schedule, name: str) -> bool:
    return getattr(schedule, name) is not None


def _check_expression(expression: str, schedule: Schedule) -> None:
    try:
        fires = _fires(expanded(expression, ""), schedule.timezone, schedule.dst_policy)
    except BadCron as refusal:
        raise BadSchedule(str(refusal), field="cron_expression") from refusal
    if not fires:
        raise BadSchedule(
            f"{expression!r} can go without an occurrence for more than {YEARS_SEARCHED} years",
            field="cron_expression",
        )


@lru_cache(maxsize=1_024)
def _fires(expression: str, timezone: str, policy: DstPolicy | None) -> bool:
    """Whether it fires in any eight years, as instants: a time of day may only ever stand in a gap."""
    walk = Walk.of(expression, timezone, policy)
    return all(walk.search(probe).at is not None for probe in _PROBES)


def _check_window(schedule: Schedule) -> None:
    for name in filter(lambda name: _has(schedule, name), ("start_at", "end_at", "max_runs")):
        if schedule.kind not in {"cron", "interval"}:
            raise BadSchedule(f"{name} goes with cron_expression or interval_seconds", field=name)
        if name != "max_runs":
            check_moment(getattr(schedule, name), name)
    if schedule.start_at and schedule.end_at and schedule.end_at < schedule.start_at:
        raise BadSchedule("end_at lies before start_at", field="end_at")


def _check_jitter(schedule: Schedule) -> None:
    if not schedule.jitter_seconds:
        return
    if not 0 < schedule.jitter_seconds <= JITTER_MAX_S:
        raise BadSchedule(f"jitter lasts 0 to {JITTER_MAX_S:,} seconds", field="jitter_seconds")
    if schedule.kind == "none":
        raise BadSchedule("jitter_seconds goes with a schedule", field="jitter_seconds")


def _check_exclude(schedule: Schedule) -> None:
    if not schedule.exclude:
        return
    if schedule.kind == "none":
        raise BadSchedule("exclude goes with a schedule", field="exclude")
    if len(schedule.exclude) > SPANS_MAX:
        raise BadSchedule(f"at most {SPANS_MAX} dates and ranges are excluded", field="exclude")
    for span in schedule.exclude:
        try:
            check_span(span)
        except BadSpan as refusal:
            raise BadSchedule(str(refusal), field="exclude") from refusal
    if schedule.run_at is not None and next_after(schedule, _EPOCH, anchor_at=_EPOCH) is None:
        raise BadSchedule("run_at lies on an excluded date", field="run_at")
    if schedule.start_at is not None and next_after(schedule, _EPOCH, anchor_at=_EPOCH) is None:
        raise BadSchedule("exclude leaves no occurrence from start_at on", field="exclude")


def _next_of(schedule: Schedule, after: datetime) -> datetime | None:
    if isinstance(schedule.cron_expression, str):
        return walk_of(schedule.cron_expression, schedule.timezone, schedule.dst_policy).next_after(after)
    return min(filter(None, (walk.next_after(after) for walk in _walks(schedule))), default=None)


def _walks(schedule: Schedule) -> list[Walk]:
    return [walk_of(each, schedule.timezone, schedule.dst_policy) for each in schedule.expressions]


def _next_tick(schedule: Schedule, after: datetime, anchor_at: datetime) -> datetime:
    assert schedule.interval_seconds is not None  # noqa: S101 - the caller has looked
    interval_ms = schedule.interval_seconds * 1000
    first_ms = (
        ids.to_ms(anchor_at) + interval_ms if schedule.start_at is None else ids.to_ms(schedule.start_at)
    )
    return ids.from_ms(first_ms + interval_ms * max(0, (ids.to_ms(after) - first_ms) // interval_ms + 1))


def _utc_ms(at: datetime) -> datetime:
    at = at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)
