"""What all attempts of an executor share, and what one of them knows once it has started."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from services.executor.notebook import Notebook
from shared import handlers

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from services.executor.admission import Admission
    from services.executor.claims import Claims
    from services.executor.heartbeat import Heartbeat
    from services.executor.personal import Seal
    from services.executor.plugins import Handlers
    from services.executor.pool import Pool
    from services.executor.secrets import Secrets
    from services.executor.tally import Tally
    from shared.domain.run import Run
    from shared.eventlog.decider import Decided, Decider
    from shared.eventlog.log import EventLog
    from shared.personal.keys import PersonalKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """What all attempts of an executor share.

    Attributes:
        name: of the executor, as it stands in RunStarted.
        draw: a number in [0, 1), for the jitter of a back-off.
    """

    name: str
    log: EventLog
    decider: Decider
    claims: Claims
    admission: Admission
    heartbeat: Heartbeat
    handlers: Handlers
    secrets: Secrets
    personal: PersonalKeys
    pool: Pool
    tally: Tally
    draw: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A start that is in the log.

    Attributes:
        at: seconds of the monotonic clock.
        seal: of the run's job, if something in its data is sealed.
    """

    decided: Decided
    run: Run
    at: float
    seal: Seal | None = None

    @property
    def fence(self) -> str:
        """Position of the start."""
        return self.decided.after.fence

    def told(self, now: datetime, reporter: handlers.Reporter) -> handlers.Run:
        """What its handler is told; its words go to `reporter`."""
        run, spec = self.run, self.run.spec
        return handlers.Run(
            run_id=run.id,
            job_id=run.job_id,
            job_name=spec.job_name,
            job_type=spec.job_type,
            job_data=_copied(spec.job_data),  # the handler's own: ours goes into the next snapshot
            attempt=run.attempt,
            max_attempts=spec.retry.max_retries + 1,
            scheduled_for=run.scheduled_for,
            fence=self.fence,
            correlation_id=run.correlation_id,
            deadline=now + timedelta(seconds=spec.timeout_seconds),
            timezone=spec.timezone,
            reporter=reporter,
        )


def _copied(value: Any) -> Any:
    """A JSON value's copy; deepcopy takes ten times as long for the same."""
    match value:
        case dict():
            return {key: _copied(item) for key, item in value.items()}
        case list():
            return [_copied(item) for item in value]
        case _:
            return value


class Why(StrEnum):
    """Why a call was stopped."""

    TIMEOUT = "timeout"
    MOVED = "moved"  # the run is another worker's, or nobody's
    CANCELLED = "cancelled"  # somebody wants the run ended
    STOPPING = "stopping"  # the executor ends; the run is handed back


class Call:
    """A call of a handler: whether it is over, why it was stopped, and what it has said.

    Args:
        on_progress: see Notebook.
        seal: of its run, if there is one.
    """

    def __init__(self, on_progress: Callable[[str], None], seal: Seal | None = None) -> None:
        self.notebook = Notebook(on_progress) if seal is None else Notebook(on_progress, seal.text)
        self.over = asyncio.Event()
        self.why: Why | None = None
        self.watch: asyncio.Task[None] | None = None
        self.context = contextvars.copy_context()
