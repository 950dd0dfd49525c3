"""The job: what a user defined, and how far its schedule has been decided.

```
            ┌──────────── resume ───────────┐
 create ─▶ pending ──────── pause ───────▶ paused
            │    ▲  ▲                        │
  no occurrence  │  └─ edit with occurrences  │
     left   ▼    │                           ▼
          completed ───────── delete ─────▶ deleted          (from every state)
```
`next_for` is the first occurrence nobody has decided. Every command first *settles*: it decides what is due at
`now`, in the same unit, so that no edit, pause or delete swallows an occurrence (DESIGN §6.1): `deciding`, `settling`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec.structs import replace

from shared.domain.events import (
    TERMINAL,
    Change,
    Event,
    JobCompleted,
    JobCreated,
    JobDeleted,
    JobPaused,
    JobResumed,
    JobUpdated,
    OccurrencesSkipped,
    RunFailed,
    RunRequested,
    RunSucceeded,
)
from shared.domain.spec import JobSpec  # noqa: TC001 - the snapshot's codec reads the annotation
from shared.domain.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable


class Status(StrEnum):
    """Where a job stands on the write side; `running` and `failed` are the read side's words."""

    PENDING = "pending"
    PAUSED = "paused"
    COMPLETED = "completed"
    DELETED = "deleted"


class Pause(Value, frozen=True, kw_only=True):
    """Who paused the job, when and why."""

    by: str
    reason: str
    at: datetime


class Job(Value, frozen=True, kw_only=True):
    """The fold of a job's events.

    Attributes:
        anchor_at: the instant its interval counts from.
        next_for: the first undecided occurrence; kept while paused.
        decided_to: the newest occurrence that was decided, under whatever schedule the job had then.
        active: unfinished runs, oldest first, of a job that follows its runs.
        runs: how many of its occurrences were run.
        late_runs: how many of its occurrences were run later than the grace, since one was in time.
        failures: how many of its runs have failed since one succeeded; counted while `follows`.
    """

    id: str
    owner: str
    tenant: str
    spec: JobSpec
    status: Status
    revision: int
    created_at: datetime
    updated_at: datetime
    anchor_at: datetime
    next_for: datetime | None
    paused: Pause | None = None
    active: tuple[str, ...] = ()
    decided_to: datetime | None = None
    runs: int = 0
    late_runs: int = 0
    failures: int = 0

    @property
    def follows(self) -> bool:
        """Whether the ends of its runs advance the job too: some policy of it needs to know."""
        return self.spec.overlap_policy != "allow" or self.spec.pause_after_failures is not None

    @property
    def grace(self) -> timedelta:
        """What is later than this is a misfire."""
        return timedelta(seconds=self.spec.misfire_grace_seconds)

    @property
    def due_at(self) -> datetime | None:
        """When to wake it, or None."""
        return self.next_for if self.status is Status.PENDING else None

    @property
    def over(self) -> bool:
        """Whether nothing will happen to it by itself: its snapshot may leave Redis after a day."""
        return self.status in {Status.COMPLETED, Status.DELETED} and not self.active


def evolve(job: Job | None, change: Change) -> Job:
    """The job after `change`; total: what doesn't concern it leaves it as it is.

    Raises:
        ValueError: the first event of a job is not its JobCreated (a log that is no log of ours).
    """
    event = change.event
    if isinstance(event, JobCreated):
        return _born(change.subject.removeprefix("job:"), event)
    if job is None:
        raise ValueError(f"{type(event).__name__} on {change.subject} before any JobCreated")
    if isinstance(event, TERMINAL):
        return replace(
            job, active=_without(job.active, change.subject), failures=_failures(job.failures, event)
        )
    step = _STEPS.get(type(event))
    return step(job, event, change) if step else job


def _born(job_id: str, event: JobCreated) -> Job:
    return Job(
        id=job_id,
        owner=event.owner,
        tenant=event.tenant,
        spec=event.spec,
        status=Status.PENDING,
        revision=1,
        created_at=event.created_at,
        updated_at=event.created_at,
        anchor_at=event.anchor_at,
        next_for=event.next_for,
    )


def _without(active: tuple[str, ...], subject: str) -> tuple[str, ...]:
    gone = subject.removeprefix("run:")
    return tuple(run for run in active if run != gone)


def _failures(before: int, event: Event) -> int:
    """Failures in a row: a run that was cancelled or has expired says nothing about the work."""
    return 0 if isinstance(event, RunSucceeded) else before + isinstance(event, RunFailed)


def _on_updated(job: Job, event: JobUpdated, _: Change) -> Job:
    revived = job.status is Status.COMPLETED and (event.next_for or event.spec.schedule.kind == "none")
    return replace(
        job,
        spec=event.spec,
        revision=event.revision,
        updated_at=event.updated_at,
        anchor_at=event.anchor_at,
        next_for=event.next_for,
        status=Status.PENDING if revived else job.status,
    )


def _on_paused(job: Job, event: JobPaused, _: Change) -> Job:
    pause = Pause(by=event.by, reason=event.reason, at=event.paused_at)
    return replace(job, status=Status.PAUSED, paused=pause, updated_at=event.paused_at)


def _on_resumed(job: Job, event: JobResumed, _: Change) -> Job:
    return replace(job, status=Status.PENDING, paused=None, updated_at=event.resumed_at, failures=0)


def _on_deleted(job: Job, event: JobDeleted, _: Change) -> Job:
    return replace(job, status=Status.DELETED, next_for=None, updated_at=event.deleted_at)


def _on_completed(job: Job, _: JobCompleted, __: Change) -> Job:
    return replace(job, status=Status.COMPLETED, next_for=None, paused=None)


def _on_skipped(job: Job, event: OccurrencesSkipped, _: Change) -> Job:
    return replace(job, next_for=event.next_for, decided_to=event.to)


def _on_requested(job: Job, event: RunRequested, change: Change) -> Job:
    run_id = change.subject.removeprefix("run:")
    scheduled = event.trigger == "schedule"
    return replace(
        job,
        next_for=event.next_for if scheduled else job.next_for,
        decided_to=event.scheduled_for if scheduled else job.decided_to,
        runs=job.runs + scheduled,
        late_runs=_late_runs(job, event) if scheduled else job.late_runs,
        active=(*job.active, run_id) if event.follows else job.active,
    )


def _late_runs(job: Job, event: RunRequested) -> int:
    return job.late_runs + 1 if event.requested_at - event.scheduled_for > job.grace else 0


_STEPS: dict[type[Event], Callable[..., Job]] = {
    JobUpdated: _on_updated,
    JobPaused: _on_paused,
    JobResumed: _on_resumed,
    JobDeleted: _on_deleted,
    JobCompleted: _on_completed,
    OccurrencesSkipped: _on_skipped,
    RunRequested: _on_requested,
}
