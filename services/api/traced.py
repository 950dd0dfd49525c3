"""The span of a request: in the caller's trace if there is a `traceparent`, else the first of a new one.

It ends when the answer begins: a stream of events may go on for hours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind
from quart import g, request

from services.api.app import METHODS
from shared import logs
from shared.tracing.spans import current, failed, trace_id

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope, Scope
    from opentelemetry.trace import Span
    from quart import Quart, Response

    from shared.tracing.spans import Tracing

UNTRACED = frozenset(
    {"/livez", "/readyz", "/health", "/metrics"}
)  # machines ask each second, and nothing follows
OUR_FAULT = 500


class Traced:
    """An ASGI application around `app` which makes a span of each request, and tells it the route."""

    def __init__(self, app: Quart, tracing: Tracing) -> None:
        self._app = app.asgi_app
        self._tracing = tracing
        app.after_request(_tell_route)

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle one connection's scope."""
        if scope["type"] != "http" or scope["path"].rstrip("/") in UNTRACED:
            await self._app(scope, receive, send)
            return
        span = self._begun(scope)

        async def told(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.start":
                _end(span, message["status"])
            await send(message)

        with self._tracing.within(span):
            logs.bind(trace_id=trace_id(span))
            try:
                await self._app(scope, receive, told)
            finally:
                _end(span)

    def _begun(self, scope: HTTPScope) -> Span:
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        parent = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        return self._tracing.begin(
            "HTTP" if method == "_OTHER" else method,
            SpanKind.SERVER,
            parent=parent.decode("latin1"),
            attributes={
                "http.request.method": method,
                "url.path": scope["path"],
                "url.scheme": scope["scheme"],
            },
        )


async def _tell_route(response: Response) -> Response:
    span = current()
    if request.url_rule is not None and span.is_recording():
        span.update_name(f"{request.method} {request.url_rule.rule}")
        span.set_attribute("http.route", request.url_rule.rule)
        span.set_attribute("daybook.correlation_id", g.correlation_id)
    return response


def _end(span: Span, status: int | None = None) -> None:
    """End it once: where the client leaves before there is an answer, without a status."""
    if not span.is_recording():
        return
    if status is not None:
        span.set_attribute("http.response.status_code", status)
        if status >= OUR_FAULT:
            failed(span, str(status))
    span.end()
