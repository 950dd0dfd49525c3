"""What browsers are told by headers: what a page may do with an answer, and which pages may ask (CORS).

Own code rather than quart-cors, as that answers preflights only where OPTIONS is automatic, and then every path says
200 to a method that it doesn't have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Response, request

from services.api import clients

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, HTTPScope, Scope
    from quart import Quart

    from shared.setting_types import Network

PREFLIGHT_S = 600
_BARE = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# Swagger UI starts from a script in its page, and sets styles on its elements.
_DOCS = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
# Each header costs an answer 2 us and more. The policy keeps frames away from both kinds; only a page has links whose
# referrer could tell, and only a page could meet a browser that knows no `frame-ancestors`.
_BARE_HEADERS = (_NO_SNIFFING, (b"content-security-policy", _BARE.encode()))
_DOCS_HEADERS = (
    _NO_SNIFFING,
    (b"content-security-policy", _DOCS.encode()),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
_HSTS = (b"strict-transport-security", b"max-age=31536000")
_ASK_AGAIN = (b"cache-control", b"private, no-cache")  # each time, and then an ETag may spare the answer
_KEEP_NOTHING = (b"cache-control", b"no-store")
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_ASKED = (
    "Authorization, X-API-Key, Content-Type, Accept, Daybook-Position, Idempotency-Key, If-Match, If-None-Match, "
    "Last-Event-ID, Prefer, X-Request-ID, traceparent"
)
_TOLD = (
    "Daybook-Position, ETag, Idempotency-Replayed, Link, Location, RateLimit-Limit, RateLimit-Policy, "
    "RateLimit-Remaining, RateLimit-Reset, Retry-After, WWW-Authenticate, X-Request-ID"
)


class Guarded:
    """An ASGI application around `app` whose every answer makes browsers careful."""

    def __init__(self, app: Quart, *, trusted: Sequence[Network]) -> None:
        self._app = app.asgi_app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle one connection's scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                headers += _DOCS_HEADERS if scope["path"].startswith("/docs/") else _BARE_HEADERS
                if not any(name == b"cache-control" for name, _ in headers):
                    reads = scope["method"] in {"GET", "HEAD"} and message["status"] < 400  # noqa: PLR2004
                    headers.append(_ASK_AGAIN if reads else _KEEP_NOTHING)
                if self._is_secure(scope):
                    headers.append(_HSTS)
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, guarded)

    def _is_secure(self, scope: HTTPScope) -> bool:
        if scope["scheme"] == "https" or not self._trusted:
            return scope["scheme"] == "https"
        proto = dict(scope["headers"]).get(b"x-forwarded-proto", b"").decode("latin1")
        peer = (scope.get("client") or ("",))[0]
        return clients.client_of(peer, (), proto, trusted=self._trusted).secure


class Cors:
    """Lets pages of `origins` call the API. There are no cookies here, so no credentials are allowed."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = frozenset(origins)

    def preflight(self) -> Response | None:
        """The answer, if the present request only asks whether another may be sent."""
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        if not self._is_let():
            return None
        response = Response("", 204)
        response.headers["Access-Control-Allow-Methods"] = _METHODS
        response.headers["Access-Control-Allow-Headers"] = _ASKED
        response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_S)
        return response

    def tell(self, response: Response) -> None:
        """Say whether the page may read `response`."""
        if not self._origins:
            return
        response.headers.add("Vary", "Origin")
        if self._is_let():
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = _TOLD

    def _is_let(self) -> bool:
        return request.headers.get("Origin", "") in self._origins
