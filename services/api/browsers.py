"""What browsers are told by headers: what a page may do with an answer, and which pages may ask (CORS).

Own code rather than quart-cors, as that answers preflights only where OPTIONS is automatic, and then every path says
200 to a method that it doesn't have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Response, request

from services.api.auth import PAGES

if TYPE_CHECKING:
    from collections.abc import Collection

PREFLIGHT_S = 600
_BARE = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# Swagger UI starts from a script in its page, and sets styles on its elements.
_DOCS = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_HSTS = "max-age=31536000"
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
_ASKED = (
    "Authorization, X-API-Key, Content-Type, Accept, Daybook-Position, Idempotency-Key, If-Match, If-None-Match, "
    "Last-Event-ID, Prefer, X-Request-ID, traceparent"
)
_TOLD = (
    "Daybook-Position, ETag, Idempotency-Replayed, Link, Location, RateLimit-Limit, RateLimit-Policy, "
    "RateLimit-Remaining, RateLimit-Reset, Retry-After, WWW-Authenticate, X-Request-ID"
)


def guard(response: Response, *, endpoint: str | None, secure: bool) -> None:
    """Add what makes browsers careful with `response`; what a route has set by itself stands."""
    headers = response.headers
    for name, value in _ALWAYS.items():
        headers.setdefault(name, value)
    is_page = endpoint in PAGES and endpoint != "openapi"
    headers.setdefault("Content-Security-Policy", _DOCS if is_page else _BARE)
    # Asked anew each time, and then an ETag may spare the answer.
    reads = request.method in {"GET", "HEAD"} and response.status_code < 400  # noqa: PLR2004 - HTTP's number
    headers.setdefault("Cache-Control", "private, no-cache" if reads else "no-store")
    if secure:
        headers.setdefault("Strict-Transport-Security", _HSTS)


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
