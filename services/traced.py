"""Services as they are made where traces are wanted, and as ever where they aren't (`tracing` is None).

Each service has its own traced part beside it, `traced.py`; nothing here or there is imported while tracing is off but
this module.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    import asyncpg
    from quart import Quart

    from services.projector.partition import Archived
    from services.timer.service import Timer
    from shared.eventlog.decider import Decider
    from shared.eventlog.log import EventLog
    from shared.eventlog.position import Position
    from shared.eventlog.trails import Trails
    from shared.tracing.spans import Tracing


def decider(
    tracing: Tracing | None, log: EventLog, *, lease: timedelta, chance: Callable[[], int]
) -> Decider:
    """The decider of any service."""
    from shared.eventlog.decider import Decider  # noqa: PLC0415

    if tracing is None:
        return Decider(log, lease=lease, chance=chance)
    from shared.eventlog.traced import TracedDecider  # noqa: PLC0415

    return TracedDecider(log, lease=lease, chance=chance, tracing=tracing)


def trace_requests(tracing: Tracing | None, app: Quart) -> None:
    """Have each request of the application be a span."""
    if tracing is not None:
        from services.api.traced import Traced  # noqa: PLC0415

        app.asgi_app = Traced(app, tracing)  # type: ignore[method-assign]


def timer(tracing: Tracing | None, pool: asyncpg.Pool, *, log: EventLog, **parts: Any) -> Timer:
    """A timer."""
    from services.timer.service import Timer  # noqa: PLC0415

    if tracing is None:
        return Timer(log=log, **parts)
    from services.timer.traced import TracedTimer  # noqa: PLC0415

    return TracedTimer(tracing=tracing, trails=_trails(log, pool), log=log, **parts)


def attempts(tracing: Tracing | None, pool: asyncpg.Pool, log: EventLog) -> dict[str, Any]:
    """What an executor is to make of its claims, as its arguments."""
    if tracing is None:
        return {}
    from services.executor.traced import TracedAttempt, TracedTally  # noqa: PLC0415

    attempt = partial(TracedAttempt, tracing=tracing, trails=_trails(log, pool))
    return {"attempt": attempt, "tally": TracedTally}


def archived(tracing: Tracing | None) -> Archived | None:
    """What a projector is to tell of its batches."""
    if tracing is None:
        return None
    from services.projector.traced import tell  # noqa: PLC0415

    return partial(tell, tracing)


def _trails(log: EventLog, pool: asyncpg.Pool) -> Trails:
    from shared.eventlog.trails import Trails  # noqa: PLC0415
    from shared.readmodel import archive  # noqa: PLC0415

    async def trace_of(partition: int, position: Position) -> str:
        row = await archive.find(pool, partition, position.pos)
        return row["trace"] if row is not None and row["epoch"] == position.epoch else ""

    return Trails(log, trace_of)
