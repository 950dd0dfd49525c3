"""Bodies that are refused are read on, unkept, after the answer and before the connection is closed.

A server that closes while the client still sends resets the connection, and the answer that says why is lost with it
(RFC 9112 §9.6). So the answer goes out whole, and only its end is held back until the client has stopped sending, or
has had its time. Who sends without end is reset all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveCallable, ASGIReceiveEvent, ASGISendCallable, ASGISendEvent, Scope
    from quart import Quart

DISCARD_MAX = 64 * 1024 * 1024  # bytes
DISCARD_S = 10.0
TOO_SLOW = 408  # whoever gets this has had its time


class LargeBodies:
    """An ASGI application around `app`, which must go on receiving until its answer is sent, as Quart does."""

    def __init__(self, app: Quart) -> None:
        self._app = app.asgi_app

    async def __call__(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Handle one connection's scope."""
        if scope["type"] == "http":
            body = _Body(receive, send)
            await self._app(scope, body.receive, body.send)
        else:
            await self._app(scope, receive, send)


class _Body:
    """The body of one request."""

    def __init__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        self._receive, self._send = receive, send
        self._over = asyncio.Event()
        self._size = 0
        self._patience_s = DISCARD_S

    async def receive(self) -> ASGIReceiveEvent:
        message = await self._receive()
        self._size += len(message["body"]) if message["type"] == "http.request" else 0
        if not message.get("more_body") or self._size > DISCARD_MAX:
            self._over.set()
        return message

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start" and message["status"] == TOO_SLOW:
            self._patience_s = 0.0
        is_last = message["type"] == "http.response.body" and not message.get("more_body")
        if is_last and not self._over.is_set():
            await self._send(message | {"more_body": True})  # type: ignore[arg-type]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    await self._over.wait()
            message = message | {"body": b""}  # type: ignore[assignment]
        await self._send(message)
