"""The ledger of runs: an execution as clients see it, folded from its events.

Times are those of the envelope (`at`, the commit), so that a rebuild gives the same row.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from msgspec.structs import astuple, replace

from services.projector.fingerprint import fingerprint
from shared.domain import ids
from shared.domain.events import (
    Event,
    Failure,
    RunCancelled,
    RunCancelRequested,
    RunExpired,
    RunFailed,
    RunHeld,
    RunInterrupted,
    RunLost,
    RunQueued,
    RunRequested,
    RunRetryPlanned,
    RunStarted,
    RunSucceeded,
)
from shared.domain.value import Value
from shared.eventlog.envelope import json_text, rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.eventlog.envelope import Recorded

Json = dict[str, Any]


class RunRow(Value, frozen=True):
    """A row of `ledger.runs`, in the order of its columns.

    Attributes:
        id_at: the time in the id.
        queued_at: when it entered a work stream last.
        started_at: of the latest attempt; `duration_ms` counts from it.
        lateness_ms: from `fires_at` to the first start: jitter isn't lateness, nor is the past of what is retried.
        attempts: one JSON object each, times as the API shows them.
        tenant: of the job; '' if that is not known.
        held: the limit that it waits for: reason, key and until.
    """

    id: str
    id_at: datetime
    partition: int
    job_id: str
    job_name: str
    job_type: str
    status: str
    trigger: str
    of: str | None
    revision: int
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    scheduled_for: datetime
    fires_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    lateness_ms: int | None
    result: str | None
    error: Json | None
    worker: str | None
    correlation_id: str
    attempts: tuple[Json, ...]
    epoch: int
    pos: int
    cancel: Json | None = None
    error_fingerprint: str | None = None
    tenant: str = ""
    backfill: str | None = None
    held: Json | None = None

    @property
    def ended(self) -> bool:
        """Whether its terminal event is folded in."""
        return self.finished_at is not None


def fold(row: RunRow | None, recorded: Recorded, event: Event, *, tenant: str = "") -> RunRow | None:
    """The row after an event about the run; None if its beginning isn't there (a ledger had refused it).

    Args:
        row: as it was before.
        recorded: the event as it is archived.
        event: what it says.
        tenant: of the job, as known now: a run's beginning takes it over.

    Raises:
        BadId: the id of the run or its job isn't one of ours.
    """
    at = ids.from_ms(recorded.at)
    if isinstance(event, RunRequested):
        return _requested(recorded, event, at, tenant)
    if row is None:
        return None
    step = _STEPS.get(type(event))
    row = step(row, event, at) if step else row
    return replace(row, epoch=recorded.position.epoch, pos=recorded.position.pos)


def stored(row: RunRow) -> tuple[Any, ...]:
    """The values of the row's columns, JSON as text."""
    error = None if row.error is None else json_text(row.error)
    cancel = None if row.cancel is None else json_text(row.cancel)
    held = None if row.held is None else json_text(row.held)
    return astuple(replace(row, error=error, cancel=cancel, attempts=json_text(row.attempts), held=held))


def loaded(record: tuple[Any, ...]) -> RunRow:
    """The row as it was stored."""
    row = RunRow(*record)
    return replace(
        row,
        id=str(row.id),
        job_id=str(row.job_id),
        error=None if row.error is None else json.loads(row.error),  # type: ignore[arg-type]
        cancel=None if row.cancel is None else json.loads(row.cancel),  # type: ignore[arg-type]
        attempts=tuple(json.loads(row.attempts)),  # type: ignore[arg-type]
        backfill=None if row.backfill is None else str(row.backfill),
        held=None if row.held is None else json.loads(row.held),  # type: ignore[arg-type]
    )


def _requested(recorded: Recorded, event: RunRequested, at: datetime, tenant: str) -> RunRow:
    run_id = ids.parse(recorded.subject.removeprefix("run/"))
    return RunRow(
        id=run_id,
        id_at=ids.time_of(run_id),
        partition=recorded.partition,
        job_id=ids.parse(event.job_id),
        job_name=event.spec.job_name,
        job_type=event.spec.job_type,
        status="held" if event.held else "queued",
        trigger=event.trigger,
        of=event.of,
        revision=event.revision,
        queue=event.spec.queue,
        priority=event.spec.priority,
        attempt=0,
        max_attempts=event.spec.retry.max_retries + 1,
        scheduled_for=event.scheduled_for,
        fires_at=event.fires_at,
        queued_at=None if event.held else at,
        started_at=None,
        finished_at=None,
        duration_ms=None,
        lateness_ms=None,
        result=None,
        error=None,
        worker=None,
        correlation_id=event.correlation_id,
        attempts=(),
        epoch=recorded.position.epoch,
        pos=recorded.position.pos,
        tenant=tenant,
        backfill=event.backfill,
    )


def _on_queued(row: RunRow, event: RunQueued, at: datetime) -> RunRow:
    return replace(row, status="queued", queue=event.queue, priority=event.priority, queued_at=at, held=None)


def _on_held(row: RunRow, event: RunHeld, _: datetime) -> RunRow:
    return replace(
        row, status="held", held={"reason": event.reason, "key": event.key, "until": rfc3339(event.until)}
    )


def _on_started(row: RunRow, event: RunStarted, at: datetime) -> RunRow:
    begun = {
        "attempt": event.attempt,
        "worker": event.worker,
        "started_at": rfc3339(at),
        "finished_at": None,
        "outcome": None,
        "error": None,
    }
    return replace(
        row,
        status="running",
        attempt=event.attempt,
        worker=event.worker,
        started_at=at,
        lateness_ms=row.lateness_ms if row.attempts else max(0, _ms_between(row.fires_at, at)),
        attempts=(*row.attempts, begun),
    )


def _on_succeeded(row: RunRow, event: RunSucceeded, at: datetime) -> RunRow:
    result = None if event.result is None else json_text(event.result)
    row = replace(row, status="succeeded", result=result, error=None)
    return _ended(_attempt_over(row, "succeeded", at), at)


def _on_failed(row: RunRow, event: RunFailed, at: datetime) -> RunRow:
    mark = fingerprint(event.error.class_, event.error.message)
    row = replace(row, status="failed", error=_told(event.error), error_fingerprint=mark)
    return _ended(_attempt_over(row, "failed", at, event.error), at)


def _on_retry_planned(row: RunRow, event: RunRetryPlanned, at: datetime) -> RunRow:
    row = replace(row, status="retrying", error=_told(event.error))
    return _attempt_over(row, "failed", at, event.error)


def _on_lost(row: RunRow, _: RunLost, at: datetime) -> RunRow:
    return _attempt_over(row, "lost", at)


def _on_interrupted(row: RunRow, _: RunInterrupted, at: datetime) -> RunRow:
    return _attempt_over(row, "interrupted", at)


def _on_cancel_requested(row: RunRow, event: RunCancelRequested, _: datetime) -> RunRow:
    """The first wish is the one that its end will name."""
    return replace(row, cancel=row.cancel or _wished(event.by, event.requested_at, event.reason))


def _on_cancelled(row: RunRow, event: RunCancelled, at: datetime) -> RunRow:
    row = replace(row, status="cancelled", cancel=_wished(event.by, event.cancelled_at, event.reason))
    return _ended(_attempt_over(row, "cancelled", at), at)


def _on_expired(row: RunRow, _: RunExpired, at: datetime) -> RunRow:
    return _ended(replace(row, status="expired"), at)


def _wished(by: str, at: datetime, reason: str) -> Json:
    return {"by": by, "at": rfc3339(at), "reason": reason}


def _ended(row: RunRow, at: datetime) -> RunRow:
    took_ms = None if row.started_at is None else _ms_between(row.started_at, at)
    return replace(row, finished_at=at, duration_ms=took_ms, held=None)


def _attempt_over(row: RunRow, outcome: str, at: datetime, error: Failure | None = None) -> RunRow:
    """The latest attempt with its outcome; one that was lost stays so, also where the run fails of it."""
    if not row.attempts or row.attempts[-1]["outcome"] is not None:
        return row
    last = row.attempts[-1] | {
        "finished_at": rfc3339(at),
        "outcome": outcome,
        "error": None if error is None else _told(error),
    }
    return replace(row, attempts=(*row.attempts[:-1], last))


def _ms_between(start: datetime, end: datetime) -> int:
    return ids.to_ms(end) - ids.to_ms(start)


def _told(failure: Failure) -> Json:
    return {"class": failure.class_, "message": failure.message}


_STEPS: dict[type[Event], Callable[..., RunRow]] = {
    RunQueued: _on_queued,
    RunHeld: _on_held,
    RunStarted: _on_started,
    RunSucceeded: _on_succeeded,
    RunFailed: _on_failed,
    RunRetryPlanned: _on_retry_planned,
    RunLost: _on_lost,
    RunInterrupted: _on_interrupted,
    RunCancelRequested: _on_cancel_requested,
    RunCancelled: _on_cancelled,
    RunExpired: _on_expired,
}
