"""What a schedule comes to: its occurrences one after another, and what its rules did to each and left out.

Only for people who look ahead: what is run is decided in `job.py`, from the same `next_after`.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from shared.domain.job import Status
from shared.domain.schedule import clock_notes, next_after
from shared.domain.zones import change_around, instant_at, zone_named

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from shared.domain.job import Job
    from shared.domain.schedule import Schedule
    from shared.domain.walk import ClockRule

PASSED_MAX = 20_000  # occurrences counted, a second of work

_TICK = timedelta(milliseconds=1)


class TooFar(Exception):  # noqa: N818 - an answer to a client, like a refusal
    """Each occurrence of a job with max_runs has to be counted, and there are too many before that time."""


class Dropped(NamedTuple):
    """What a rule took away.

    Attributes:
        at: when it would have been; where clocks leave its time of day out, when they do.
        local_time: what the wall clock would have read: with its offset, unless there is no such time of day.
    """

    at: datetime
    local_time: str
    rule: ClockRule


class Planned(NamedTuple):
    """An occurrence that is to come.

    Attributes:
        local_time: what the wall clock reads at `at`, with its offset.
        rule: what was done about it where clocks change: it was moved, or it is one of two that read alike.
        dropped: what was left out between the one before and this one, and its double in an overlap.
    """

    at: datetime
    fires_at: datetime
    local_time: str
    rule: ClockRule | None
    dropped: tuple[Dropped, ...]


def planned(
    schedule: Schedule, after: datetime, *, anchor_at: datetime, announced: datetime | None = None
) -> Iterator[Planned]:
    """The occurrences strictly after `after`, without end where the schedule has none; `max_runs` isn't looked at.

    Args:
        schedule: without `H`.
        after: aware.
        anchor_at: as of `next_after`.
        announced: the first one, where that was computed before and is not to be computed again.

    Raises:
        BadCron, UnknownZone: the expression or zone isn't known (any more).
    """
    at = next_after(schedule, after, anchor_at=anchor_at) if announced is None else announced
    while at is not None:
        rule = _rule(schedule, at)
        yield Planned(
            at=at,
            fires_at=fires_at(at),
            local_time=_local(schedule, at),
            rule=rule,
            dropped=tuple(_dropped(schedule, after, at, rule)),
        )
        after, at = at, next_after(schedule, at, anchor_at=anchor_at)


def upcoming(job: Job, *, now: datetime, since: datetime | None = None) -> Iterator[Planned | None]:
    """Occurrences of a job that nobody has decided, if each is run; of a paused one, if it went on at `now`.

    None stands for one that is passed over on the way to `since`.

    Raises:
        TooFar: more than PASSED_MAX of them.
        BadCron, UnknownZone: the expression or zone isn't known (any more).
    """
    schedule, anchor = job.spec.schedule, job.anchor_at
    before = max(anchor, job.decided_to or anchor)
    at = job.next_for
    if job.status is Status.PAUSED and at is not None and at <= now:  # what falls due in the pause is not run
        before, at = now, next_after(schedule, now, anchor_at=anchor)
    left = None if schedule.max_runs is None else schedule.max_runs - job.runs
    if since is not None and at is not None and since >= at and left is None:
        before, at = since, next_after(schedule, since, anchor_at=anchor)
    passed = 0
    while since is not None and at is not None and at <= since and left:
        if passed == PASSED_MAX:
            raise TooFar
        yield None
        before, at = at, next_after(schedule, at, anchor_at=anchor)
        passed, left = passed + 1, left - 1
    if at is None:
        return
    before = before if since is None else max(before, since)
    yield from islice(planned(schedule, before, anchor_at=anchor, announced=at), left)


def fires_at(scheduled_for: datetime) -> datetime:
    """When an occurrence is to start: at its time, as no schedule spreads its occurrences yet."""
    return scheduled_for


def _rule(schedule: Schedule, at: datetime) -> ClockRule | None:
    """What the policy did about the occurrence `at`."""
    if not schedule.expressions or schedule.timezone == "UTC":
        return None
    for note in clock_notes(schedule, at - _TICK, (at,)):
        if note.rule == "gap_next_valid":
            return note.rule
    double = _double(schedule, at)
    if double is None or _is_occurrence(schedule, double):
        return None
    return "overlap_first" if double > at else "overlap_last"


def _dropped(schedule: Schedule, after: datetime, at: datetime, rule: ClockRule | None) -> Iterator[Dropped]:
    for note in clock_notes(schedule, after, (at,)):
        if note.rule == "gap_skip":
            yield Dropped(note.at, note.local_time, note.rule)
        elif note.rule != "gap_next_valid" and not _is_occurrence(schedule, note.at):
            yield Dropped(note.at, _local(schedule, note.at), note.rule)
    if rule in {"overlap_first", "overlap_last"}:
        double = _double(schedule, at)
        if double is not None and double > after and _is_within(schedule, double):
            yield Dropped(double, _local(schedule, double), rule)


def _double(schedule: Schedule, at: datetime) -> datetime | None:
    """The other instant at which the wall clock reads what it reads at `at`; None if there is none."""
    zone = zone_named(schedule.timezone)
    wall = at.astimezone(zone).replace(tzinfo=None, fold=0)
    change = change_around(zone, wall)
    if change is None:
        return None
    first, last = instant_at(wall, change.before), instant_at(wall, change.after)
    return last if at == first else first


def _is_occurrence(schedule: Schedule, at: datetime) -> bool:
    """Whether a cron schedule fires at `at`, by any of its expressions."""
    return next_after(schedule, at - _TICK, anchor_at=at) == at


def _is_within(schedule: Schedule, at: datetime) -> bool:
    return not (schedule.start_at and at < schedule.start_at) and not (
        schedule.end_at and at > schedule.end_at
    )


def _local(schedule: Schedule, at: datetime) -> str:
    local = at.astimezone(zone_named(schedule.timezone))
    return local.isoformat(timespec="milliseconds" if local.microsecond else "seconds")
