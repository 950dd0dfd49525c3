"""A client of a Redis Cluster that is used like that of one server: each command goes to whoever serves its key.

What names no key goes where the keys beside it go (INFO and TIME in a pipeline are about the server of its keys), and
alone nowhere: `serving`, `masters` and `members` are the servers to ask. Pipelines are cut by server; a transaction
has one, as all of a partition's keys are on one.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline, PubSub
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TryAgainError,
)

from shared.eventlog.topology import UNSERVED, slot_of
from shared.redis_url import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence

    from shared.eventlog.topology import Topology

REDIRECTS_MAX = 5  # one is usual; more follow each other where several slots move at once
UNFIT = (ClusterDownError, MasterDownError, BusyLoadingError, ReadOnlyError)
"""What a node says whose place another may have taken."""
_KEY_AFTER = {"XREAD": b"STREAMS", "XREADGROUP": b"STREAMS"}
_NUMBERED = {"EVALSHA", "EVAL", "EVALSHA_RO", "FCALL"}  # body, number of keys, keys
_SECOND_WORD = {"XINFO", "XGROUP", "OBJECT", "MEMORY"}  # a word more before the key
_KEYLESS = {"INFO", "TIME", "PING", "CONFIG", "CLIENT", "SCRIPT", "SCAN", "CLUSTER", "DBSIZE", "COMMAND"}


class Cluster(Redis):
    """See above; `connection.connect` makes it.

    Attributes:
        topology: who serves what.
    """

    def __init__(self, topology: Topology) -> None:
        super().__init__(connection_pool=topology.anybody().connection_pool)
        self.topology = topology

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Carry a command out where its key is.

        Raises:
            ValueError: it has none.
            RedisError: see the client of one server; TryAgainError while what it is about is being moved.
        """
        if args[0] == "SCRIPT LOAD":
            return (await asyncio.gather(*[node.script_load(args[1]) for node in await masters(self)]))[0]
        key = key_of(args)
        if key is None:
            raise ValueError(f"{args[0]} names no key, so no server: ask `serving`, `masters` or `members`")
        return await self._followed(key, lambda node: node.execute_command(*args, **options))  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:  # noqa: ARG002, FBT001, FBT002 - the base class's signature
        """Commands that are sent together, to each server its own."""
        return _Pipeline(self, is_transaction=transaction)

    async def scan_iter(self, *args: Any, **options: Any) -> AsyncIterator[Any]:  # type: ignore[override] # asynchronous, as its is
        """The keys of all masters, one after the other."""
        for node in await masters(self):
            async for name in node.scan_iter(*args, **options):
                yield name

    def pubsub(self, **options: Any) -> PubSub:
        """Messages of any node: what is published on one is heard on all."""
        return PubSub(self.topology.anybody().connection_pool, **options)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: ARG002, FBT001 - the same
        """Hang up."""
        await self.topology.close()

    async def _followed(self, key: str | bytes, ask: Callable[[Redis], Awaitable[Any]]) -> Any:
        """What `ask` returns of the server of `key`, wherever that is by now: a redirection changes nothing there."""
        for _ in range(REDIRECTS_MAX):
            node = self.topology.client(await self.topology.master(key))
            try:
                return await ask(node)
            except MovedError as error:
                self.topology.moved(error.slot_id, Address(*error.node_addr))
            except AskError as error:
                raise TryAgainError(f"TRYAGAIN the slot {error.slot_id} is being moved") from error
            except (RedisError, OSError):
                self.topology.doubt()
                raise
        raise TryAgainError(f"TRYAGAIN redirected {REDIRECTS_MAX} times")


class _Pipeline(Pipeline):
    """Commands, until they are sent."""

    def __init__(self, cluster: Cluster, *, is_transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, is_transaction, None)
        self._cluster = cluster

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 - the base class's signature
        """Send them, and return the reply to each.

        Raises:
            ValueError: none has a key; or a transaction is about several slots.
            RedisError: of the first that failed.
        """
        commands, self.command_stack = self.command_stack, []
        if not commands:
            return []
        keys = keys_of([args for args, _ in commands])
        parts = await self._parts(keys)
        replies: list[Any] = [None] * len(commands)
        for part, found in zip(
            parts,
            await asyncio.gather(*[self._sent(keys[part[0]], commands, part) for part in parts]),
            strict=True,
        ):
            for at, reply in zip(part, found, strict=True):
                replies[at] = reply
        if raise_on_error:
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        return replies

    async def _parts(self, keys: Sequence[str | bytes]) -> list[list[int]]:
        """The numbers of the commands that go to one server each."""
        if self.is_transaction:
            if len(set(map(slot_of, keys))) > 1:
                raise ValueError("a transaction is about keys of one slot")
            return [list(range(len(keys)))]
        parts = await self._cluster.topology.by_master(keys)
        if None in parts:
            raise ClusterDownError(UNSERVED)
        return list(parts.values())

    async def _sent(self, key: str | bytes, commands: Any, part: list[int]) -> list[Any]:
        async def ask(node: Redis) -> list[Any]:
            async with node.pipeline(transaction=self.is_transaction) as pipe:
                pipe.command_stack = [commands[at] for at in part]
                found = await pipe.execute(raise_on_error=False)
            if all(isinstance(each, AskError) for each in found):  # nothing was done, so it may be sent again
                raise found[0]
            if any(isinstance(each, AskError) for each in found):
                self._cluster.topology.doubt()
                raise TryAgainError("TRYAGAIN the slot was moved while it was asked about")
            if any(isinstance(each, UNFIT) for each in found):
                self._cluster.topology.doubt()
            return found

        return await self._cluster._followed(key, ask)  # type: ignore[no-any-return] # noqa: SLF001 - its client


async def serving(redis: Redis, key: str) -> Redis:
    """A client of the very server that has `key`; for questions about it that name no key."""
    if not isinstance(redis, Cluster):
        return redis
    return redis.topology.client(await redis.topology.master(key))


async def masters(redis: Redis) -> list[Redis]:
    """Clients of all servers that are written to."""
    if not isinstance(redis, Cluster):
        return [redis]
    return [redis.topology.client(each) for each in await redis.topology.masters()]


async def members(redis: Redis) -> list[Redis]:
    """Clients of all servers, replicas too: any of them may be a master soon."""
    if not isinstance(redis, Cluster):
        return [redis]
    nodes = [*await redis.topology.masters(), *await redis.topology.replicas()]
    return [redis.topology.client(each) for each in nodes]


def server_of(redis: Redis) -> Callable[[str], Hashable] | None:
    """Tells keys of one server from others', as far as is known; None where there is but one."""
    if not isinstance(redis, Cluster):
        return None
    topology = redis.topology
    return lambda key: topology.known(key) or key


def key_of(args: Sequence[Any]) -> str | bytes | None:
    """The first key that a command names (its channel, if it publishes); None if it names none."""
    name, *words = str(args[0]).split()
    if name in _KEYLESS:
        return None
    if name in _NUMBERED:
        return args[3] if int(args[2]) else None
    if name in _KEY_AFTER:
        after = _KEY_AFTER[name]
        return next((key for word, key in pairwise(args) if _bytes(word) == after), None)
    at = 1 + (name in _SECOND_WORD and not words)
    return args[at] if len(args) > at else None


def keys_of(commands: Sequence[Sequence[Any]]) -> list[str | bytes]:
    """The key by which each of some commands finds its server; what names none goes with the first that does.

    Raises:
        ValueError: none names one.
    """
    keys = [key_of(command) for command in commands]
    first = next((key for key in keys if key is not None), None)
    if first is None:
        raise ValueError(f"{commands[0][0]} names no key, so no server")
    return [first if key is None else key for key in keys]


def _bytes(word: Any) -> bytes:
    return word if isinstance(word, bytes) else str(word).upper().encode()
