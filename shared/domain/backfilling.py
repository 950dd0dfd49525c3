"""What commands on a backfill, and the ends of its runs, lead to: as many runs at a time as may be, each once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared.domain import ids
from shared.domain.backfill import Status, evolve
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
)
from shared.domain.refusals import IllegalTransition, NoSuchBackfill
from shared.domain.spec import run_spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.domain.backfill import Backfill
    from shared.domain.events import Event
    from shared.domain.job import Job

RUNS_A_WAKE = 20  # each with a specification of up to 64 KB: more come with the next wake, at once


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
        spec=run_spec(job.spec, tenant=job.tenant, job_data=command.job_data, priority=command.priority),
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
