"""Occurrences of a job as somebody counts them who looks on: those that nobody has decided, and those decided twice.

The schedule decides each occurrence once, in order (DESIGN §1). Both counts are 0 as long as that holds, and the timer
works; they say by how much where it doesn't.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from shared.domain.events import Event, OccurrencesSkipped, RunRequested
from shared.domain.jitter import fires_at
from shared.domain.schedule import next_after

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from shared.domain.job import Job


def undecided(job: Job, by: datetime, *, most: int) -> int:
    """How many occurrences had fired by then that the schedule has not decided; counted up to `most`."""
    return sum(1 for _ in islice(missing(job, by), most))


def missing(job: Job, by: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Those occurrences, in order: for when each is scheduled, and when it should have fired."""
    at, fires = job.next_for, job.fires_next_at
    if job.due_at is None or job.due_at > by:
        return
    while at is not None and fires is not None and fires <= by:
        yield at, fires
        at = _following(job, at)
        fires = at and fires_at(
            job.spec.schedule, job.id, at, _following(job, at) if _is_jittered(job) else None
        )


def decided_again(job: Job, event: Event) -> int:
    """How many of the occurrences that an event of `job`, or of a run of it, decides had been decided before."""
    match event:
        case RunRequested(trigger="schedule", scheduled_for=at):
            first, last, count = at, at, 1
        case OccurrencesSkipped(from_=first, to=last, count=count):
            pass
        case _:
            return 0
    if job.decided_to is None or first > job.decided_to:
        return 0
    return _count(job, first, min(last, job.decided_to), most=count)


def _count(job: Job, first: datetime, last: datetime, *, most: int) -> int:
    """The occurrences from `first`, which is one, to `last`."""
    count = 0
    at: datetime | None = first
    while at is not None and at <= last and count < most:
        count += 1
        at = _following(job, at)
    return count


def _following(job: Job, at: datetime) -> datetime | None:
    return next_after(job.spec.schedule, at, anchor_at=job.anchor_at)


def _is_jittered(job: Job) -> bool:
    return job.spec.schedule.jitter_seconds > 0
