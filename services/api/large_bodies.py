"""How large a body may be, and how one that is larger is refused: read to its end, unkept.

A server that answers and closes while the client still sends resets the connection, and the answer that says
why is lost with it (RFC 9112 §9.6).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from quart import Request

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
    from quart import Quart

BODY_MAX = 256 * 1024
MANY_MAX = 4 * 1024 * 1024  # 1,000 jobs of 4 KB; what takes them parses that in about 100 ms
TAKES_MANY = frozenset({"/api/v1/jobs/bulk", "/api/v1/apply"})
DISCARD_MAX = 16 * 1024 * 1024  # bytes; who sends more has no ear for an answer
DISCARD_S = 10.0


def body_max(path: str) -> int:
    """The most bytes that a request to this path may have."""
    return MANY_MAX if path.rstrip("/") in TAKES_MANY else BODY_MAX


class SizedRequest(Request):
    """A request whose body is bounded by what its path takes."""

    def __init__(self, method: str, scheme: str, path: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(method, scheme, path, *args, **kwargs | {"max_content_length": body_max(path)})


class LargeBodies:
    """An ASGI application around `app`, which refuses bodies announced as too large by itself."""

    def __init__(self, app: Quart) -> None:
        self._app = app.asgi_app

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle one connection's scope."""
        if scope["type"] == "http" and body_max(scope["path"]) < _announced(scope["headers"]) <= DISCARD_MAX:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DISCARD_S):
                    await _discard(receive)
        await self._app(scope, receive, send)


def _announced(headers: object) -> int:
    told = dict(headers).get(b"content-length", b"")  # type: ignore[call-overload]
    return int(told) if told.isdigit() else 0


async def _discard(receive: ASGIReceiveCallable) -> None:
    while True:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            return
