"""What commands on a job lead to: what is due is settled first, then comes the command's own event."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.domain.commands import (
    CreateJob,
    DeleteJob,
    Edit,
    JobCommand,
    PauseJob,
    ResumeJob,
    RetryRun,
    SuspendJob,
    TriggerJob,
    UpdateJob,
    Wake,
)
from shared.domain.events import (
    Change,
    Decision,
    JobCreated,
    JobDeleted,
    JobPaused,
    JobResumed,
    JobUpdated,
    RunRequested,
)
from shared.domain.job import Job, Status
from shared.domain.refusals import IllegalTransition, NeverFires, NoSuchJob, Overlaps, StaleRevision
from shared.domain.schedule import next_after
from shared.domain.settling import Settling
from shared.domain.spec import JobSpec, run_spec

if TYPE_CHECKING:
    from shared.domain.spec import OverlapPolicy

_LEAVES_PAUSED = (Wake, PauseJob, TriggerJob, RetryRun)  # what fell due in a pause is none of their business


def decide(job: Job | None, command: JobCommand, now: datetime) -> Decision:
    """The events that `command` leads to at `now`, those of what is due first.

    Raises:
        Refused: the command doesn't fit; nothing is to be written.
    """
    if isinstance(command, CreateJob):
        return Decision(changes=_create(job, command, now))
    if job is None or job.status is Status.DELETED:
        if isinstance(command, Wake):
            return Decision()
        raise NoSuchJob
    if isinstance(command, Edit):
        _refuse_stale(job, command)
    if isinstance(command, SuspendJob):
        return Decision(changes=tuple(_suspended(job, command, now)))
    due = Settling(job, now, keep_paused=isinstance(command, _LEAVES_PAUSED))
    due.settle()
    if not due.settled:
        return Decision(changes=tuple(due.changes), settled=isinstance(command, Wake))
    due.add(*_own(due.job, command, now))
    return Decision(changes=tuple(due.changes))


def _create(job: Job | None, command: CreateJob, now: datetime) -> tuple[Change, ...]:
    if job is not None:
        raise IllegalTransition(f"job {command.job_id} exists already", current=job.status)
    spec = command.spec.pinned(command.job_id)
    created = JobCreated(
        spec=spec,
        owner=command.owner,
        tenant=command.tenant,
        created_at=now,
        anchor_at=now,
        next_for=_first_for(spec, now, now),
    )
    return (Change(subject=f"job:{command.job_id}", event=created),)


def _own(job: Job, command: JobCommand, now: datetime) -> list[Change]:
    """The events of the command itself, on a job that has nothing due."""
    subject = f"job:{job.id}"
    match command:
        case UpdateJob(spec=spec) if (spec := spec.pinned(job.id)) != job.spec:
            return [Change(subject=subject, event=_updated(job, spec, now))]
        case PauseJob(by=by, reason=reason) if job.status is Status.PENDING:
            return [Change(subject=subject, event=JobPaused(by=by, reason=reason, paused_at=now))]
        case PauseJob() if job.status is Status.COMPLETED:
            raise IllegalTransition("the job is completed: it has no occurrence left", current=job.status)
        case ResumeJob(by=by) if job.status is Status.PAUSED:
            return [Change(subject=subject, event=JobResumed(by=by, resumed_at=now))]
        case DeleteJob(by=by):
            return [Change(subject=subject, event=JobDeleted(by=by, deleted_at=now))]
        case TriggerJob():
            return [_triggered(job, command, now)]
        case RetryRun():
            return [_retried(job, command, now)]
        case _:
            return []


def _refuse_stale(job: Job, command: Edit) -> None:
    if command.if_revision is not None and job.revision not in command.if_revision:
        raise StaleRevision(current=str(job.revision))


def _suspended(job: Job, command: SuspendJob, now: datetime) -> list[Change]:
    if job.status is not Status.PENDING:
        return []
    paused = JobPaused(by=command.by, reason=command.reason, paused_at=now)
    return [Change(subject=f"job:{job.id}", event=paused)]


def _updated(job: Job, spec: JobSpec, now: datetime) -> JobUpdated:
    if spec.job_type != job.spec.job_type:
        raise IllegalTransition("job_type is fixed after creation; make another job", current=job.status)
    schedule, before = spec.schedule, job.spec.schedule
    # A one-off that keeps its time is the occurrence it was, decided or not, in whatever zone it is shown.
    same = schedule == before or (schedule.run_at is not None and schedule.run_at == before.run_at)
    anchor_at = job.anchor_at if same or schedule.is_in_phase_with(before) else now
    return JobUpdated(
        spec=spec,
        revision=job.revision + 1,
        updated_at=now,
        anchor_at=anchor_at,
        next_for=job.next_for
        if same
        else _first_for(spec, now, anchor_at, decided_to=job.decided_to, runs=job.runs),
    )


def _first_for(
    spec: JobSpec, now: datetime, anchor_at: datetime, *, decided_to: datetime | None = None, runs: int = 0
) -> datetime | None:
    """The first occurrence of a schedule that begins now; a `run_at` just gone by counts, unless it was decided."""
    schedule = spec.schedule
    if schedule.kind == "none":
        return None
    after = now
    if schedule.run_at is not None:
        after = now - timedelta(seconds=spec.misfire_grace_seconds)
        after = after if decided_to is None else max(after, decided_to)
    first = next_after(schedule, after, anchor_at=anchor_at)
    if first is None or schedule.is_used_up(runs):
        raise NeverFires
    return first


def _triggered(job: Job, command: TriggerJob, now: datetime) -> Change:
    _refuse_overlap(job, command.overlap_policy)
    event = RunRequested(
        job_id=job.id,
        scheduled_for=now,
        fires_at=now,
        trigger="manual",
        revision=job.revision,
        spec=run_spec(job.spec, job_data=command.job_data, priority=command.priority),
        follows=job.follows,
        correlation_id=command.correlation_id,
        requested_at=now,
    )
    return Change(subject=f"run:{command.run_id}", event=event, job=job.id, both=job.follows)


def _retried(job: Job, command: RetryRun, now: datetime) -> Change:
    _refuse_overlap(job, command.overlap_policy)
    event = RunRequested(
        job_id=job.id,
        scheduled_for=command.scheduled_for,
        fires_at=now,
        trigger="retry",
        of=command.of,
        revision=command.revision,
        spec=command.spec,
        follows=job.follows,
        correlation_id=command.correlation_id,
        requested_at=now,
    )
    return Change(subject=f"run:{command.run_id}", event=event, job=job.id, both=job.follows)


def _refuse_overlap(job: Job, policy: OverlapPolicy | None) -> None:
    if (policy or job.spec.overlap_policy) == "skip" and job.active:
        raise Overlaps(current="running")
