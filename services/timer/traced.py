"""A timer whose wakes are spans: in the trace of what they go on with, or the first of a new one that goes back to it.

A run's wake goes on in the run's trace. A job that fires once goes on in the trace of the request that has put it into
the due index: one message, one consumer. Each firing of a schedule begins a trace of its own, which has a *link* to
what happened to the job before, the request that made or changed it or the last run: a trace that grew for years would
be nobody's story, and OpenTelemetry's conventions for messages have links for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace import SpanKind

from services.timer.service import Timer
from shared import logs
from shared.domain.job import Job
from shared.tracing.spans import trace_id

if TYPE_CHECKING:
    from services.timer.due import Due
    from shared.eventlog.trails import Trails
    from shared.tracing.spans import Tracing


class TracedTimer(Timer):
    """Wakes as Timer does; see there.

    Args:
        tracing: of the process.
        trails: over the timer's log.
        parts: Timer's own arguments.
    """

    def __init__(self, *, tracing: Tracing, trails: Trails, **parts: Any) -> None:
        super().__init__(**parts)
        self._tracing = tracing
        self._trails = trails

    async def _wake(self, entry: Due) -> None:
        before = await self._trails.after(entry.partition, entry.version)
        begins = _begins_a_trace(entry)
        with self._tracing.span(
            f"wake {entry.ref.partition(':')[0]}",
            SpanKind.CONSUMER,
            parent="" if begins else before,
            link=before if begins else "",
            attributes={"daybook.subject": entry.ref, "daybook.due_ms": int(entry.score)},
        ) as span:
            logs.bind(trace_id=trace_id(span))
            await super()._wake(entry)


def _begins_a_trace(entry: Due) -> bool:
    if not entry.ref.startswith("job:"):
        return False
    try:
        found = entry.snapshot()
    except ValueError:  # not ours to read, nor to decide
        return True
    state = None if found is None else found.state
    return not (isinstance(state, Job) and state.spec.schedule.run_at is not None)
