"""The keys of jobs whose data has personal parts.

Their home is `book.personal_keys` in Postgres, where a key stands before anything that it seals is written. A copy
stands in Redis, in the job's partition, so that executors go on while Postgres is away. Whoever reads asks Redis, then
Postgres, and writes nothing: only what holds the row against an erasure copies a key, and an erasure takes the row
first and then the copy, before it lets go of the row. So no key comes back.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from typing import TYPE_CHECKING, cast

from shared.domain import ids
from shared.eventlog.keys import Keys
from shared.personal.sealing import ERASED, KEY_BYTES
from shared.readmodel.database import changed, sql

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    import asyncpg
    from redis.asyncio import Redis

    from shared.readmodel.database import Connection

PAGE = 1_000


class PersonalKeys:
    """The keys of a deployment.

    Args:
        redis: a client for commands.
        pool: of Postgres connections.
        prefix: of the deployment's keys.
        chance: so many random bytes.
    """

    def __init__(
        self,
        redis: Redis,
        pool: asyncpg.Pool,
        *,
        prefix: str,
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._prefix = prefix
        self._chance = chance

    async def of(self, job_ids: Collection[str]) -> dict[str, bytes]:
        """The keys of those jobs that have one; ERASED for those that were erased.

        Redis is asked once a partition, Postgres only for what isn't there.

        Raises:
            OSError: or whatever else a store raises that isn't there.
        """
        found = await self._copies(job_ids)
        missing = [each for each in job_ids if each not in found]
        if missing:
            rows = await self._pool.fetch(_statement("keys"), missing)
            found |= {row["job"]: row["key"] or ERASED for row in rows}
        return found

    async def make(self, job_ids: Collection[str]) -> dict[str, bytes]:
        """The keys of these jobs, made where there are none; ERASED for those that were erased: they get none.

        To be called before anything is written that they seal. May be called again.

        Raises:
            OSError: or whatever else a store raises that isn't there; then nothing may be written.
        """
        made = [self._chance(KEY_BYTES) for _ in job_ids]
        async with self._pool.acquire() as connection:
            await connection.execute(_statement("make"), list(job_ids), _partitions(job_ids), made)
            async with connection.transaction():
                rows = await connection.fetch(_statement("held"), list(job_ids))
                await self._copy([(row["job"], row["key"]) for row in rows if row["key"]])
        return {row["job"]: row["key"] or ERASED for row in rows}

    async def given(self, job_ids: Collection[str]) -> dict[str, bytes]:
        """The keys of these jobs: those they have, and for the others new ones; see `of` and `make`."""
        found = await self.of(job_ids)
        missing = [each for each in job_ids if each not in found]
        return found | (await self.make(missing) if missing else {})

    async def destroy(self, connection: Connection, job_ids: Collection[str]) -> None:
        """Take the keys of these jobs for good. May be called again.

        Args:
            connection: in a transaction, which holds the rows until the copies are gone; if it is rolled back, this is
                to be called again.
            job_ids: may have no keys: then they get none.
        """
        if not job_ids:
            return
        await destroy_rows(connection, job_ids)
        for partition, jobs in _by_partition(job_ids).items():
            await self._redis.hdel(self._name(partition), *jobs)

    async def to_redis(self, partition: int) -> int:
        """Make the copies of a partition again, and take away those of erased jobs; return how many keys there are."""
        keys, after = 0, ""
        while True:
            async with self._pool.acquire() as connection, connection.transaction():
                rows = await connection.fetch(_statement("page"), partition, after, PAGE)
                await self._copy([(row["job"], row["key"]) for row in rows if row["key"]])
                if erased := [row["job"] for row in rows if not row["key"]]:
                    await self._redis.hdel(self._name(partition), *erased)
            keys += len(rows) - len(erased)
            if len(rows) < PAGE:
                return keys
            after = rows[-1]["job"]

    async def to_postgres(self, partition: int) -> int:
        """Take in the copies of a partition whose rows were lost; return how many there were.

        To be called when the archive is whole again: it tells who was erased.
        """
        taken, page = 0, []
        async for job, key in self._redis.hscan_iter(self._name(partition), count=PAGE):
            page.append((job.decode(), key))
            if len(page) == PAGE:
                taken, page = taken + await self.take_in(page), []
        return taken + await self.take_in(page)

    async def take_in(self, copies: Sequence[tuple[str, bytes]]) -> int:
        """Keep copies of keys, (job, key), whose rows were lost, but of erased jobs; return how many."""
        if not copies:
            return 0
        jobs, keys = zip(*copies, strict=True)
        return changed(
            await self._pool.execute(_statement("take_in"), list(jobs), _partitions(jobs), list(keys))
        )

    async def _copies(self, job_ids: Iterable[str]) -> dict[str, bytes]:
        groups = _by_partition(job_ids)
        asked = [self._redis.hmget(self._name(partition), jobs) for partition, jobs in groups.items()]
        answers = await asyncio.gather(*cast("list[Awaitable[list[bytes | None]]]", asked))
        return {
            job: key
            for jobs, keys in zip(groups.values(), answers, strict=True)
            for job, key in zip(jobs, keys, strict=True)
            if key is not None
        }

    async def _copy(self, keys: Sequence[tuple[str, bytes]]) -> None:
        """Set copies of keys, (job, key), whose rows are held."""
        known = dict(keys)
        for partition, jobs in _by_partition(known).items():
            pairs = [part for job in jobs for part in (job, known[job])]
            await self._redis.hset(self._name(partition), items=pairs)

    def _name(self, partition: int) -> str:
        return Keys(self._prefix, partition).personal


async def destroy_rows(connection: Connection, job_ids: Collection[str]) -> None:
    """As `PersonalKeys.destroy`, where no Redis is at hand: `to_redis` takes the copies when a log is healed."""
    await connection.execute(_statement("destroy"), list(job_ids), _partitions(job_ids))


def _by_partition(job_ids: Iterable[str]) -> dict[int, list[str]]:
    groups: defaultdict[int, list[str]] = defaultdict(list)
    for each in job_ids:
        groups[ids.partition_of(each)].append(each)
    return dict(groups)


def _partitions(job_ids: Iterable[str]) -> list[int]:
    return [ids.partition_of(each) for each in job_ids]


def _statement(name: str) -> str:
    return sql("shared.personal", f"statements/{name}.sql")
