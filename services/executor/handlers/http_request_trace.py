"""A request to a server as a span, which tells the server by `traceparent` what it is a part of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from shared.tracing import present

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from services.executor.web import Answer, Question
    from shared.tracing.spans import Tracing

REFUSED = 400


async def traced(ask: Callable[[Question], Awaitable[Answer]], question: Question) -> Answer:
    """Ask; with a span where tracing is on. A `traceparent` of the job's own stays."""
    tracing = present()
    return await ask(question) if tracing is None else await _asked(tracing, ask, question)


async def _asked(
    tracing: Tracing, ask: Callable[[Question], Awaitable[Answer]], question: Question
) -> Answer:
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - nobody else pays for it

    from shared.tracing.spans import failed  # noqa: PLC0415 - likewise

    about = {"http.request.method": question.method, "server.address": question.address.authority}
    with tracing.span(question.method, SpanKind.CLIENT, attributes=about) as span:
        try:
            answer = await ask(replace(question, headers={"traceparent": tracing.here(), **question.headers}))
        except Exception as error:
            failed(span, type(error).__name__)
            raise
        span.set_attribute("http.response.status_code", answer.status)
        if answer.status >= REFUSED:
            failed(span, str(answer.status))
        return answer
