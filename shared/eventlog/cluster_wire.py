"""A `Wire` to a Redis Cluster: one connection to each node that is needed, each command to whoever serves its key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, TryAgainError

from shared.eventlog.cluster import REDIRECTS_MAX, UNFIT, Cluster, key_of, keys_of
from shared.eventlog.topology import UNSERVED
from shared.eventlog.wire import Wire
from shared.redis_url import Address

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from redis.asyncio import Redis

    from shared.eventlog.wire import Command


def wire_to(redis: Redis, *, blocking: bool = False) -> Wire:
    """A wire to what `redis` is a client of; see Wire."""
    return (
        ClusterWire(redis, blocking=blocking)
        if isinstance(redis, Cluster)
        else Wire(redis, blocking=blocking)
    )


class ClusterWire(Wire):
    """See above, and Wire.

    Args:
        cluster: a client from `connection.connect`.
        blocking: likewise; what blocks is about one slot.
    """

    def __init__(self, cluster: Cluster, *, blocking: bool = False) -> None:
        super().__init__(cluster, blocking=blocking)
        self._topology = cluster.topology
        self._wires: dict[Address, Wire] = {}

    async def call(self, *commands: Command) -> list[Any]:
        """Send commands, to each node its own in one go, and return the reply to each; see Wire.call.

        Where they go to several nodes, the error of one that can't be reached stands in the place of its replies.
        What names no key goes where the first key does; without any it goes to all masters.

        Raises:
            redis.exceptions.ConnectionError: see Wire.call; of all of them.
        """
        if all(key_of(command) is None for command in commands):
            return await self._everywhere(commands)
        keys = keys_of(commands)
        replies: list[Any] = [None] * len(commands)
        left: Sequence[int] = range(len(commands))
        for _ in range(REDIRECTS_MAX):
            await self._send(commands, keys, left, replies)
            left = [at for at in left if self._is_redirected(replies[at])]
            if not left:
                return _reached(replies)
        for at in left:
            replies[at] = TryAgainError(f"TRYAGAIN redirected {REDIRECTS_MAX} times")
        return _reached(replies)

    def lane(self, key: str) -> Hashable:
        """The node that served `key` when last heard of."""
        return self._topology.known(key)

    def close(self) -> None:
        """Drop the connections; whoever waits for a reply gets an error."""
        for wire in self._wires.values():
            wire.close()

    async def _everywhere(self, commands: Sequence[Command]) -> list[Any]:
        wires = [self._wire_of(node) for node in await self._topology.masters()]
        found = await asyncio.gather(*[wire.call(*commands) for wire in wires], return_exceptions=True)
        for replies in found:  # a node that can't be reached has to be asked again by whoever needs it
            if isinstance(replies, list):
                return replies
        raise found[0]  # type: ignore[misc] # no list, so an exception

    async def _send(
        self,
        commands: Sequence[Command],
        keys: Sequence[str | bytes],
        which: Sequence[int],
        replies: list[Any],
    ) -> None:
        """Put the reply to each of some commands into its place."""
        parts = await self._topology.by_master([keys[at] for at in which])
        sent = [
            self._part(address, [commands[which[number]] for number in part])
            for address, part in parts.items()
        ]
        found = [await sent[0]] if len(sent) == 1 else await asyncio.gather(*sent)
        for part, of_part in zip(parts.values(), found, strict=True):
            for number, reply in zip(part, of_part, strict=True):
                replies[which[number]] = reply

    async def _part(self, address: Address | None, commands: Sequence[Command]) -> list[Any]:
        if address is None:  # nobody has these slots; others are served
            return [_Unreached(ClusterDownError(UNSERVED))] * len(commands)
        try:
            return await self._wire_of(address).call(*commands)
        except (RedisError, OSError) as error:
            self._topology.doubt()
            return [_Unreached(error)] * len(commands)

    def _wire_of(self, node: Address) -> Wire:
        found = self._wires.get(node)
        if found is None:
            found = self._wires[node] = Wire(self._topology.client(node), blocking=self._blocking)
        return found

    def _is_redirected(self, reply: Any) -> bool:
        """Whether another node has to be asked: nothing was done."""
        if isinstance(reply, MovedError):
            self._topology.moved(reply.slot_id, Address(*reply.node_addr))
            return True
        if isinstance(reply, UNFIT):
            self._topology.doubt()
        return False


class _Unreached(Exception):  # noqa: N818 - an error, in the place of a reply
    """A node was not reached, or nobody knows what it did."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def _reached(replies: list[Any]) -> list[Any]:
    """The replies, as a caller sees them.

    Raises:
        redis.exceptions.ConnectionError: no node was reached.
    """
    if all(isinstance(reply, _Unreached) for reply in replies):
        raise replies[0].error
    return [_told(reply) for reply in replies]


def _told(reply: Any) -> Any:
    if isinstance(reply, _Unreached):
        return reply.error
    if isinstance(reply, AskError):
        return TryAgainError(f"TRYAGAIN the slot {reply.slot_id} is being moved")
    return reply
