"""A small HTTP/1.1 client: one request at a time on a connection that is kept. A full client would be measured.

It knows what the API sends: a status, headers with Content-Length, a body; it refuses anything else aloud.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, NamedTuple, Self, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_S = 30.0
_BLANK = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)
_BODILESS = (204, 304)


class BadAnswerError(Exception):
    """The server sent what this client doesn't speak."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes


def request(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
    if body:
        lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + _BLANK + body


class Connection(asyncio.Protocol):
    """One connection; open it with `to`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._got = bytearray()
        self.is_closed = False

    @classmethod
    async def to(cls, port: int) -> Self:
        """A connection to a port of this machine."""
        loop = asyncio.get_running_loop()
        _, connection = await asyncio.wait_for(loop.create_connection(cls, "127.0.0.1", port), ANSWER_S)
        return connection

    async def send(self, message: bytes) -> Answer:
        """Send a request, and return its answer.

        Raises:
            ConnectionError: the connection went before the answer came.
            BadAnswerError: it is none that we know.
            TimeoutError: it didn't come within ANSWER_S.
        """
        if self.is_closed or self._transport is None:
            raise ConnectionError("closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        async with asyncio.timeout(ANSWER_S):
            return await self._answer

    def close(self) -> None:
        self.is_closed = True
        if self._transport is not None:
            self._transport.close()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._got += data
        try:
            answer = self._parsed()
        except BadAnswerError as error:
            self._fail(error)
            self.close()
            return
        if answer is not None and self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self._fail(ConnectionError(f"the server closed the connection: {exc!r}"))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def _parsed(self) -> Answer | None:
        """The answer, once all of it is there; its bytes are taken out."""
        blank = self._got.find(_BLANK)
        if blank < 0:
            return None
        head = bytes(self._got[: blank + 2])
        status = int(head[9:12])
        end = blank + len(_BLANK) + _length(head, status)
        if len(self._got) < end:
            return None
        if len(self._got) > end:
            raise BadAnswerError("more than one answer to one request")
        body = bytes(self._got[blank + len(_BLANK) : end])
        self._got.clear()
        if _CLOSES.search(head):
            self.close()
        return Answer(status, body)


def _length(head: bytes, status: int) -> int:
    if status in _BODILESS:
        return 0
    found = _LENGTH.search(head)
    if found is None:
        raise BadAnswerError(f"no Content-Length: {head[:200]!r}")
    return int(found[1])
