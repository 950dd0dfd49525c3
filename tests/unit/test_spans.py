"""Spans on their way out: what a task is to keep to itself leaves with none of them."""

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from shared import logs
from shared.tracing.spans import Batched, Masked, Tracing, provider

WHO = "zoe.marker@example.com"


def test_what_a_handler_is_told_of_somebody_stands_in_no_span_of_it():
    """They are sent from another thread, which knows nothing of what the task was to keep to itself."""
    memory = InMemorySpanExporter()
    made = provider("executor", "executor-1")
    made.add_span_processor(Batched(Masked(memory)))
    tracing = Tracing(made)
    with logs.hushed((WHO,)), tracing.span(f"mail {WHO}", SpanKind.CLIENT, attributes={"to": WHO}) as span:
        span.add_event("sent", {"to": [WHO]})
    with tracing.span("another", SpanKind.CLIENT, attributes={"to": WHO}):
        pass
    made.force_flush()
    made.shutdown()
    hushed, other = memory.get_finished_spans()
    assert (hushed.name, hushed.attributes["to"]) == ("mail ***", "***")
    assert tuple(hushed.events[0].attributes["to"]) == ("***",)
    assert other.attributes["to"] == WHO
