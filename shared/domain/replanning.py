"""What newer zone tables do to what was announced: countries change their clocks, often at short notice.

A job announces its next occurrence when it decides the one before, and what was announced stays announced (`settling`)
until it is planned anew, which leaves an event. What is due already is none of this: it is decided as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.ahead import announced
from shared.domain.events import Change, JobCompleted, ScheduleReplanned
from shared.domain.job import Status, moved_with
from shared.domain.schedule import next_after

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.ahead import Ahead
    from shared.domain.commands import ReplanJob
    from shared.domain.job import Job


def has_moved(job: Job, now: datetime) -> bool:
    """Whether the zone tables of this process announce something else than the job has announced."""
    if job.next_for is None or job.next_for <= now or job.status not in {Status.PENDING, Status.PAUSED}:
        return False
    return _goes_by_a_zone(job) and _ahead(job)["next_for"] != job.next_for


def replanned(job: Job, command: ReplanJob, now: datetime) -> list[Change]:
    """The events that announce what has moved."""
    if not has_moved(job, now):
        return []
    assert job.next_for is not None  # noqa: S101 - it has moved from there
    subject, ahead = f"job:{job.id}", _ahead(job)
    event = ScheduleReplanned(
        from_=command.before, to=command.tables, was_for=job.next_for, replanned_at=now, **ahead
    )
    completed = [Change(subject=subject, event=JobCompleted())] if ahead["next_for"] is None else []
    return [Change(subject=subject, event=event), *completed]


def _goes_by_a_zone(job: Job) -> bool:
    schedule = job.spec.schedule
    return schedule.timezone != "UTC" and bool(schedule.expressions or schedule.exclude)


def _ahead(job: Job) -> Ahead:
    """What these tables announce after all that was decided. It may be past: then it is a misfire."""
    since = job.anchor_at if job.decided_to is None else max(job.anchor_at, job.decided_to)
    schedule = job.spec.schedule
    if schedule.interval_seconds is not None:  # an edit may have kept the anchor, and let other days count
        since = max(since, job.updated_at)
    following = next_after(schedule, since, anchor_at=job.anchor_at)
    return announced(
        following,
        schedule=schedule,
        job_id=job.id,
        anchor_at=job.anchor_at,
        skipped=() if job.next_for is None else moved_with(job.skipped, job.next_for, following),
    )
