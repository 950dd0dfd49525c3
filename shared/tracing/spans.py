"""Spans: made, and sent on their way. The only module of ours that imports OpenTelemetry when it is loaded."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import dataclass
from importlib.metadata import version
from threading import Thread
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared import logs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.util.types import AttributeValue


CLOSE_S = 2.0  # for the last spans to be sent: a collector that is away must not keep a process from ending
_W3C = TraceContextTextMapPropagator()
_LENGTH = 55  # of a traceparent


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A span that is over; times in Unix ns."""

    name: str
    kind: SpanKind
    parent: str
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, AttributeValue]


class Tracing:
    """Makes this process's spans.

    Neither records what was raised: its words may hold secrets, and its traceback isn't anybody's story.

    Args:
        provider: has the sampler, and the way out.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("daybook", version("daybook"))

    def begin(
        self,
        name: str,
        kind: SpanKind,
        *,
        parent: str | None = None,
        link: str = "",
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> Span:
        """A span that whoever asks for it must end.

        Args:
            name: of few kinds: ids are attributes.
            kind: towards whom.
            parent: a traceparent; '' makes it the first of a trace, None a child of the present one.
            link: the traceparent of what it goes back to without being a part of it.
            attributes: as known by now.
        """
        before = trace.get_current_span(_context(link)).get_span_context()
        return self._tracer.start_span(
            name,
            None if parent is None else _context(parent),
            kind,
            attributes,
            [Link(before)] if before.is_valid else None,
        )

    @contextlib.contextmanager
    def span(self, name: str, kind: SpanKind, **options: Any) -> Iterator[Span]:
        """A span that is the present one within the block; `options` as `begin` has them."""
        with self.within(self.begin(name, kind, **options), end=True) as span:
            yield span

    @contextlib.contextmanager
    def within(self, span: Span, *, end: bool = False) -> Iterator[Span]:
        """Have `span` be the present one; `end` it with the block."""
        with trace.use_span(
            span, end_on_exit=end, record_exception=False, set_status_on_exception=False
        ) as present:
            yield present

    @contextlib.contextmanager
    def after(self, parent: str) -> Iterator[None]:
        """Have what is begun within the block be in the trace of this traceparent."""
        token = attach(_context(parent))
        try:
            yield
        finally:
            detach(token)

    def here(self) -> str:
        """The traceparent of the present span."""
        return traceparent(current())

    def tell(self, past: Past) -> None:
        """Make a span of what is over, if anybody wants the trace that it is a part of."""
        span = self._tracer.start_span(
            past.name, _context(past.parent), past.kind, past.attributes, start_time=past.began_ns
        )
        span.end(past.ended_ns)

    async def close(self) -> None:
        """Send what there is, within CLOSE_S."""
        closing = Thread(target=self._provider.shutdown, name="tracing:close", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, CLOSE_S)


def current() -> Span:
    """The present span; one that takes nothing in if there is none."""
    return trace.get_current_span()


def traceparent(span: Span) -> str:
    """The span as whoever goes on in its trace is told of it; '' if it is none (OTEL_SDK_DISABLED)."""
    context = span.get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def is_wanted(parent: str) -> bool:
    """Whether the trace that a traceparent is of was sampled."""
    return len(parent) == _LENGTH and bool(int(parent[-2:], 16) & TraceFlags.SAMPLED)


def trace_id(span: Span) -> str:
    """The id of its trace, as log lines bear it."""
    return f"{span.get_span_context().trace_id:032x}"


def failed(span: Span, kind: str, said: str | None = None) -> None:
    """Mark the span as failed of an error of this class."""
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, said))


def exporting(service: str, instance: str) -> Tracing:
    """The tracing of a process whose spans are sent by OTLP, and which lends its way out to handlers' own spans."""
    made = provider(service, instance)
    made.add_span_processor(Batched(Masked(OTLPSpanExporter())))
    trace.set_tracer_provider(made)
    return Tracing(made)


def provider(service: str, instance: str) -> TracerProvider:
    """A provider without a way out. The sampler is OTEL_TRACES_SAMPLER's: what the parent decided, else all."""
    about = {"service.version": version("daybook"), "service.instance.id": instance}
    if not os.environ.get("OTEL_SERVICE_NAME"):
        about["service.name"] = f"daybook-{service}"
    return TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)


class Batched(BatchSpanProcessor):
    """Hands spans on by and by, from a thread of its own; what a task is to keep to itself is masked in that task."""

    def on_end(self, span: ReadableSpan) -> None:
        """Take in what has ended."""
        super().on_end(_masked(span) if logs.is_hushed() else span)


class Masked(SpanExporter):
    """An exporter in front of which what a span says passes the mask of log lines: handlers have spans, too."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them on, masked."""
        return self._exporter.export([_masked(span) for span in spans])

    def shutdown(self) -> None:
        """End."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send on what waits."""
        return self._exporter.force_flush(timeout_millis)


def _masked(span: ReadableSpan) -> ReadableSpan:
    status = span.status
    said = status.description and logs.masked(status.description)
    return ReadableSpan(
        name=logs.masked(span.name),
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=_attributes(span.attributes),
        events=[Event(each.name, _attributes(each.attributes), each.timestamp) for each in span.events],
        links=span.links,
        kind=span.kind,
        status=Status(status.status_code, said),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _attributes(given: Mapping[str, AttributeValue] | None) -> dict[str, Any]:
    return logs.masked_fields(given or {})


def _context(parent: str) -> Context:
    """The context that a traceparent names; an empty one if it names none."""
    return _W3C.extract({"traceparent": parent}, Context()) if parent else Context()
