"""The ledger of backfills. A batch's rows need nothing that was before: progress is told in full each time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from shared.domain.events import BackfillAdvanced, BackfillCancelled, BackfillCompleted, BackfillRequested
from shared.domain.value import Value
from shared.eventlog.envelope import json_text, rfc3339
from shared.eventlog.position import Position  # noqa: TC001 - the codec reads these annotations

if TYPE_CHECKING:
    from shared.domain.events import Change
    from shared.eventlog.envelope import Recorded


class BackfillRow(Value, frozen=True, kw_only=True):
    """What a batch says of one backfill; None: nothing.

    Attributes:
        position: of the last event folded in.
    """

    job_id: str
    begun: BackfillRequested | None = None
    advanced: BackfillAdvanced | None = None
    ended: BackfillCompleted | BackfillCancelled | None = None
    position: Position


def fold(row: BackfillRow | None, recorded: Recorded, change: Change) -> BackfillRow | None:
    """The row after an event; as it was if that is of no backfill."""
    known = row or BackfillRow(job_id=change.job, position=recorded.position)
    match change.event:
        case BackfillRequested() as event:
            return replace(known, begun=event, position=recorded.position)
        case BackfillAdvanced() as event:
            return replace(known, advanced=event, position=recorded.position)
        case BackfillCompleted() | BackfillCancelled() as event:
            return replace(known, ended=event, position=recorded.position)
        case _:
            return row


def stored(backfill_id: str, row: BackfillRow, partition: int) -> tuple[Any, ...]:
    """The row of `ledger.backfills`, in the order of its columns."""
    begun = row.begun
    about = (
        (None, None, None, None) if begun is None else (begun.which, begun.from_, begun.to, len(begun.times))
    )
    fixed = (
        (None,) * 5
        if begun is None
        else (begun.max_parallel, begun.revision, begun.by, begun.reason, begun.requested_at)
    )
    return (
        backfill_id,
        partition,
        row.job_id,
        _status(row),
        *about,
        *_progress(row),
        *fixed,
        *_end(row),
        *row.position,
    )


def _status(row: BackfillRow) -> str | None:
    match row.ended:
        case BackfillCompleted():
            return "completed"
        case BackfillCancelled():
            return "cancelled"
        case _:
            return None if row.begun is None else "running"


def _progress(row: BackfillRow) -> tuple[int | None, ...]:
    if row.advanced is not None:
        return row.advanced.requested, row.advanced.succeeded, row.advanced.failed
    return (None, None, None) if row.begun is None else (0, 0, 0)


def _end(row: BackfillRow) -> tuple[Any, Any]:
    """When it was over, and the cancel if there was one."""
    match row.ended:
        case BackfillCompleted(completed_at=at):
            return at, None
        case BackfillCancelled(by=by, reason=reason, cancelled_at=at):
            return at, json_text({"by": by, "at": rfc3339(at), "reason": reason})
        case _:
            return None, None
