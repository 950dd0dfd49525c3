"""What commands on a job lead to: what is due is settled first, then comes the command's own event."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from shared.domain import backfilling, erasing, overlaps, pausing, requesting, skipping
from shared.domain.ahead import Ahead, announced
from shared.domain.calendars import NONE, refuse_unknown
from shared.domain.commands import (
    CreateJob,
    DeleteJob,
    Edit,
    EraseJob,
    FollowRun,
    JobCommand,
    PauseJob,
    ReplanJob,
    RequestBackfill,
    ResumeJob,
    RetryRun,
    SkipOccurrence,
    SuspendJob,
    TriggerJob,
    UnskipOccurrence,
    UpdateJob,
    Wake,
)
from shared.domain.events import (
    Change,
    Decision,
    JobCreated,
    JobDeleted,
    JobUpdated,
)
from shared.domain.job import Job, Status
from shared.domain.refusals import IllegalTransition, NeverFires, NoSuchJob, Paused, StaleRevision
from shared.domain.replanning import replanned
from shared.domain.schedule import Schedule, is_occurrence, next_after
from shared.domain.settling import Settling

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from shared.domain.calendars import Seen
    from shared.domain.events import SkipReason
    from shared.domain.spec import JobSpec

# What fell due in a pause is none of their business.
_LEAVES_PAUSED = (
    Wake,
    PauseJob,
    ReplanJob,
    TriggerJob,
    FollowRun,
    RetryRun,
    RequestBackfill,
    SkipOccurrence,
    UnskipOccurrence,
)


def decide(
    job: Job | None, command: JobCommand, now: datetime, *, calendars: Mapping[str, Seen] = NONE
) -> Decision:
    """The events that `command` leads to at `now`, those of what is due first.

    Args:
        job: as it stands.
        command: the wish.
        now: when.
        calendars: those that `calendars.named` names, by name.

    Raises:
        Refused: the command doesn't fit; nothing is to be written.
    """
    if isinstance(command, CreateJob):
        refuse_unknown(command.spec.schedule, calendars)
        return Decision(changes=_create(job, command, now))
    if job is None or job.status is Status.DELETED:
        return _of_deleted(job, command, now)
    if isinstance(command, Edit):
        _refuse_stale(job, command)
        _refuse_unknown(job, command, calendars)
    if isinstance(command, SuspendJob):
        return Decision(changes=tuple(pausing.suspended(job, command, now)))
    due = Settling(job, now, keep_paused=_leaves_paused(job, command), calendars=calendars)
    due.settle()
    if not due.settled:
        return Decision(changes=tuple(due.changes), settled=isinstance(command, Wake))
    if reason := _drops_what_has_begun(due.job, command, now):
        due.drop_begun(reason)
    sake = _to_end_all(due.job, command)
    if sake is not None and not _make_way(due, sake, now):  # more than a unit takes
        return Decision(changes=tuple(due.changes), settled=False)
    due.add(*_own(due.job, command, now))
    due.complete()
    return Decision(changes=tuple(due.changes))


def _of_deleted(job: Job | None, command: JobCommand, now: datetime) -> Decision:
    """What is still decided about a job that is deleted, or never was."""
    if isinstance(command, Wake):
        return Decision()
    if job is not None and isinstance(command, EraseJob):
        return Decision(changes=tuple(erasing.erased(job, command, now)))
    raise NoSuchJob


def _leaves_paused(job: Job, command: JobCommand) -> bool:
    """Whether what fell due in the job's pause stays undecided."""
    if isinstance(command, ResumeJob):
        return pausing.leaves_undecided(job, command)
    if isinstance(command, UpdateJob):
        return _fires_alike(command.spec.pinned(job.id).schedule, job.spec.schedule)
    return isinstance(command, _LEAVES_PAUSED)


def _fires_alike(schedule: Schedule, before: Schedule) -> bool:
    """Whether an edited schedule leaves what was announced as it is."""
    return schedule.has_the_times_of(before) and schedule.jitter_seconds == before.jitter_seconds


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
        **announced(_first_for(spec, now, now), schedule=spec.schedule, job_id=command.job_id, anchor_at=now),
    )
    return (Change(subject=f"job:{command.job_id}", event=created),)


def _drops_what_has_begun(job: Job, command: JobCommand, now: datetime) -> SkipReason | None:
    """Why an occurrence whose time has come, and which jitter still holds back, will not run after `command`."""
    if job.next_for is None or job.next_for > now:
        return None
    match command:
        case DeleteJob() | EraseJob():
            return "deleted"
        case UpdateJob(spec=spec):
            schedule, before = spec.pinned(job.id).schedule, job.spec.schedule
            stays = schedule.has_the_times_of(before) or _begun(job, schedule, now) is not None
            return None if stays else "edited"
        case _:
            return None


def _begun(job: Job, schedule: Schedule, now: datetime) -> datetime | None:
    """The occurrence whose time has come, and which jitter still holds back, if it is one of `schedule` too."""
    at = job.next_for
    if at is None or at > now or not is_occurrence(schedule, at, anchor_at=_anchor(job, schedule, now)):
        return None
    return at


def _anchor(job: Job, schedule: Schedule, now: datetime) -> datetime:
    """Where the interval of an edited schedule counts from."""
    before = job.spec.schedule
    keeps = schedule.has_the_times_of(before) or schedule.is_in_phase_with(before)
    return job.anchor_at if keeps else now


def _own(job: Job, command: JobCommand, now: datetime) -> list[Change]:
    """The events of the command itself, on a job that has nothing due."""
    subject = f"job:{job.id}"
    match command:
        case UpdateJob(spec=spec) if (spec := spec.pinned(job.id)) != job.spec:
            return [Change(subject=subject, event=_updated(job, spec, now))]
        case PauseJob():
            return pausing.paused(job, command, now)
        case ResumeJob():
            return pausing.resumed(job, command, now)
        case SkipOccurrence() | UnskipOccurrence():
            return skipping.decide(job, command, now)
        case ReplanJob():
            return replanned(job, command, now)
        case DeleteJob(by=by):
            return _deleted(job, by, now)
        case EraseJob(by=by):
            return [*_deleted(job, by, now), *erasing.erased(job, command, now)]
        case TriggerJob() | FollowRun() | RetryRun():
            return [requesting.requested(job, command, now)]
        case RequestBackfill():
            return list(backfilling.requested(job, command, now))
        case _:
            return []


def _deleted(job: Job, by: str, now: datetime) -> list[Change]:
    deleted = Change(subject=f"job:{job.id}", event=JobDeleted(by=by, deleted_at=now))
    return [*_backfill_ended(job, by, now), deleted]


def _backfill_ended(job: Job, by: str, now: datetime) -> list[Change]:
    """A job that is deleted takes the backfill that is under way with it."""
    if job.backfill is None:
        return []
    return [backfilling.cancelled(job.backfill, job.id, by=by, reason="its job was deleted", now=now)]


def _refuse_unknown(job: Job, command: Edit, calendars: Mapping[str, Seen]) -> None:
    if isinstance(command, UpdateJob):
        refuse_unknown(command.spec.schedule, calendars, job.spec.schedule)


def _refuse_stale(job: Job, command: Edit) -> None:
    if command.if_revision is not None and job.revision not in command.if_revision:
        raise StaleRevision(current=str(job.revision))


def _updated(job: Job, spec: JobSpec, now: datetime) -> JobUpdated:
    if spec.job_type != job.spec.job_type:
        raise IllegalTransition("job_type is fixed after creation; make another job", current=job.status)
    schedule = spec.schedule
    anchor_at = _anchor(job, schedule, now)
    return JobUpdated(
        spec=spec,
        revision=job.revision + 1,
        updated_at=now,
        anchor_at=anchor_at,
        **_ahead(job, spec, anchor_at, now),
    )


def _ahead(job: Job, spec: JobSpec, anchor_at: datetime, now: datetime) -> Ahead:
    """What is ahead of an edited job: what was announced, as long as the schedule has the same times."""
    schedule, before = spec.schedule, job.spec.schedule
    if _fires_alike(schedule, before):
        return Ahead(next_for=job.next_for, next_fires_at=job.next_fires_at, next_run_at=job.next_run_at)
    next_for = job.next_for
    if not schedule.has_the_times_of(before):
        begun = _begun(job, schedule, now)
        next_for = _first_for(spec, now, anchor_at, decided_to=job.decided_to, runs=job.runs, begun=begun)
    ahead = announced(next_for, schedule=schedule, job_id=job.id, anchor_at=anchor_at, skipped=job.skipped)
    if next_for is not None and next_for == job.next_for and next_for <= now:
        # With less jitter it would have fired before the edit: that must not make it late.
        ahead["next_fires_at"] = max(ahead["next_fires_at"] or next_for, now)
    return ahead


def _first_for(
    spec: JobSpec,
    now: datetime,
    anchor_at: datetime,
    *,
    decided_to: datetime | None = None,
    runs: int = 0,
    begun: datetime | None = None,
) -> datetime | None:
    """The first occurrence of a schedule that begins now, or has `begun` and isn't decided yet.

    A `run_at` just gone by counts, unless it was decided.
    """
    schedule = spec.schedule
    if schedule.kind == "none":
        return None
    after = now
    if schedule.run_at is not None:
        after = now - timedelta(seconds=spec.misfire_grace_seconds)
        after = after if decided_to is None else max(after, decided_to)
    first = begun or next_after(schedule, after, anchor_at=anchor_at)
    if first is None or schedule.is_used_up(runs):
        raise NeverFires
    return first


class _Sake(NamedTuple):
    """For whose sake, and why, runs are to end: those that wait, and if it `replaces` them those that are active."""

    by: str
    reason: str
    replaces: bool = False


def _to_end_all(job: Job, command: JobCommand) -> _Sake | None:
    """Why no run may wait when this command has been carried out; None: it leaves them alone.

    Raises:
        Refused: a run that the command asks for is neither to start nor to wait.
    """
    match command:
        case DeleteJob(by=by) | EraseJob(by=by):
            return _Sake(by, "its job was deleted")
        case FollowRun() if job.status is Status.PAUSED:
            raise Paused(current=job.status)
        case TriggerJob() | FollowRun() | RetryRun():
            overlaps.refuse(job, requesting.asked_policy(command))
            if requesting.policy(job, command) != "replace":
                return None
            return _Sake(overlaps.BY, overlaps.replaced_by(command.run_id), replaces=True)
        case _:
            return None


def _make_way(due: Settling, sake: _Sake, now: datetime) -> bool:
    """Whether all that is to end for this sake will; else there is more than a unit takes."""
    due.add(*overlaps.cancelled(due.job, by=sake.by, reason=sake.reason, now=now))
    if due.job.waiting or not sake.replaces:
        return not due.job.waiting
    due.add(*overlaps.stopped(due.job, by=sake.by, reason=sake.reason, now=now))
    return not overlaps.go_on(due.job)
