"""A run's story in the log lines of whoever decides: a line for each step, all with the run's id.

```
 api or timer:  run requested ─▶ executor: attempt started ─▶ attempt succeeded ─▶ projector: runs archived
 api:           cancel requested, run cancelled        executor:  attempt failed, interrupted, cancelled
 executor:      run held (a limit), run queued (its release)
 timer:         run queued, run lost, run failed, run expired, run cancelled
```
What an executor and a projector say stands with them (`tally`, `partition`): it is more than their events tell.
"""

from __future__ import annotations

from logging import INFO, WARNING
from typing import TYPE_CHECKING, Any

from shared.domain.events import (
    RunCancelled,
    RunCancelRequested,
    RunExpired,
    RunFailed,
    RunHeld,
    RunLost,
    RunQueued,
    RunRequested,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from structlog.typing import FilteringBoundLogger

    from shared.domain.events import Change, Event

_STEPS: dict[type[Event], tuple[int, str]] = {
    RunRequested: (INFO, "run requested"),
    RunQueued: (INFO, "run queued"),
    RunHeld: (INFO, "run held"),
    RunCancelRequested: (INFO, "cancel requested"),
    RunCancelled: (INFO, "run cancelled"),
    RunLost: (WARNING, "run lost"),
    RunFailed: (WARNING, "run failed"),
    RunExpired: (WARNING, "run expired"),
}


def tell(log: FilteringBoundLogger, changes: Iterable[Change], *, actor: str) -> None:
    """Say what has been decided about runs, and by whom."""
    for change in changes:
        step = _STEPS.get(type(change.event))
        if step is not None:
            level, said = step
            run_id = change.subject.removeprefix("run:")
            log.log(level, said, run_id=run_id, job_id=change.job, actor=actor, **_about(change.event))


def _about(event: Event) -> dict[str, Any]:
    match event:
        case RunRequested(trigger=trigger, scheduled_for=scheduled_for, of=None):
            return {"trigger": trigger, "scheduled_for": scheduled_for.isoformat()}
        case RunRequested(trigger=trigger, scheduled_for=scheduled_for, of=of):
            return {"trigger": trigger, "scheduled_for": scheduled_for.isoformat(), "of": of}
        case RunQueued(reason=reason, queue=queue):
            return {"reason": reason, "queue": queue}
        case RunHeld(reason=reason, key=key, until=until):
            return {"reason": reason, "key": key, "until": until.isoformat()}
        case RunCancelRequested(reason=reason) | RunCancelled(reason=reason):
            return {"reason": reason}
        case RunLost(worker=worker, attempt=attempt):
            return {"worker": worker, "attempt": attempt}
        case RunFailed(error=error, attempt=attempt):
            return {"attempt": attempt, "error": f"{error.class_}: {error.message[:300]}"}
        case _:
            return {}
