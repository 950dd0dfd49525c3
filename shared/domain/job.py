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
`now`, in the same unit, so that no edit, pause or delete swallows an occurrence (DESIGN §6.1).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec.structs import replace

from shared.domain import ids
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
    TERMINAL,
    Change,
    Decision,
    Event,
    JobCompleted,
    JobCreated,
    JobDeleted,
    JobPaused,
    JobResumed,
    JobUpdated,
    OccurrencesSkipped,
    RunRequested,
    SkipReason,
)
from shared.domain.refusals import IllegalTransition, NeverFires, NoSuchJob, Overlaps, StaleRevision
from shared.domain.schedule import clock_notes, next_after
from shared.domain.spec import CATCH_UP_MAX, JobSpec, run_spec
from shared.domain.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.domain.spec import OverlapPolicy
    from shared.domain.walk import ClockNote

FIRES_A_WAKE = 50  # a unit of this many runs is about 1 ms of script (DESIGN §5.2: 5 ms a batch)
WALK_A_WAKE = 1_000  # occurrences looked at; a longer backlog is settled in several units
_LEAVES_PAUSED = (Wake, PauseJob, TriggerJob, RetryRun)  # what fell due in a pause is none of their business


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

    @property
    def follows(self) -> bool:
        """Whether the ends of its runs advance the job too: some policy of it needs to know."""
        return self.spec.overlap_policy != "allow"

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


# Deciding.


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
    due = _Settling(job, now, keep_paused=isinstance(command, _LEAVES_PAUSED))
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


class _Settling:
    """What is due on one job at one instant, decided occurrence by occurrence.

    It keeps the job as it stands after each change, so that the overlap rule sees the runs of this very wake.
    """

    def __init__(self, job: Job, now: datetime, *, keep_paused: bool) -> None:
        self.job = job
        self.now = now
        self.changes: list[Change] = []
        self._keep_paused = keep_paused

    @property
    def settled(self) -> bool:
        """Whether nothing is due any more."""
        next_for = self.job.next_for
        return next_for is None or next_for > self.now or not self._counts

    @property
    def _counts(self) -> bool:
        """Whether occurrences are decided now: a paused job's only when something is to change that."""
        return self.job.status is Status.PENDING or (
            self.job.status is Status.PAUSED and not self._keep_paused
        )

    def add(self, *changes: Change) -> None:
        for change in changes:
            self.job = evolve(self.job, change)
            self.changes.append(change)

    def settle(self) -> None:
        if self.settled:
            return
        due, following = self._due()
        if self.job.status is Status.PAUSED:
            self._skip(due, following, "paused")
        else:
            self._misfired_then_fresh(due, following)
        if self.job.next_for is None:
            self.add(Change(subject=f"job:{self.job.id}", event=JobCompleted()))

    def _due(self) -> tuple[list[datetime], datetime | None]:
        """Undecided occurrences up to now, at most WALK_A_WAKE, and the one after them."""
        first = self.job.next_for
        assert first is not None  # noqa: S101 - `settled` has said so
        schedule, anchor = self.job.spec.schedule, self.job.anchor_at
        # What was announced stays announced: `first` was computed when its predecessor was decided, and
        # is not computed again here, where newer zone tables might disagree.
        due = [first]
        following = next_after(schedule, first, anchor_at=anchor)
        while following is not None and following <= self.now and len(due) < WALK_A_WAKE:
            due.append(following)
            following = next_after(schedule, following, anchor_at=anchor)
        return due, following

    def _misfired_then_fresh(self, due: list[datetime], following: datetime | None) -> None:
        """What is later than the grace is up to the misfire policy; of `latest`, the newest that is due may run."""
        limit = self.now - self.job.grace
        late = sum(1 for at in due if at < limit)
        dropped = late
        match self.job.spec.misfire_policy:
            case "latest":
                newer_is_due = late < len(due) or (following is not None and following <= self.now)
                dropped = late if newer_is_due else late - 1
            case "all" if (room := min(late, CATCH_UP_MAX - self.job.late_runs)) > 0:
                self._fire(due[:room], (due + [following])[room])  # noqa: RUF005
                return  # the rest stays due: the next wake has it
        if dropped > 0:
            self._skip(due[:dropped], (due + [following])[dropped], "misfire")  # noqa: RUF005
            due = due[dropped:]
        self._fire(due, following)

    def _fire(self, due: list[datetime], following: datetime | None) -> None:
        afters = [*due[1:], following]
        blocked_from = 0
        for index, at in enumerate(due[:FIRES_A_WAKE]):
            if self.job.spec.overlap_policy == "skip" and self.job.active:
                break
            is_last = self.job.spec.schedule.is_used_up(self.job.runs + 1)
            self.add(self._requested(at, None if is_last else afters[index]))
            if is_last:  # those after it are no occurrences
                return
            blocked_from = index + 1
        if self.job.spec.overlap_policy == "skip" and due[blocked_from:]:
            self._skip(due[blocked_from:], following, "overlap", by=self.job.active[0])

    def _requested(self, at: datetime, following: datetime | None) -> Change:
        job = self.job
        run_id = ids.derived_id(at, ids.partition_of(job.id), job.id, str(ids.to_ms(at)), "schedule")
        event = RunRequested(
            job_id=job.id,
            scheduled_for=at,
            fires_at=at,
            trigger="schedule",
            revision=job.revision,
            spec=run_spec(job.spec),
            follows=job.follows,
            correlation_id=run_id,
            requested_at=self.now,
            next_for=following,
            clock=self._clock([at]),
        )
        return Change(subject=f"run:{run_id}", event=event, job=job.id, both=True)

    def _skip(
        self, due: list[datetime], following: datetime | None, reason: SkipReason, by: str | None = None
    ) -> None:
        if not due:
            return
        event = OccurrencesSkipped(
            from_=due[0],
            to=due[-1],
            count=len(due),
            reason=reason,
            by=by,
            next_for=following,
            clock=self._clock(due),
        )
        self.add(Change(subject=f"job:{self.job.id}", event=event))

    def _clock(self, due: list[datetime]) -> tuple[ClockNote, ...]:
        """What was done where clocks changed, between the occurrence that was decided last and the last of `due`."""
        job = self.job
        since = job.anchor_at if job.decided_to is None else max(job.anchor_at, job.decided_to)
        return clock_notes(job.spec.schedule, since, due)


# Evolving.


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
        return replace(job, active=_without(job.active, change.subject))
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
    return replace(job, status=Status.PENDING, paused=None, updated_at=event.resumed_at)


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
