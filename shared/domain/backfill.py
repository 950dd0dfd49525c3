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

from datetime import datetime  # noqa: TC003 - the snapshot's codec reads these annotations
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec.structs import replace

from shared.domain.events import (
    BackfillAdvanced,
    BackfillCancelled,
    BackfillCompleted,
    BackfillRequested,
    Change,
    Which,
)
from shared.domain.run import Cancel
from shared.domain.spec import RunSpec  # noqa: TC001 - likewise
from shared.domain.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.domain.events import Event

TIMES_MAX = 10_000  # 140 KB of the 256 KB that an event may have; job_data takes 64 KB
PARALLEL_MAX = 100


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
