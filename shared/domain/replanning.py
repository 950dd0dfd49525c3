"""What newer zone tables do to what was announced: countries change their clocks, often at short notice.

A job announces its next occurrence when it decides the one before, and what was announced stays announced (`settling`)
until it is planned anew, which leaves an event. What is due already is none of this: it is decided as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.events import Change, JobCompleted, ScheduleReplanned
from shared.domain.job import Status
from shared.domain.schedule import next_after

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.commands import ReplanJob
    from shared.domain.job import Job


def has_moved(job: Job, now: datetime) -> bool:
    """Whether the zone tables of this process announce something else than the job has announced."""
    return (
        job.next_for is not None
        and job.next_for > now
        and job.status in {Status.PENDING, Status.PAUSED}
        and _goes_by_a_zone(job)
        and _next_for(job) != job.next_for
    )


def replanned(job: Job, command: ReplanJob, now: datetime) -> list[Change]:
    """The events that announce what has moved."""
    if not has_moved(job, now):
        return []
    assert job.next_for is not None  # noqa: S101 - it has moved from there
    subject, following = f"job:{job.id}", _next_for(job)
    event = ScheduleReplanned(
        from_=command.before,
        to=command.tables,
        was_for=job.next_for,
        next_for=following,
        replanned_at=now,
    )
    completed = [Change(subject=subject, event=JobCompleted())] if following is None else []
    return [Change(subject=subject, event=event), *completed]


def _goes_by_a_zone(job: Job) -> bool:
    schedule = job.spec.schedule
    return schedule.timezone != "UTC" and bool(schedule.expressions)


def _next_for(job: Job) -> datetime | None:
    """The first occurrence after all that were decided. It may be past by the new tables: then it is a misfire."""
    since = job.anchor_at if job.decided_to is None else max(job.anchor_at, job.decided_to)
    return next_after(job.spec.schedule, since, anchor_at=job.anchor_at)
