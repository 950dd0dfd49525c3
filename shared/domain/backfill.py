"""The backfill: occurrences of a job that have gone by, run as somebody wished, so many at a time.

```
 request ─▶ running ──── its last run has ended ────▶ completed
               │
               └─ cancel, or its job is deleted ────▶ cancelled     (its unfinished runs go on, and are counted)
```
Which occurrences, was found when it was requested. It is woken as long as it may ask for more runs than are unfinished;
the end of a run of it advances it in the same unit, and makes it due. So at every instant either it is due or a run of
it is unfinished: nothing has to look after it, and the oldest occurrence not asked for is its place after any crash.
A wake asks for runs and an end only counts, as ends must be taken where there is no room for new work.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec.structs import replace

from shared.domain import ids
from shared.domain.commands import BackfillCommand, CancelBackfill, RequestBackfill, Wake
from shared.domain.events import (
    TERMINAL,
    BackfillAdvanced,
    BackfillCancelled,
    BackfillCompleted,
    BackfillRequested,
    Change,
    Decision,
    RunRequested,
    RunSucceeded,
    Which,
)
from shared.domain.refusals import IllegalTransition, NoSuchBackfill
from shared.domain.run import Cancel
from shared.domain.spec import RunSpec, run_spec
from shared.domain.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from shared.domain.events import Event
    from shared.domain.job import Job

TIMES_MAX = (
    10_000  # occurrences; about 140 KB of the 256 KB that an event may have, 64 KB of which are job_data
)
PARALLEL_MAX = 100
RUNS_A_WAKE = 20  # each with a specification of up to 64 KB: more come with the next wake, at once


class Status(StrEnum):
    """Where a backfill stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class Wanted(Value, frozen=True, kw_only=True):
    """What doesn't change of a backfill; fields as in BackfillRequested."""

    tenant: str
    which: Which
    from_: datetime
    to: datetime
    times: tuple[int, ...]
    max_parallel: int
    revision: int
    runs: RunSpec
    by: str
    reason: str
    correlation_id: str
    requested_at: datetime


class Backfill(Value, frozen=True, kw_only=True):
    """The fold of a backfill's events.

    Attributes:
        requested: for how many of its occurrences it has asked for a run: the first ones.
        succeeded: how many of those have succeeded.
        failed: how many have ended otherwise.
        unfinished: ids of the others.
        advanced_at: when it asked for runs last, or one ended.
        finished_at: when it was completed or cancelled.
        cancel: who wanted no more of it, when and why.
    """

    id: str
    job_id: str
    spec: Wanted
    status: Status = Status.RUNNING
    requested: int = 0
    succeeded: int = 0
    failed: int = 0
    unfinished: tuple[str, ...] = ()
    advanced_at: datetime
    finished_at: datetime | None = None
    cancel: Cancel | None = None

    @property
    def tenant(self) -> str:
        """Whose its job is."""
        return self.spec.tenant

    @property
    def room(self) -> int:
        """How many runs it may ask for now."""
        if self.status is not Status.RUNNING:
            return 0
        return min(self.spec.max_parallel - len(self.unfinished), len(self.spec.times) - self.requested)

    @property
    def due_at(self) -> datetime | None:
        """When to wake it: at once, if it may ask for runs; else the end of one will."""
        return self.advanced_at if self.room > 0 else None

    @property
    def over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.status is not Status.RUNNING and not self.unfinished


# Deciding.


def requested(job: Job, command: RequestBackfill, now: datetime) -> tuple[Change, ...]:
    """The events that a backfill of `job` begins with; one without occurrences ends with them, too.

    Raises:
        IllegalTransition: another of the job is under way: what that is going to ask for can't be known to be missing.
    """
    if job.backfill is not None:
        raise IllegalTransition(
            f"backfill {job.backfill} of this job is under way: wait for its end, or cancel it",
            current="running",
        )
    event = BackfillRequested(
        job_id=job.id,
        tenant=job.tenant,
        which=command.which,
        from_=command.from_,
        to=command.to,
        times=command.times,
        max_parallel=command.max_parallel,
        revision=job.revision,
        spec=run_spec(job.spec, job_data=command.job_data, priority=command.priority),
        by=command.by,
        reason=command.reason,
        correlation_id=command.correlation_id,
        requested_at=now,
    )
    events: list[Event] = [event]
    if not command.times:
        events.append(BackfillCompleted(succeeded=0, failed=0, completed_at=now))
    return tuple(_change(command.backfill_id, job.id, each, both=True) for each in events)


def cancelled(backfill_id: str, job_id: str, *, by: str, reason: str, now: datetime) -> Change:
    """The end of a backfill that is under way."""
    event = BackfillCancelled(by=by, reason=reason, cancelled_at=now)
    return _change(backfill_id, job_id, event, both=True)


def decide(backfill: Backfill | None, command: BackfillCommand, now: datetime) -> Decision:
    """The events that `command` leads to at `now`.

    Raises:
        Refused: the command doesn't fit; nothing is to be written.
    """
    match command:
        case Wake():
            return Decision(changes=() if backfill is None else _asked_for(backfill, now))
        case CancelBackfill() if backfill is None:
            raise NoSuchBackfill
        case CancelBackfill() if backfill.status is Status.CANCELLED:
            return Decision()
        case CancelBackfill() if backfill.status is Status.COMPLETED:
            raise IllegalTransition(f"backfill {backfill.id} is completed already", current=backfill.status)
        case CancelBackfill(by=by, reason=reason):
            return Decision(changes=(cancelled(backfill.id, backfill.job_id, by=by, reason=reason, now=now),))


def after_ends(backfill: Backfill, changes: Iterable[Change], now: datetime) -> tuple[Change, ...]:
    """What `changes`, of which some are ends of runs of this backfill, lead to on it."""
    ends = [
        change
        for change in changes
        if isinstance(change.event, TERMINAL) and change.subject.removeprefix("run:") in backfill.unfinished
    ]
    if not ends:
        return ()
    succeeded = sum(isinstance(change.event, RunSucceeded) for change in ends)
    advanced = BackfillAdvanced(
        requested=backfill.requested,
        succeeded=backfill.succeeded + succeeded,
        failed=backfill.failed + len(ends) - succeeded,
        ended=tuple(change.subject.removeprefix("run:") for change in ends),
        advanced_at=now,
    )
    counted = _change(backfill.id, backfill.job_id, advanced)
    after = evolve(backfill, counted)
    is_last = after.status is Status.RUNNING and not after.unfinished
    if not is_last or after.requested < len(after.spec.times):
        return (counted,)
    completed = BackfillCompleted(succeeded=after.succeeded, failed=after.failed, completed_at=now)
    return counted, _change(backfill.id, backfill.job_id, completed, both=True)


def _asked_for(backfill: Backfill, now: datetime) -> tuple[Change, ...]:
    """The next runs, as many as there is room for; what is told of all of them comes first."""
    first = backfill.requested
    times = backfill.spec.times[first : first + max(0, min(backfill.room, RUNS_A_WAKE))]
    if not times:
        return ()
    runs = [_run(backfill, ms, now) for ms in times]
    advanced = BackfillAdvanced(
        requested=first + len(runs),
        succeeded=backfill.succeeded,
        failed=backfill.failed,
        begun=tuple(change.subject.removeprefix("run:") for change in runs),
        advanced_at=now,
    )
    return _change(backfill.id, backfill.job_id, advanced), *runs


def _run(backfill: Backfill, ms: int, now: datetime) -> Change:
    at, wanted = ids.from_ms(ms), backfill.spec
    run_id = ids.derived_id(
        at, ids.partition_of(backfill.id), backfill.job_id, str(ms), "backfill", backfill.id
    )
    event = RunRequested(
        job_id=backfill.job_id,
        scheduled_for=at,
        fires_at=now,
        trigger="backfill",
        of=at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        revision=wanted.revision,
        spec=wanted.runs,
        follows=False,
        correlation_id=wanted.correlation_id or run_id,
        requested_at=now,
        backfill=backfill.id,
    )
    return Change(subject=f"run:{run_id}", event=event, job=backfill.job_id)


def _change(backfill_id: str, job_id: str, event: Event, *, both: bool = False) -> Change:
    return Change(subject=f"backfill:{backfill_id}", event=event, job=job_id, both=both)


# Evolving.


def evolve(backfill: Backfill | None, change: Change) -> Backfill:
    """The backfill after an event of it; what doesn't concern it leaves it as it is.

    Raises:
        ValueError: the first event of a backfill is not its BackfillRequested (a log that is no log of ours).
    """
    event = change.event
    if isinstance(event, BackfillRequested):
        return _born(change.subject.removeprefix("backfill:"), event)
    if backfill is None:
        raise ValueError(f"{type(event).__name__} on {change.subject} before any BackfillRequested")
    step = _STEPS.get(type(event))
    return step(backfill, event) if step else backfill


def _born(backfill_id: str, event: BackfillRequested) -> Backfill:
    wanted = Wanted(
        tenant=event.tenant,
        which=event.which,
        from_=event.from_,
        to=event.to,
        times=event.times,
        max_parallel=event.max_parallel,
        revision=event.revision,
        runs=event.spec,
        by=event.by,
        reason=event.reason,
        correlation_id=event.correlation_id,
        requested_at=event.requested_at,
    )
    return Backfill(id=backfill_id, job_id=event.job_id, spec=wanted, advanced_at=event.requested_at)


def _on_advanced(backfill: Backfill, event: BackfillAdvanced) -> Backfill:
    left = tuple(run for run in backfill.unfinished if run not in event.ended)
    return replace(
        backfill,
        requested=event.requested,
        succeeded=event.succeeded,
        failed=event.failed,
        unfinished=left + event.begun,
        advanced_at=event.advanced_at,
    )


def _on_completed(backfill: Backfill, event: BackfillCompleted) -> Backfill:
    return replace(backfill, status=Status.COMPLETED, finished_at=event.completed_at)


def _on_cancelled(backfill: Backfill, event: BackfillCancelled) -> Backfill:
    cancel = Cancel(by=event.by, reason=event.reason, at=event.cancelled_at)
    return replace(backfill, status=Status.CANCELLED, finished_at=cancel.at, cancel=cancel)


_STEPS: dict[type[Event], Callable[..., Backfill]] = {
    BackfillAdvanced: _on_advanced,
    BackfillCompleted: _on_completed,
    BackfillCancelled: _on_cancelled,
}
