"""Bodies that are too large are read to their end, unkept, before they are refused.

A server that answers and closes while the client still sends resets the connection, and the answer that says
why is lost with it (RFC 9112 §9.6).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
    from quart import Quart

DISCARD_MAX = 16 * 1024 * 1024  # bytes; who sends more has no ear for an answer
DISCARD_S = 10.0


class LargeBodies:
    """An ASGI application around `app`, which refuses bodies announced above `limit` bytes by itself."""

    def __init__(self, app: Quart, *, limit: int) -> None:
        self._app = app.asgi_app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle one connection's scope."""
        if scope["type"] == "http" and self._limit < _announced(scope["headers"]) <= DISCARD_MAX:
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
