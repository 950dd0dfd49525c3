"""A connection to Redis for whoever calls scripts all the time: commands go out at once, replies come back in order.

redis-py opens the connection (addresses, TLS and passwords are its affair), then the socket is ours: hiredis packs and
parses, and many callers share it without waiting for each other. A command so takes a third of the processor time that
it takes through a pool, which counts where thousands of little ones are sent each second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import hiredis
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.eventlog.connection import BLOCKING_TIMEOUT_S, COMMAND_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from redis.asyncio import Redis

Command = tuple[str | bytes | int, ...]

_ERRORS: dict[str, type[RedisError]] = {
    "CLUSTERDOWN": ClusterDownError,
    "LOADING": BusyLoadingError,
    "MASTERDOWN": MasterDownError,
    "NOSCRIPT": NoScriptError,
    "OOM": OutOfMemoryError,
    "READONLY": ReadOnlyError,
    "TRYAGAIN": TryAgainError,
}
_REDIRECTIONS: dict[str, type[AskError]] = {"ASK": AskError, "MOVED": MovedError}  # of a node of a Cluster


class Wire:
    """One connection, made when it is first needed and again after it was lost.

    Args:
        redis: a client from `connection.connect`; its connections are made alike.
        blocking: for BLPOP and XREAD BLOCK of at most BLOCK_MAX_S, one at a time; else a call fails after
            COMMAND_TIMEOUT_S.
    """

    def __init__(self, redis: Redis, *, blocking: bool = False) -> None:
        self._pool = redis.connection_pool
        self._blocking = blocking
        self._timeout_s = BLOCKING_TIMEOUT_S if blocking else COMMAND_TIMEOUT_S
        self._line: _Line | None = None
        self._opening = asyncio.Lock()

    async def call(self, *commands: Command) -> list[Any]:
        """Send commands in one go, and return the reply to each; an error among them stands in its place.

        Raises:
            redis.exceptions.ConnectionError: nobody knows which of them were carried out; likewise TimeoutError.
        """
        line = self._line
        if line is None or line.is_lost:
            line = await self._opened()
        try:
            async with asyncio.timeout(self._timeout_s):
                return await line.send(commands)
        except TimeoutError:
            line.close()  # what comes now would be taken for the replies to others
            raise RedisTimeoutError(f"no reply within {self._timeout_s} s") from None
        except asyncio.CancelledError:
            if self._blocking:
                line.close()  # whoever is next would wait for what nobody waits for any more
            raise

    async def replies(self, *commands: Command) -> list[Any]:
        """As `call`, but an error among the replies is raised."""
        replies = await self.call(*commands)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def lane(self, key: str) -> Hashable:  # noqa: ARG002 - there is but one server
        """What commands about `key` share with others that go to the same server."""
        return None

    def close(self) -> None:
        """Drop the connection; whoever waits for a reply gets an error."""
        if self._line is not None:
            self._line.close()

    async def _opened(self) -> _Line:
        async with self._opening:
            if self._line is None or self._line.is_lost:
                connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
                await connection.connect()
                self._line = _Line(connection)
            return self._line


class _Call(NamedTuple):
    expected: int
    replies: list[Any]
    future: asyncio.Future[list[Any]]


class _Line(asyncio.Protocol):
    """An open connection, taken over from redis-py, until it is lost."""

    def __init__(self, connection: Any) -> None:
        self.is_lost = False
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(replyError=_error)
        self._calls: deque[_Call] = deque()
        self._writer = connection._writer  # noqa: SLF001 - kept, as a stream closes its transport when it goes
        connection._reader = connection._writer = None  # noqa: SLF001 - and so would the connection
        self._transport: asyncio.Transport = self._writer.transport
        self._transport.set_protocol(self)

    def send(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Write commands; the future is done when all replies are there."""
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        if self.is_lost:
            future.set_exception(RedisConnectionError("the connection was lost"))
        else:
            self._calls.append(_Call(len(commands), [], future))
            self._transport.write(b"".join(map(_packed, commands)))
        return future

    def close(self) -> None:
        """Hang up now."""
        self._lose(RedisConnectionError("the connection was closed"))
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Deliver what is complete."""
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._deliver(reply)
        except hiredis.ProtocolError as error:
            self._lose(RedisConnectionError(f"not the Redis protocol: {error}"))
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Fail all that wait."""
        self._lose(RedisConnectionError(f"the connection was lost: {error or 'closed by the server'}"))

    def _deliver(self, reply: Any) -> None:
        call = self._calls[0]
        call.replies.append(reply)
        if len(call.replies) == call.expected:
            self._calls.popleft()
            if not call.future.done():  # its caller may have been cancelled
                call.future.set_result(call.replies)

    def _lose(self, error: RedisConnectionError) -> None:
        self.is_lost = True
        while self._calls:
            call = self._calls.popleft()
            if not call.future.done():
                call.future.set_exception(error)


def _packed(command: Command) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # its stub knows tuples of one
    return packed


def _error(text: str) -> RedisError:
    """The exception that redis-py has for an error of the server, with all of its words."""
    code, _, where = text.partition(" ")
    if code in _REDIRECTIONS:
        return _REDIRECTIONS[code](where)
    return _ERRORS.get(code, ResponseError)(text)
