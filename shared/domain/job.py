"""The job: what a user defined, and how far its schedule has been decided.

```
            ┌──────── resume, until ────────┐
 create ─▶ pending ──────── pause ───────▶ paused
            │    ▲  ▲                        │
  no occurrence  │  └─ edit with occurrences  │
     left   ▼    │                           ▼
          completed ───────── delete ─────▶ deleted          (from every state; so does erase)
```
`next_for` is the first occurrence nobody has decided; it fires at its time, or with jitter a little later. Every
command first *settles*: it decides what is due at `now`, in the same unit, so that no edit, pause or delete swallows
an occurrence (DESIGN §6.1): `deciding`, `settling`.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec.structs import replace

from shared.domain.events import (
    TERMINAL,
    BackfillCancelled,
    BackfillCompleted,
    BackfillRequested,
    Change,
    Event,
    JobCompleted,
    JobCreated,
    JobDeleted,
    JobPaused,
    JobResumed,
    JobUpdated,
    OccurrenceExcluded,
    OccurrenceIncluded,
    OccurrencesSkipped,
    PersonalDataErased,
    RunCancelRequested,
    RunFailed,
    RunQueued,
    RunRequested,
    RunSucceeded,
    ScheduleReplanned,
)
from shared.domain.spec import CATCH_UP_MAX, CatchUp, JobSpec
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
    """Who paused the job, when and why; fields as in `JobPaused`."""

    by: str
    reason: str
    at: datetime
    until: datetime | None = None
    catch_up: CatchUp = "skip"
    switch: str | None = None


class CatchingUp(Value, frozen=True, kw_only=True):
    """What is left to be done of a pause that has ended: what fell due by its end is decided by this alone.

    Attributes:
        policy: `latest` or `all`.
        to: when the pause ended.
        left: how many of those occurrences may still run.
    """

    policy: CatchUp
    to: datetime
    left: int = CATCH_UP_MAX


class Skip(Value, frozen=True, kw_only=True):
    """An occurrence that somebody wants skipped: who, when and why."""

    scheduled_for: datetime
    by: str
    reason: str
    at: datetime


class Erasure(Value, frozen=True, kw_only=True):
    """Who had the job's personal data erased, when and why."""

    by: str
    reason: str
    at: datetime


class Job(Value, frozen=True, kw_only=True, omit_defaults=True):
    """The fold of a job's events.

    Attributes:
        anchor_at: the instant its interval counts from.
        next_for: the first undecided occurrence; kept while paused.
        next_fires_at: when that fires; None: at its time.
        next_run_at: if that is to be skipped, when the first one fires that isn't; None: there is none.
        skipped: what somebody wants skipped, by time. An edit of the schedule leaves it: a date that is no occurrence
            any more does no harm.
        decided_to: the newest occurrence that was decided, under whatever schedule the job had then.
        active: unfinished runs, oldest first, of a job that follows its runs; but for those that wait.
        waiting: runs that are held until nothing is active, in the order in which they will run.
        stopping: those of `active` that are to end for the sake of one that waits.
        runs: how many of its occurrences were run.
        late_runs: how many of its occurrences were run later than the grace, since one was in time.
        failures: how many of its runs have failed since one succeeded; counted while `follows`.
        backfill: id of the backfill that is under way: one at a time, so that none asks for what another is about to.
        catching_up: until what fell due in a pause has been decided.
        erased: once nobody can read its personal data any more; it is deleted then.
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
    waiting: tuple[str, ...] = ()
    stopping: tuple[str, ...] = ()
    decided_to: datetime | None = None
    runs: int = 0
    late_runs: int = 0
    failures: int = 0
    backfill: str | None = None
    catching_up: CatchingUp | None = None
    next_fires_at: datetime | None = None
    next_run_at: datetime | None = None
    skipped: tuple[Skip, ...] = ()
    erased: Erasure | None = None

    @property
    def follows(self) -> bool:
        """Whether the ends of its runs advance the job too: some policy of it needs to know."""
        return self.spec.overlap_policy != "allow" or self.spec.pause_after_failures is not None

    @property
    def grace(self) -> timedelta:
        """What is later than this is a misfire."""
        return timedelta(seconds=self.spec.misfire_grace_seconds)

    @property
    def fires_next_at(self) -> datetime | None:
        """When the first undecided occurrence fires, whatever will be decided about it."""
        return self.next_fires_at or self.next_for

    @property
    def due_at(self) -> datetime | None:
        """When to wake it, or None: for its next occurrence, or at the end of its pause."""
        if self.status is Status.PAUSED:
            return None if self.paused is None else self.paused.until
        return self.fires_next_at if self.status is Status.PENDING else None

    @property
    def next_run_time(self) -> datetime | None:
        """When it runs next, as far as anybody knows now, or None."""
        if self.status is not Status.PENDING:
            return None
        return self.next_run_at if self.skips(self.next_for) else self.fires_next_at

    def skips(self, at: datetime | None) -> bool:
        """Whether somebody wants the occurrence at `at` skipped."""
        return any(skip.scheduled_for == at for skip in self.skipped)

    @property
    def over(self) -> bool:
        """Whether nothing will happen to it by itself: its snapshot may leave Redis after a day.

        Nobody waits where nothing is active.
        """
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
        return _on_ended(job, event, change)
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
        next_fires_at=event.next_fires_at,
        next_run_at=event.next_run_at,
    )


def _on_ended(job: Job, event: Event, change: Change) -> Job:
    gone = change.subject.removeprefix("run:")
    return replace(
        job,
        active=_without(job.active, gone),
        waiting=_without(job.waiting, gone),
        stopping=_without(job.stopping, gone),
        failures=_failures(job.failures, event),
    )


def _without(runs: tuple[str, ...], gone: str) -> tuple[str, ...]:
    return tuple(run for run in runs if run != gone) if gone in runs else runs


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
        next_fires_at=event.next_fires_at,
        next_run_at=event.next_run_at,
        status=Status.PENDING if revived else job.status,
    )


def _on_paused(job: Job, event: JobPaused, _: Change) -> Job:
    pause = Pause(
        by=event.by,
        reason=event.reason,
        at=event.paused_at,
        until=event.until,
        catch_up=event.catch_up,
        switch=event.switch,
    )
    return replace(job, status=Status.PAUSED, paused=pause, updated_at=event.paused_at, catching_up=None)


def _on_resumed(job: Job, event: JobResumed, _: Change) -> Job:
    resumed = replace(job, status=Status.PENDING, paused=None, updated_at=event.resumed_at, failures=0)
    if event.catch_up == "skip":
        return resumed
    return _caught_up(resumed, CatchingUp(policy=event.catch_up, to=event.resumed_at))


def _caught_up(job: Job, catching: CatchingUp) -> Job:
    """The job, which has nothing more to catch up once what is next fires after its pause."""
    fires = job.fires_next_at
    return replace(job, catching_up=catching if fires is not None and fires <= catching.to else None)


def _on_deleted(job: Job, event: JobDeleted, _: Change) -> Job:
    return replace(_nothing_ahead(job), status=Status.DELETED, updated_at=event.deleted_at)


def _on_erased(job: Job, event: PersonalDataErased, _: Change) -> Job:
    erasure = Erasure(by=event.by, reason=event.reason, at=event.erased_at)
    return replace(job, erased=erasure, updated_at=event.erased_at)


def _on_completed(job: Job, _: JobCompleted, __: Change) -> Job:
    return replace(_nothing_ahead(job), status=Status.COMPLETED, paused=None)


def _nothing_ahead(job: Job) -> Job:
    return replace(job, next_for=None, next_fires_at=None, next_run_at=None, skipped=())


def _on_skipped(job: Job, event: OccurrencesSkipped, _: Change) -> Job:
    return _decided(job, event, event.to)


def _decided(job: Job, event: OccurrencesSkipped | RunRequested, to: datetime) -> Job:
    """Nothing up to `to` is ahead any more; the event says what is."""
    decided = replace(
        job,
        next_for=event.next_for,
        next_fires_at=event.next_fires_at,
        next_run_at=event.next_run_at,
        decided_to=to,
        skipped=tuple(skip for skip in job.skipped if skip.scheduled_for > to) if job.skipped else (),
    )
    return decided if job.catching_up is None else _caught_up(decided, job.catching_up)


def _on_excluded(job: Job, event: OccurrenceExcluded, _: Change) -> Job:
    skip = Skip(scheduled_for=event.scheduled_for, by=event.by, reason=event.reason, at=event.excluded_at)
    others = _skipped_but(job, event.scheduled_for)
    skipped = tuple(sorted((*others, skip), key=lambda each: each.scheduled_for))
    return replace(job, skipped=skipped, next_run_at=event.next_run_at, updated_at=event.excluded_at)


def _on_included(job: Job, event: OccurrenceIncluded, _: Change) -> Job:
    skipped = _skipped_but(job, event.scheduled_for)
    return replace(job, skipped=skipped, next_run_at=event.next_run_at, updated_at=event.included_at)


def _skipped_but(job: Job, at: datetime) -> tuple[Skip, ...]:
    return tuple(skip for skip in job.skipped if skip.scheduled_for != at)


def _on_replanned(job: Job, event: ScheduleReplanned, _: Change) -> Job:
    return replace(
        job,
        next_for=event.next_for,
        next_fires_at=event.next_fires_at,
        next_run_at=event.next_run_at,
        skipped=moved_with(job.skipped, event.was_for, event.next_for),
    )


def moved_with(skipped: tuple[Skip, ...], was_for: datetime, next_for: datetime | None) -> tuple[Skip, ...]:
    """What is to be skipped after an occurrence has moved: if that was to be, it still is."""
    if next_for is None:
        return ()
    return tuple(
        replace(skip, scheduled_for=next_for) if skip.scheduled_for == was_for else skip for skip in skipped
    )


def _on_requested(job: Job, event: RunRequested, change: Change) -> Job:
    run_id = change.subject.removeprefix("run:")
    scheduled = event.trigger == "schedule"
    late_runs = _late_runs(job, event) if scheduled else job.late_runs
    if scheduled:
        if job.catching_up is not None:
            job = replace(job, catching_up=replace(job.catching_up, left=job.catching_up.left - 1))
        job = _decided(job, event, event.scheduled_for)
    return replace(
        job,
        runs=job.runs + scheduled,
        late_runs=late_runs,
        active=(*job.active, run_id) if event.follows and not event.held else job.active,
        waiting=(*job.waiting, run_id) if event.held else job.waiting,
    )


def _on_backfill_requested(job: Job, _: BackfillRequested, change: Change) -> Job:
    return replace(job, backfill=change.subject.removeprefix("backfill:"))


def _on_backfill_over(job: Job, _: Event, __: Change) -> Job:
    return replace(job, backfill=None)


def _on_released(job: Job, _: RunQueued, change: Change) -> Job:
    """Only the end of a wait advances the job: other runs that are queued again were active all the time."""
    run_id = change.subject.removeprefix("run:")
    return replace(job, waiting=_without(job.waiting, run_id), active=(*job.active, run_id))


def _on_stopping(job: Job, _: RunCancelRequested, change: Change) -> Job:
    return replace(job, stopping=(*job.stopping, change.subject.removeprefix("run:")))


def _late_runs(job: Job, event: RunRequested) -> int:
    """Of the misfire policy: what is caught up after a pause is none of it."""
    if job.catching_up is not None:
        return job.late_runs
    return job.late_runs + 1 if event.requested_at - event.fires_at > job.grace else 0


_STEPS: dict[type[Event], Callable[..., Job]] = {
    JobUpdated: _on_updated,
    JobPaused: _on_paused,
    JobResumed: _on_resumed,
    JobDeleted: _on_deleted,
    PersonalDataErased: _on_erased,
    JobCompleted: _on_completed,
    OccurrencesSkipped: _on_skipped,
    OccurrenceExcluded: _on_excluded,
    OccurrenceIncluded: _on_included,
    ScheduleReplanned: _on_replanned,
    RunRequested: _on_requested,
    BackfillRequested: _on_backfill_requested,
    BackfillCompleted: _on_backfill_over,
    BackfillCancelled: _on_backfill_over,
    RunQueued: _on_released,
    RunCancelRequested: _on_stopping,
}
