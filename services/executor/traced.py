"""An attempt as a span, from the claim to the record; what the handler does is a part of it.

The second attempt is in the trace of the first: it goes on after the event that has queued the run again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from services.executor.attempt import Attempt
from services.executor.tally import Tally
from shared import logs, tracing
from shared.domain.commands import FailRun
from shared.tracing.spans import current, failed, trace_id

if TYPE_CHECKING:
    from datetime import datetime

    from opentelemetry.trace import Span

    from services.executor.claims import Claim
    from services.executor.worker import Worker
    from shared.domain.commands import InterruptRun, SucceedRun
    from shared.domain.run import Run
    from shared.eventlog.trails import Trails
    from shared.tracing.spans import Tracing


class TracedAttempt(Attempt):
    """Goes the way of Attempt; see there.

    Args:
        worker: Attempt's.
        claim: Attempt's.
        tracing: of the process.
        trails: over the executor's log.
        parts: Attempt's other arguments.
    """

    def __init__(
        self, worker: Worker, claim: Claim, *, tracing: Tracing, trails: Trails, **parts: Any
    ) -> None:
        super().__init__(worker, claim, **parts)
        self._tracing = tracing
        self._trails = trails
        self._span: Span | None = None

    async def run(self) -> None:
        """As Attempt does, within the span."""
        self._span = self._begun(await self._origin())
        with self._tracing.within(self._span):
            logs.bind(trace_id=trace_id(self._span))
            tracing.set_present(self._tracing)
            await super().run()

    async def _origin(self) -> str:
        try:
            return await self._trails.after(self.claim.partition, self.claim.entry)
        except (
            asyncio.CancelledError
        ):  # the process ends: what has a slot gives it back, however early that is
            self._end()
            raise

    def _begun(self, origin: str) -> Span:
        return self._tracing.begin(
            "run",
            SpanKind.CONSUMER,
            parent=origin,
            attributes={
                "messaging.system": "daybook",
                "messaging.operation.type": "process",
                "messaging.destination.name": self.claim.queue,
                "daybook.run.id": self.claim.run,
            },
        )

    def _end(self) -> None:
        super()._end()
        if self._span is not None:  # one that was left behind never comes to the end of `run`
            self._span.end()


class TracedTally(Tally):
    """Tells the present span what it tells the log."""

    def started(self, run: Run, at: datetime) -> None:
        """Name the span for what it does."""
        super().started(run, at)
        span = current()
        span.update_name(f"run {self._label(run)}")
        span.set_attribute("daybook.job.id", run.job_id)
        span.set_attribute("daybook.job.type", run.spec.job_type)
        span.set_attribute("daybook.run.attempt", run.attempt)

    def ended(self, run: Run, command: SucceedRun | FailRun | InterruptRun, took_s: float) -> None:
        """Tell how it ended."""
        super().ended(run, command, took_s)
        current().set_attribute("daybook.run.status", run.status.value)
        if isinstance(command, FailRun):
            failed(current(), command.error.class_, command.error.message)

    def not_started(self, run: Run) -> None:
        """Tell that it came too late, or was not wanted any more."""
        super().not_started(run)
        current().set_attribute("daybook.run.status", run.status.value)

    def moved(self, run: Run) -> None:
        """Tell that the run was taken away."""
        super().moved(run)
        _lost()

    def refused(self, run: Run, *, current: str | None) -> None:
        """Tell that nobody wants the result."""
        super().refused(run, current=current)
        _lost()


def _lost() -> None:
    failed(current(), "lease lost")
