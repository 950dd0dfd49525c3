"""A decider whose every commit is a span, and whose events say so in their envelope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace
from opentelemetry.trace import SpanKind

from shared.domain.refusals import Refused
from shared.eventlog.decider import Decided, Decider
from shared.tracing.spans import traceparent

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from opentelemetry.trace import Span

    from shared.domain.commands import Command
    from shared.eventlog.envelope import Context
    from shared.eventlog.log import EventLog
    from shared.tracing.spans import Tracing


class TracedDecider(Decider):
    """Decides as Decider does; see there."""

    def __init__(
        self, log: EventLog, *, lease: timedelta, chance: Callable[[], int], tracing: Tracing
    ) -> None:
        super().__init__(log, lease=lease, chance=chance)
        self._tracing = tracing

    async def decide(self, ref: str, command: Command, context: Context, **options: Any) -> Decided:
        """Load, decide and commit, as a part of the present span.

        Its kind is producer: what it writes may be acted upon much later, and elsewhere.
        """
        name = f"commit {type(command).__name__}"
        with self._tracing.span(name, SpanKind.PRODUCER, attributes={"daybook.subject": ref}) as span:
            try:
                decided = await super().decide(
                    ref, command, replace(context, trace=traceparent(span) or context.trace), **options
                )
            except Refused as refusal:
                span.set_attribute("daybook.refused", type(refusal).__name__)
                raise
            if span.is_recording():
                _describe(span, decided)
            return decided


def _describe(span: Span, decided: Decided) -> None:
    span.set_attribute("daybook.partition", decided.partition)
    span.set_attribute("daybook.events", [type(change.event).__name__ for change in decided.changes])
    if decided.last is not None:
        span.set_attribute("daybook.position", str(decided.last))
