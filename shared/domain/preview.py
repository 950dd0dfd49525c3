"""What a schedule comes to: its occurrences one after another, and what its rules did to each and left out.

Only for people who look ahead: what is run is decided in `job.py`, from the same `next_after`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from msgspec.structs import replace

from shared.domain.calendars import NONE, Excluding
from shared.domain.jitter import fires_at
from shared.domain.job import Status
from shared.domain.schedule import TICK, clock_notes, next_after
from shared.domain.zones import change_around, instant_at, zone_named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from shared.domain.calendars import Seen
    from shared.domain.job import Job
    from shared.domain.schedule import Schedule
    from shared.domain.walk import ClockRule

PASSED_MAX = 20_000  # occurrences looked at one by one, a second of work
EXCLUDED_SHOWN = 100  # in a row

DropReason = Literal["gap_skip", "overlap_first", "overlap_last", "exclude", "calendar", "skipped"]


class TooFar(Exception):  # noqa: N818 - an answer to a client, like a refusal
    """More than PASSED_MAX occurrences would have to be looked at one by one."""


class Dropped(NamedTuple):
    """What would have been an occurrence.

    Attributes:
        at: when it would have been; where clocks leave its time of day out, when they do.
        local_time: what the wall clock would have read: with its offset, unless there is no such time of day.
        reason: why it is none.
        by: whoever wants it skipped, or the name of the calendar.
    """

    at: datetime
    local_time: str
    reason: DropReason
    by: str | None = None


class Planned(NamedTuple):
    """An occurrence that is to come.

    Attributes:
        local_time: what the wall clock reads at `at`, with its offset.
        rule: what was done about it where clocks change: it was moved, or it is one of two that read alike.
    """

    at: datetime
    fires_at: datetime
    local_time: str
    rule: ClockRule | None


class First(NamedTuple):
    """An occurrence that was announced, and when it fires: neither is computed again."""

    at: datetime
    fires_at: datetime | None


def planned(
    schedule: Schedule,
    after: datetime,
    *,
    anchor_at: datetime,
    job_id: str = "",
    first: First | None = None,
    calendars: Mapping[str, Seen] = NONE,
) -> Iterator[Planned | Dropped]:
    """The occurrences strictly after `after`, without end where the schedule has none; `max_runs` isn't looked at.

    Beside them come those that were left out, about in the order of time, and some twice.

    Args:
        schedule: without `H`.
        after: aware.
        anchor_at: as of `next_after`.
        job_id: jitter is drawn for.
        first: the first one, where it is known.
        calendars: those that it names, as they are now.

    Raises:
        BadCron, UnknownZone: the expression or zone isn't known (any more).
    """
    at = next_after(schedule, after, anchor_at=anchor_at) if first is None else first.at
    fires = None if first is None else first.fires_at
    excluding, in_a_row = Excluding(schedule, calendars), 0
    while at is not None:
        following = next_after(schedule, at, anchor_at=anchor_at)
        rule = _rule(schedule, at)
        yield from _excluded(schedule, after, at, anchor_at)
        yield from _dropped(schedule, after, at, rule)
        if by := excluding.by(at):
            in_a_row += 1
            yield Dropped(at, _local(schedule, at), "calendar", by.partition("@")[0])
            if in_a_row % EXCLUDED_SHOWN == 0:
                following = next_after(schedule, excluding.until(at) - TICK, anchor_at=anchor_at)
        else:
            in_a_row = 0
            fires = fires or fires_at(schedule, job_id, at, following)
            yield Planned(at=at, fires_at=fires, local_time=_local(schedule, at), rule=rule)
        after, at, fires = at, following, None
    yield from _excluded(schedule, after, None, anchor_at)


def upcoming(
    job: Job, *, now: datetime, since: datetime | None = None, calendars: Mapping[str, Seen] = NONE
) -> Iterator[Planned | Dropped | None]:
    """Occurrences of a job that nobody has decided, if each is run; of a paused one, if it went on at `now`.

    None stands for one that is passed over on the way to `since`.

    Raises:
        TooFar: there are too many of these.
        BadCron, UnknownZone: the expression or zone isn't known (any more).
    """
    schedule, anchor = job.spec.schedule, job.anchor_at
    before = max(anchor, job.decided_to or anchor)
    first = None if job.next_for is None else First(job.next_for, job.fires_next_at)
    if first is not None and job.status is Status.PAUSED and first.at <= now:
        before, first = now, _found(job, now)  # what falls due in the pause is not run
    left = None if schedule.max_runs is None else schedule.max_runs - job.runs
    if first is not None and since is not None and since >= first.at and left is None:
        before, first = since, _found(job, since)
    passed, excluding = 0, Excluding(schedule, calendars)
    while first is not None and since is not None and first.at <= since and left:
        runs = not job.skips(first.at) and excluding.by(first.at) is None
        passed, left = passed + 1, left - runs
        if passed > PASSED_MAX:
            raise TooFar
        yield None
        before, first = first.at, _found(job, first.at)
    if first is None:
        return
    before = before if since is None else max(before, since)
    steps = planned(schedule, before, anchor_at=anchor, job_id=job.id, first=first, calendars=calendars)
    yield from _counted(map(partial(_as_skipped, job), steps), left)


def _found(job: Job, after: datetime) -> First | None:
    at = next_after(job.spec.schedule, after, anchor_at=job.anchor_at)
    return None if at is None else First(at, None)


def _counted(steps: Iterator[Planned | Dropped], left: int | None) -> Iterator[Planned | Dropped]:
    """The steps up to the last run that `max_runs` leaves."""
    while left != 0 and (step := next(steps, None)) is not None:
        yield step
        left = left - isinstance(step, Planned) if left is not None else None


def _as_skipped(job: Job, step: Planned | Dropped) -> Planned | Dropped:
    """What somebody wants skipped is dropped."""
    for skip in job.skipped:
        if isinstance(step, Planned) and skip.scheduled_for == step.at:
            return Dropped(step.at, step.local_time, "skipped", skip.by)
    return step


def _rule(schedule: Schedule, at: datetime) -> ClockRule | None:
    """What the policy did about the occurrence `at`."""
    if not schedule.expressions or schedule.timezone == "UTC":
        return None
    for note in clock_notes(schedule, at - TICK, (at,)):
        if note.rule == "gap_next_valid":
            return note.rule
    double = _double(schedule, at)
    if double is None or _is_occurrence(schedule, double):
        return None
    return "overlap_first" if double > at else "overlap_last"


def _dropped(schedule: Schedule, after: datetime, at: datetime, rule: ClockRule | None) -> Iterator[Dropped]:
    """What was left out where clocks change, on the way to the occurrence `at` and because of it."""
    for note in clock_notes(schedule, after, (at,)):
        if note.rule == "gap_skip":
            yield Dropped(note.at, note.local_time, note.rule)
        elif note.rule != "gap_next_valid" and not _is_occurrence(schedule, note.at):
            yield Dropped(note.at, _local(schedule, note.at), note.rule)
    if rule == "overlap_first" or rule == "overlap_last":  # noqa: PLR1714 - which mypy understands
        double = _double(schedule, at)
        if double is not None and double > after and _is_within(schedule, double):
            yield Dropped(double, _local(schedule, double), rule)


def _excluded(
    schedule: Schedule, after: datetime, until: datetime | None, anchor_at: datetime
) -> Iterator[Dropped]:
    """What `exclude` has left out between two occurrences, or after the last one: the first EXCLUDED_SHOWN."""
    if not schedule.exclude:
        return
    bare, at = replace(schedule, exclude=()), after
    for _ in range(EXCLUDED_SHOWN):
        found = next_after(bare, at, anchor_at=anchor_at)
        if found is None or (until is not None and found >= until):
            return
        yield Dropped(found, _local(schedule, found), "exclude")
        at = found


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
    return next_after(schedule, at - TICK, anchor_at=at) == at


def _is_within(schedule: Schedule, at: datetime) -> bool:
    return not (schedule.start_at and at < schedule.start_at) and not (
        schedule.end_at and at > schedule.end_at
    )


def _local(schedule: Schedule, at: datetime) -> str:
    local = at.astimezone(zone_named(schedule.timezone))
    return local.isoformat(timespec="milliseconds" if local.microsecond else "seconds")
