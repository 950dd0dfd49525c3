"""Why a job has no occurrence at a time: it isn't there, it has no schedule, or its schedule says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from services.api.explaining import reasons
from services.api.explaining.codes import Code
from services.api.explaining.finding import Finding, at_of
from shared.domain.cron import parse
from shared.domain.preview import Dropped, Planned, planned
from shared.domain.schedule import TICK, clock_notes, next_after
from shared.domain.zones import change_around, zone_named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.api.explaining.finding import Words
    from shared.domain.events import JobCreated, JobUpdated
    from shared.domain.job import Job
    from shared.domain.schedule import Schedule
    from shared.domain.zones import ClockChange
    from shared.eventlog.envelope import Recorded

SECOND = timedelta(seconds=1)  # whoever asks for 03:00:00 means what lies in that second
STEPS_MAX = 1_000  # of a schedule, between two of its occurrences
_BACK_MAX = timedelta(days=366 * 9)


class Asked(NamedTuple):
    """A time that somebody asks about: the second from `at` on.

    Attributes:
        at: aware UTC, in whole milliseconds.
        wall: what was written, without its offset.
    """

    at: datetime
    wall: datetime

    @property
    def end(self) -> datetime:
        """What lies before it is meant."""
        return self.at + SECOND

    def means(self, at: datetime) -> bool:
        """Whether this is the time."""
        return self.at <= at < self.end


def asked_of(at: datetime) -> Asked:
    """The time as it was written."""
    universal = at.astimezone(UTC)
    whole_ms = universal.replace(microsecond=universal.microsecond // 1000 * 1000)
    return Asked(whole_ms, at.replace(tzinfo=None, fold=0, microsecond=whole_ms.microsecond))


def left_out_by_the_clock(asked: Asked, schedule: Schedule) -> ClockChange | None:
    """The change of clocks because of which the wall clock never read what was asked for, and an expression names.

    Such a time of day can only be written with the offset of before, or of after. Written in UTC it is an instant.
    """
    if not schedule.expressions:
        return None
    change = change_around(zone_named(schedule.timezone), asked.wall)
    written_in = asked.wall.replace(tzinfo=UTC) - asked.at
    if (
        change is None
        or not change.is_gap
        or not written_in
        or written_in not in {change.before, change.after}
    ):
        return None
    names_it = any(parse(each).next_wall(asked.wall - SECOND) == asked.wall for each in schedule.expressions)
    return change if names_it else None


def has_moved_to(schedule: Schedule, at: datetime) -> bool:
    """Whether what the clock left out there has its occurrence at the end of the gap, `at`."""
    return any(note.rule == "gap_next_valid" for note in clock_notes(schedule, at - TICK, (at,)))


def occurrence_at(job: Job, asked: Asked) -> datetime | None:
    """The occurrence that the schedule has then."""
    found = next_after(job.spec.schedule, asked.at - TICK, anchor_at=job.anchor_at)
    return found if found is not None and asked.means(found) else None


def dropped_at(job: Job, asked: Asked) -> Dropped | None:
    """What would have been an occurrence then, if one of the schedule's rules had not dropped it."""
    schedule = job.spec.schedule
    before = last_before(schedule, asked.at, job.anchor_at) or asked.at - timedelta(days=2)
    for number, step in enumerate(planned(schedule, before, anchor_at=job.anchor_at, job_id=job.id)):
        if isinstance(step, Planned):
            if step.at >= asked.end + timedelta(hours=3) or number > STEPS_MAX:
                return None
        elif asked.means(step.at) and step.reason != "gap_skip":
            return step
    return None


def without_that_time(asked: Asked, gap_at: datetime, words: Words, events: tuple[Recorded, ...]) -> Finding:
    """A time of day that wasn't, and had no occurrence."""
    local_time = asked.wall.isoformat(timespec="seconds")
    return reasons.not_an_occurrence(Dropped(gap_at, local_time, "gap_skip"), words, events)


def last_before(schedule: Schedule, at: datetime, anchor_at: datetime) -> datetime | None:
    """The last occurrence before a time; None: none within nine years."""
    span = SECOND
    while (found := next_after(schedule, at - span, anchor_at=anchor_at)) is None or found >= at:
        if span > _BACK_MAX:
            return None
        span *= 4
    bound = at
    while bound - found > TICK:  # the last one before `at` lies in [found, bound)
        middle = found + (bound - found) // 2
        later = next_after(schedule, middle, anchor_at=anchor_at)
        if later is not None and later < at:
            found = later
        else:
            bound = middle
    return found


def outside_window(job: Job, asked: Asked, words: Words, events: tuple[Recorded, ...]) -> Iterator[Finding]:
    """A time that only start_at or end_at makes no occurrence."""
    schedule = job.spec.schedule
    for name, bound in (("start_at", schedule.start_at), ("end_at", schedule.end_at)):
        if bound is None or (asked.at >= bound if name == "start_at" else asked.at <= bound):
            continue
        bare = replace(
            schedule, start_at=None if schedule.interval_seconds is None else schedule.start_at, end_at=None
        )
        side = "before" if name == "start_at" else "after"
        is_one = occurrence_at(replace(job, spec=replace(job.spec, schedule=bare)), asked) is not None
        said = f"{words.whole(asked.at)} lies {side} {name}, {words.whole(bound)}"
        yield Finding(
            Code.OUTSIDE_WINDOW, said, asked.at, events, {name: bound, "else_an_occurrence": is_one}
        )


def edited(edits: Sequence[Recorded], asked: Asked, words: Words) -> Finding | None:
    """The edit that took away an occurrence before it came.

    Args:
        edits: the events that made the job's revisions up to then, newest first.
        asked: the time.
        words: how times are told.
    """
    for after, before in pairwise(edits):
        event: JobCreated | JobUpdated = before.change().event  # type: ignore[assignment]
        found = next_after(event.spec.schedule, asked.at - TICK, anchor_at=event.anchor_at)
        if found is None or not asked.means(found):
            continue
        revision = after.change().event.revision  # type: ignore[attr-defined]
        at = words.brief(at_of(after))
        said = (
            f"{words.whole(found)} was an occurrence of revision {revision - 1}; {after.actor} edited the schedule "
            f"at {at}, before it came, and revision {revision} has none then"
        )
        details = {"by": after.actor, "revision": revision, "scheduled_for": found}
        return Finding(Code.EDITED, said, at_of(after), (before, after), details)
    return None


def none_then(job: Job, asked: Asked, words: Words, events: tuple[Recorded, ...]) -> Finding:
    """A time at which the schedule has nothing, and the occurrences around it."""
    schedule = job.spec.schedule
    before = last_before(schedule, asked.at, job.anchor_at)
    if before is not None and schedule.interval_seconds is None and before < job.created_at:
        before = None
    after = next_after(schedule, asked.at, anchor_at=job.anchor_at)
    said = f"no occurrence at {words.whole(asked.at)} by revision {job.revision}"
    said += "; none before" if before is None else f"; the nearest before is {words.whole(before)}"
    said += "; none after" if after is None else f", after it {words.whole(after)}"
    details = {"before": before, "after": after, "revision": job.revision}
    return Finding(Code.NO_OCCURRENCE, said, asked.at, events, details)


def not_created(created: Recorded, words: Words) -> Finding:
    """A time before the job was there."""
    said = f"the job was not there yet: {created.actor} made it at {words.whole(at_of(created))}"
    return Finding(Code.NOT_CREATED, said, at_of(created), (created,), {"by": created.actor})
