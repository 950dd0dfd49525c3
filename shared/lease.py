"""Leases: which replica serves a partition, and a fair share of the partitions for each replica.

A courtesy that saves work. Safety never depends on it (DESIGN §5.1, §7): a replica that was stopped between
looking at its lease and acting on it meets the guards of `commit`, or the projector's compare-and-set.
"""

import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from redis.asyncio import Redis

TTL_MS = 1000  # renewed at a third: two renewals may fail before it is lost


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
        self._take = redis.register_script(_source("lease.lua"))
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
        # From before the call: the server starts counting later, so it never gives the lease away while I
        # believe in it.
        asked_at = time.monotonic()
        taken = await self._take(keys=[self._key], args=[self._holder, self._ttl_ms])
        self._until = asked_at + self._ttl_ms / 1000 if taken else 0.0
        return self.held

    async def release(self) -> None:
        """Give it back if it is mine, so that another may take it at once; may be called twice."""
        self._until = 0.0
        await self._give_back(keys=[self._key], args=[self._holder])


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
    """

    def __init__(
        self, redis: Redis, keys: Mapping[int, str], members_key: str, holder: str, ttl_ms: int = TTL_MS
    ) -> None:
        self._redis = redis
        self._members_key = members_key
        self._holder = holder
        self._ttl_ms = ttl_ms
        self._leases = {partition: Lease(redis, key, holder, ttl_ms) for partition, key in keys.items()}
        self._announce = redis.register_script(_source("lease_members.lua"))

    @property
    def owned(self) -> frozenset[int]:
        """The partitions that are certainly mine; empties by itself when renewals don't get through."""
        return frozenset(partition for partition, lease in self._leases.items() if lease.held)

    async def renew(self) -> frozenset[int]:
        """Renew what is mine, give back what is too much, take what is missing; return what is owned now.

        Raises:
            redis.exceptions.RedisError: some may not be renewed; `owned` tells what is certain.
        """
        members = await self._announce(keys=[self._members_key], args=[self._holder, self._ttl_ms])
        partitions, quota = preferred(
            sorted(self._leases), sorted(_text(each) for each in members), self._holder
        )
        # Mine first, in the order of preference: so the extras that go back are the ones that belong to
        # others.
        mine = self.owned
        for partition in sorted(partitions, key=lambda each: each not in mine):
            if quota > 0:
                quota -= await self._leases[partition].hold()
            elif partition in mine:
                await self._leases[partition].release()
        return self.owned

    async def release_all(self) -> None:
        """Leave: give back every partition, and the place among the replicas. The last call of a process."""
        await self._redis.zrem(self._members_key, self._holder)
        for partition in self.owned:
            await self._leases[partition].release()


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
def _source(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
