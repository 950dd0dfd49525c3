"""The projector's loops: one for each partition, one that keeps the share of them, one that measures."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.projector import gauges, missing
from services.projector.committer import Committer
from services.projector.manners import Manners
from services.projector.partition import PartitionProjector
from shared.eventlog.keys import Keys
from shared.lifecycle import repeat
from shared.personal.keys import PersonalKeys
from shared.readmodel import database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import asyncpg
    from redis.asyncio import Redis

    from services.projector.partition import Archived
    from shared.eventlog.reader import LogReader
    from shared.lease import Share
    from shared.lifecycle import Health, Stop
    from shared.metrics import Metrics

ROLE = "projector"
SPARE = 3  # connections: one to measure or make months with, one to open a log, one for the committer
RENEW_EVERY_S = 0.33  # a third of lease.TTL_MS: two renewals may fail before a partition is lost
IDLE_S = 0.1  # how often a loop looks whether its partition has become ours
BLOCK_MS = 500  # a read of a quiet log lasts so long: a stop, or the loss of a partition, waits for it
MEASURE_EVERY_S = 1.0
MISSING_EVERY = 2  # measurements; what is missing is missing for seconds already
COUNT_EVERY = 15  # counting rows costs Postgres more
MONTHS_EVERY_S = 24 * 3600.0


class Projector:
    """Projects the partitions of which this replica has the lease.

    Args:
        reader: of the log, on a client whose reads may block; one connection a partition.
        redis: a client for commands.
        pool: of the archive's database; at least SPARE connections more than there are partitions.
        share: the leases; safety doesn't depend on them.
        metrics: where it shows what it does.
        health: gets the probes `log` and `postgres`, beside one for each loop.
        prefix: what every key begins with.
        partitions: of the deployment.
        reopen: opens a partition's log (`recovery.open_log`).
        archived: see PartitionProjector.

    Raises:
        ValueError: the pool is too small; a partition would wait for a connection for ever.
    """

    def __init__(
        self,
        *,
        reader: LogReader,
        redis: Redis,
        pool: asyncpg.Pool,
        share: Share,
        metrics: Metrics,
        health: Health,
        prefix: str,
        partitions: int,
        reopen: Callable[[int], Awaitable[None]],
        archived: Archived | None = None,
    ) -> None:
        if pool.get_max_size() < partitions + SPARE:
            raise ValueError(
                f"{partitions} partitions need a pool of at least {partitions + SPARE} connections"
            )
        self._reader = reader
        self._redis = redis
        self._pool = pool
        self._share = share
        self._metrics = metrics
        self._health = health
        self._keys = {partition: Keys(prefix, partition) for partition in range(partitions)}
        self._manners = Manners()
        self._committer = Committer(pool, redis, self._keys, self._manners)
        personal = PersonalKeys(redis, pool, prefix=prefix)
        self._lines = {
            partition: PartitionProjector(
                partition,
                keys,
                reader=reader,
                redis=redis,
                pool=pool,
                committer=self._committer,
                manners=self._manners,
                metrics=metrics,
                destroy=personal.destroy,
                reopen=reopen,
                archived=archived,
            )
            for partition, keys in self._keys.items()
        }
        self._horizons = missing.Horizons()
        self._measured = 0
        self._counted: frozenset[int] = frozenset()  # partitions, at the last counting

    async def run_once(self, partition: int, *, block_ms: int | None = None) -> int:
        """Project one batch of a partition, whoever has its lease; return how many events it had."""
        return await self._lines[partition].run_once(block_ms=block_ms)

    async def run(self, stop: Stop) -> None:
        """Project until `stop` is set, then what the log still holds; give the partitions back."""
        loops: dict[str, Callable[[], Awaitable[float | None]]] = {
            "log": self._renew,
            "postgres": self._measure,
            "months": self._make_months,
        }
        try:
            async with asyncio.TaskGroup() as group:
                for name, round_ in loops.items():
                    self._start(group, name, round_, stop)
                for partition in self._lines:
                    self._start(group, f"{ROLE}:{partition}", self._round_of(partition), stop)
            await self._drain()
        finally:
            await self.close()
            await self._share.release_all()

    async def close(self) -> None:
        """Give up what is under way. `run` does it by itself."""
        for line in self._lines.values():
            await line.forget()
        await self._committer.close()
        self._reader.close()

    def _start(
        self, group: asyncio.TaskGroup, name: str, round_: Callable[[], Awaitable[float | None]], stop: Stop
    ) -> None:
        group.create_task(repeat(round_, stop=stop, name=name, health=self._health), name=name)

    def _round_of(self, partition: int) -> Callable[[], Awaitable[float | None]]:
        line = self._lines[partition]

        async def round_() -> float | None:
            if partition in self._share.owned:
                await line.run_once(block_ms=BLOCK_MS)
                return None
            if line.reached is not None:
                await line.leave()
            return IDLE_S

        return round_

    async def _drain(self) -> None:
        """Project what was committed before the other services stopped."""
        for partition in self._share.owned:
            while await self._lines[partition].run_once(block_ms=None):
                pass

    async def _renew(self) -> float:
        owned = await self._share.renew()
        self._metrics.partitions_owned.labels(ROLE).set(len(owned))
        return RENEW_EVERY_S

    async def _measure(self) -> float:
        checkpoints = {
            partition: line.reached for partition, line in self._lines.items() if line.reached is not None
        }
        lag = await gauges.measure_lag(self._metrics, self._redis, self._keys, checkpoints)
        self._manners.behind = lag.events
        reached = self._horizons.saw(lag.ends, checkpoints)
        # What another replica counts from now on must not be counted here as well.
        is_other = self._counted != checkpoints.keys()
        if is_other or self._measured % MISSING_EVERY == 0:
            count = await missing.count(self._pool, reached, grace=missing.GRACE)
            self._metrics.occurrences_missing.set(count)
        if is_other or self._measured % COUNT_EVERY == 0:
            await gauges.count_ledgers(self._metrics, self._pool, checkpoints)
            self._counted = frozenset(checkpoints)
        self._measured += 1
        return MEASURE_EVERY_S

    async def _make_months(self) -> float:
        async with self._pool.acquire() as connection:
            await database.make_months(connection)
        return MONTHS_EVERY_S
