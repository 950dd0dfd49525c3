"""Which node of a Redis Cluster serves which keys, as the nodes tell it; and a client of each node.

A Cluster cuts all keys into 16,384 slots by what stands between braces in them, so a partition lies in one slot, and
on one node. Nodes change places: whoever was told so, or got no answer, has the map asked for anew.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

from redis.crc import key_slot
from redis.exceptions import ClusterDownError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.faults import Fatal
from shared.redis_url import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio import Redis

UNSERVED = "CLUSTERDOWN no master serves this slot"
ASK_EVERY_S = 0.1  # at most: while a master is missing, everybody who meets its silence has doubts
ANSWER_S = 2.0  # for the map; another node is asked then
SLOTS_ASKED = ("CLUSTER", "SLOTS")  # two words: redis-py would make something else of the reply to one
_NO_CLUSTER = "cluster support disabled"


class Topology:
    """The map, and the clients.

    Args:
        seeds: nodes to ask first; the others they tell of.
        client_of: makes a client of one node.
    """

    def __init__(self, seeds: Sequence[Address], client_of: Callable[[Address], Redis]) -> None:
        self._seeds = tuple(seeds)
        self._client_of = client_of
        self._clients: dict[Address, Redis] = {}
        self._masters: dict[int, Address] = {}  # by slot
        self._replicas: frozenset[Address] = frozenset()
        self._is_doubted = True
        self._asked_at = 0.0
        self._asking = asyncio.Lock()

    def client(self, address: Address) -> Redis:
        """The client of a node."""
        found = self._clients.get(address)
        if found is None:
            found = self._clients[address] = self._client_of(address)
        return found

    def known(self, key: str | bytes) -> Address | None:
        """Who served `key` when last heard of."""
        return self._masters.get(slot_of(key))

    def anybody(self) -> Redis:
        """Some node: what is published on one is heard on all."""
        masters = [*frozenset(self._masters.values())] if not self._is_doubted else []
        return self.client(random.choice(masters or self._seeds))

    async def master(self, key: str | bytes) -> Address:
        """Who serves `key`.

        Raises:
            RedisConnectionError: no node answers.
            ClusterDownError: nobody serves it.
        """
        (found,) = (await self.by_master([key])).keys()
        if found is None:
            raise ClusterDownError(UNSERVED)
        return found

    async def by_master(self, keys: Sequence[str | bytes]) -> dict[Address | None, list[int]]:
        """The numbers of the keys that each master serves, by one and the same map; None: nobody does.

        Raises:
            RedisConnectionError: no node answers.
        """
        await self._look()
        found: dict[Address | None, list[int]] = {}
        for number, key in enumerate(keys):
            found.setdefault(self._masters.get(slot_of(key)), []).append(number)
        if None in found:
            self._is_doubted = True
        return found

    async def masters(self) -> list[Address]:
        """All masters."""
        await self._look()
        return sorted(set(self._masters.values()))

    async def replicas(self) -> list[Address]:
        """All replicas."""
        await self._look()
        return sorted(self._replicas)

    def doubt(self) -> None:
        """Have the map asked for before it is used again."""
        self._is_doubted = True

    def moved(self, slot: int, address: Address) -> None:
        """Take in what a node said: another serves this slot."""
        self._masters[slot] = address
        self._is_doubted = True

    async def close(self) -> None:
        """Hang up."""
        for client in self._clients.values():
            await client.aclose()

    async def _look(self) -> None:
        if not self._is_doubted:
            return
        async with self._asking:
            if self._is_doubted and (not self._masters or time.monotonic() - self._asked_at > ASK_EVERY_S):
                await self._ask()

    async def _ask(self) -> None:
        """Ask nodes in some order until one answers.

        Raises:
            RedisConnectionError: none does.
            Fatal: one is no node of a Cluster.
        """
        nodes = [*frozenset((*self._masters.values(), *self._replicas, *self._seeds))]
        random.shuffle(nodes)  # an isolated one must not be the one to be asked every time
        errors = []
        for node in nodes:
            try:
                async with asyncio.timeout(ANSWER_S):
                    told = await self._told_by(node)
            except (RedisError, OSError) as error:
                if _NO_CLUSTER in str(error):
                    raise Fatal(_single(node)) from None
                errors.append(f"{node}: {type(error).__name__}: {error}")
                continue
            self._take_in(node, told)
            return
        raise RedisConnectionError(f"no node of the Cluster answers: {'; '.join(errors)}")

    async def _told_by(self, node: Address) -> list[Any]:
        pool = self.client(node).connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.send_command(*SLOTS_ASKED)
            told: Any = await connection.read_response()
        except BaseException as error:
            if not isinstance(error, ResponseError):  # a reply may still be on its way
                await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)
        return told  # type: ignore[no-any-return]

    def _take_in(self, asked: Address, told: list[Any]) -> None:
        self._masters, self._replicas = told_slots(asked, told)
        self._is_doubted, self._asked_at = False, time.monotonic()


def told_slots(asked: Address, told: list[Any]) -> tuple[dict[int, Address], frozenset[Address]]:
    """The master of each slot, and all replicas, in the reply to SLOTS_ASKED."""
    masters: dict[int, Address] = {}
    replicas: set[Address] = set()
    for first, last, master, *others in told:
        masters |= dict.fromkeys(range(first, last + 1), _address(master, asked))
        replicas |= {_address(each, asked) for each in others}
    return masters, frozenset(replicas)


def slot_of(key: str | bytes) -> int:
    """The slot of `key`."""
    return key_slot(key if isinstance(key, bytes) else key.encode())


def _address(told: list[Any], asked: Address) -> Address:
    """A node in the reply to CLUSTER SLOTS; one that doesn't know its name is where it was asked."""
    name = (told[0] or b"").decode()
    return Address(asked.host if name in {"", "?"} else name, int(told[1]))


def _single(node: Address) -> str:
    return (
        f"DAYBOOK_REDIS_URL is the address of a Redis Cluster, but {node} is a server of its own. Write it as "
        "redis://host:port/0 (or rediss://), or start the server with cluster-enabled yes."
    )
