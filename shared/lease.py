"""Leases: which replica serves a partition, and a fair share of the partitions for each replica.

A courtesy that saves work. Safety never depends on it (DESIGN §5.1, §7): a replica that was stopped between
looking at its lease and acting on it meets the guards of `commit`, or the projector's compare-and-set.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from redis.asyncio import Redis

TTL_MS = 1000  # renewed at a third: two renewals may fail before it is lost
CLUSTER_TTL_MS = (
    3000  # the same where one of several servers may be silent, and keep each renewal waiting for a third
)


class Lease:
    """One key that at most one holder has at a time.

    Args:
        redis: any client; each call touches one key, so a cluster's will do.
        key: the lease's.
        holder: a name no other process has, nor had (a restarted one must not renew its predecessor's lease).
        ttl_ms: how long it lasts unless renewed; call `hold` each third of it.
    """

    def __init__(self, redis: Redis, key: str, holder: str, ttl_ms: int = TTL_MS) -> None:
        self._key = key
        self._holder = holder
        self._ttl_ms = ttl_ms
        self._until = 0.0
        self._redis = redis
        self._give_back = redis.register_script(_source("lease_release.lua"))

    @property
    def held(self) -> bool:
        """Whether it is certainly mine now: it turns false by itself when renewals stop getting through."""
        return time.monotonic() < self._until

    async def hold(self) -> bool:
        """Acquire the lease, or renew it; return whether it is held now.

        Raises:
            redis.exceptions.RedisError: it is unknown whether it was renewed; `held` tells what is certain.
        """
        await hold_together(self._redis, [self])
        return self.held

    @property
    def asked(self) -> tuple[str, str, int]:
        """Key and arguments of `lease.lua`."""
        return self._key, self._holder, self._ttl_ms

    def answered(self, asked_at: float, *, taken: bool) -> None:
        """Note the reply to what was asked at this moment of `time.monotonic`."""
        self._until = asked_at + self._ttl_ms / 1000 if taken else 0.0

    async def release(self) -> None:
        """Give it back if it is mine, so that another may take it at once; may be called twice."""
        self._until = 0.0
        await self._give_back(keys=[self._key], args=[self._holder])


async def hold_together(redis: Redis, leases: Sequence[Lease]) -> None:
    """Acquire or renew leases in one round trip.

    Raises:
        redis.exceptions.RedisError: of one of them, or of all.
    """
    # From before the call: the server starts counting later, so it never gives a lease away while I
    # believe in it.
    asked_at = time.monotonic()
    replies = await _taken(redis, leases)
    if any(isinstance(reply, NoScriptError) for reply in replies):
        await redis.script_load(_source("lease.lua"))
        replies = await _taken(redis, leases)
    for lease, reply in zip(leases, replies, strict=True):
        if not isinstance(reply, Exception):
            lease.answered(asked_at, taken=bool(reply))
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply


async def _taken(redis: Redis, leases: Sequence[Lease]) -> list[Any]:
    async with redis.pipeline(transaction=False) as pipe:
        for lease in leases:
            pipe.evalsha(_sha("lease.lua"), 1, *lease.asked)
        return await pipe.execute(raise_on_error=False)


class Share:
    """A fair share of some partitions for one replica: P of them among n replicas are P/n each, rounded.

    Replicas know each other from one small sorted set for each role. Each takes its own block of the
    partitions; while replicas come and go, what one has in excess it gives back, and the others take what is
    free. When one dies, the rest is complete again after `ttl_ms` and one renewal; when one leaves with
    `release_all`, after one renewal.

    Args:
        redis: any client; each call touches one key.
        keys: partition → key of its lease.
        members_key: key of the sorted set of this role's replicas.
        holder: a name no other process has, nor had.
        ttl_ms: how long a silent replica keeps its partitions; call `renew` each third of it.
        server_of: which server has a key, where there are several: one that is silent must not cost the partitions
            of others. None: there is but one.
    """

    def __init__(
        self,
        redis: Redis,
        keys: Mapping[int, str],
        members_key: str,
        holder: str,
        ttl_ms: int = TTL_MS,
        *,
        server_of: Callable[[str], Hashable] | None = None,
    ) -> None:
        self._redis = redis
        self._members_key = members_key
        self._holder = holder
        self._ttl_ms = ttl_ms
        self._leases = {partition: Lease(redis, key, holder, ttl_ms) for partition, key in keys.items()}
        self._announce = redis.register_script(_source("lease_members.lua"))
        self._keys = dict(keys)
        self._server_of = server_of
        self._members: list[str] = []  # as last heard of

    @property
    def owned(self) -> frozenset[int]:
        """The partitions that are certainly mine; empties by itself when renewals don't get through."""
        return frozenset(partition for partition, lease in self._leases.items() if lease.held)

    async def renew(self) -> frozenset[int]:
        """Renew what is mine, give back what is too much, take what is missing; return what is owned now.

        Raises:
            redis.exceptions.RedisError: some may not be renewed; `owned` tells what is certain.
        """
        outages = _Outages()
        with outages.noted(self._server(self._members_key)):
            await self._meet()
        if not self._members:
            outages.raise_first()
        partitions, quota = preferred(sorted(self._leases), self._members, self._holder)
        # Mine first, in the order of preference: so the extras that go back are the ones that belong to
        # others.
        owned = self.owned
        wanted = sorted(partitions, key=lambda each: each not in owned)
        while quota > 0 and wanted:
            some, wanted = wanted[:quota], wanted[quota:]
            quota -= await self._held(some, outages)
        await self._released([partition for partition in wanted if partition in owned], outages)
        outages.raise_first()
        return self.owned

    async def _meet(self) -> None:
        """Say that this replica lives, and hear who else does."""
        async with asyncio.timeout(self._patience_s):
            members = await self._announce(keys=[self._members_key], args=[self._holder, self._ttl_ms])
        self._members = sorted(_text(each) for each in members)

    async def _held(self, partitions: Iterable[int], outages: _Outages) -> int:
        """Take or renew some, in one round trip to each server; return how many are mine."""
        by_server: dict[Hashable, list[Lease]] = {}
        for partition in partitions:
            server = self._server(self._keys[partition])
            if server not in outages.silent:
                by_server.setdefault(server, []).append(self._leases[partition])

        async def of_one(server: Hashable, leases: list[Lease]) -> None:
            with outages.noted(server):
                async with asyncio.timeout(self._patience_s):
                    await hold_together(self._redis, leases)

        await asyncio.gather(*[of_one(server, leases) for server, leases in by_server.items()])
        return sum(lease.held for leases in by_server.values() for lease in leases)

    async def _released(self, partitions: Iterable[int], outages: _Outages) -> None:
        for partition in partitions:
            server = self._server(self._keys[partition])
            if server not in outages.silent:
                with outages.noted(server):
                    async with asyncio.timeout(self._patience_s):
                        await self._leases[partition].release()

    def _server(self, key: str) -> Hashable:
        return None if self._server_of is None else self._server_of(key)

    @property
    def _patience_s(self) -> float | None:
        """For one server among several: two renewals must fit into the life of the others' leases."""
        return None if self._server_of is None else self._ttl_ms / 3000

    async def release_all(self) -> None:
        """Leave: give back every partition, and the place among the replicas. The last call of a process."""
        await self._redis.zrem(self._members_key, self._holder)
        for partition in self.owned:
            await self._leases[partition].release()


class _Outages:
    """Which servers have failed in a round, and with what first. Where there is but one, it fails at once."""

    def __init__(self) -> None:
        self.silent: set[Hashable] = set()
        self._first: Exception | None = None

    @contextmanager
    def noted(self, server: Hashable) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if server is None:
                raise
            self.silent.add(server)
            self._first = self._first or error

    def raise_first(self) -> None:
        if self._first is not None:
            raise self._first


def preferred(partitions: list[int], members: list[str], holder: str) -> tuple[list[int], int]:
    """Return all partitions in the order in which `holder` wants them, and how many it may have.

    Each member's block starts where the one before ends, so replicas that agree on `members` want different
    partitions and their quotas add up to all of them. Both lists must be sorted.
    """
    each, extra = divmod(len(partitions), len(members))
    rank = members.index(holder)
    start = rank * each + min(rank, extra)
    return partitions[start:] + partitions[:start], each + (rank < extra)


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


@cache
def _sha(name: str) -> str:
    return hashlib.sha1(_source(name).encode(), usedforsecurity=False).hexdigest()


@cache
def _source(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
