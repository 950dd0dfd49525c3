"""How Daybook connects to Redis, a server or a Cluster.

One client a process for commands, one for each kind of blocking read.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import hiredis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.eventlog.cluster import Cluster
from shared.eventlog.topology import Topology
from shared.redis_url import is_cluster, of_node, seeds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis.asyncio.connection import AbstractConnection as _Base
else:
    _Base = object

COMMAND_TIMEOUT_S = 5
BLOCK_MAX_S = 2  # no blocking command asks for longer, so that a stop is never far off
BLOCKING_TIMEOUT_S = BLOCK_MAX_S + 5  # longer than the block, or every quiet second looks like a dead server


class _Packing(_Base):
    """Has hiredis pack what is sent, as it parses what comes: a commit has thousands of arguments.

    Writing waits under `asyncio.timeout`, not `wait_for`, which before Python 3.12 makes a task of each write
    and may swallow a cancel.
    """

    def pack_command(self, *args: Any) -> list[bytes]:
        name, *rest = args
        return [hiredis.pack_command((*name.split(), *rest))]

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        return [b"".join(self.pack_command(*command)[0] for command in commands)]

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        packed = command if isinstance(command, list) else [command]
        try:
            async with asyncio.timeout(self.socket_timeout):
                await self._send_packed_command(packed)
        except (
            BaseException
        ) as error:  # half a command may be on its way: this connection is of no use any more
            await self.disconnect(nowait=True)
            if isinstance(error, TimeoutError):
                raise RedisTimeoutError("Timeout writing to socket") from None
            if isinstance(error, OSError | RuntimeError):  # uvloop, where the transport was reset just before
                raise RedisConnectionError(f"Error while writing to socket: {error}") from error
            raise


class _Plain(_Packing, Connection):
    pass


class _Encrypted(_Packing, SSLConnection):
    pass


class _Local(_Packing, UnixDomainSocketConnection):
    pass


_BY_SCHEME: dict[str, type[_Base]] = {"redis": _Plain, "rediss": _Encrypted, "unix": _Local}


def connect(url: str, *, blocking: bool = False, connections: int = 64) -> Redis:
    """A client of bytes, with hiredis.

    It never repeats a command by itself: repeating is the writer's affair, which numbers its batches; all other
    callers stand in a loop that comes round again.

    Args:
        url: `redis://…`, `rediss://…` or `unix://…`; `redis+cluster://…` for a `Cluster`.
        blocking: for BLPOP and XREAD BLOCK of at most BLOCK_MAX_S; else a command fails after COMMAND_TIMEOUT_S.
        connections: at most so many to a server; a caller waits for a free one.
    """
    if is_cluster(url):
        return Cluster(
            Topology(
                seeds(url),
                lambda node: _connect(of_node(url, node), blocking=blocking, connections=connections),
            )
        )
    return _connect(url, blocking=blocking, connections=connections)


def _connect(url: str, *, blocking: bool, connections: int) -> Redis:
    scheme = urlsplit(url).scheme
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=COMMAND_TIMEOUT_S,
        socket_timeout=BLOCKING_TIMEOUT_S if blocking else COMMAND_TIMEOUT_S,
        socket_connect_timeout=COMMAND_TIMEOUT_S,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),
        decode_responses=False,
        protocol=2,
        driver_info=_driver(),
        **({} if scheme == "unix" else {"socket_keepalive": True}),
    )
    pool.connection_class = _BY_SCHEME[scheme]
    return Redis.from_pool(pool)


@cache
def _driver() -> DriverInfo:
    """What the server is told of the client: left to itself, each connection reads the package's metadata for it."""
    return DriverInfo()
