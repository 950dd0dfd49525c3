"""The keys of jobs whose data has personal parts.

Their home is `book.personal_keys` in Postgres, where a key stands before anything that it seals is written. A copy
stands in Redis, in the job's partition, so that executors go on while Postgres is away. Whoever reads asks Redis, then
Postgres, and writes nothing: only what holds the row against an erasure copies a key, and an erasure takes the row
first and then the copy, before it lets go of the row. So no key comes back.

Beside a key stands the tenant of its job: what a sealed value says of itself is whose it is, and who shows it to people
of one tenant opens it by keys of this tenant only, wherever it has turned up.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from shared.domain import ids
from shared.eventlog.keys import Keys
from shared.faults import is_broken
from shared.personal.sealing import ERASED, KEY_BYTES
from shared.readmodel.database import sql

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    import asyncpg
    from redis.asyncio import Redis

    from shared.eventlog.wire import Wire
    from shared.readmodel.database import Connection

PAGE = 1_000
TOGETHER = 200  # askers whose keys are made in one go
COPIES_S = 2.0  # for Redis; less than who asks has in all, so that Postgres is asked if Redis says nothing


class Held(NamedTuple):
    """A key, ERASED for none any more, and whose job it is of."""

    key: bytes
    tenant: str


class _Wanted(NamedTuple):
    """Whose keys somebody waits for: the jobs, with their tenants."""

    jobs: dict[str, str]
    future: asyncio.Future[dict[str, bytes]]


class PersonalKeys:
    """The keys of a deployment.

    Args:
        redis: a client for commands.
        pool: of Postgres connections.
        prefix: of the deployment's keys.
        wire: a connection that is shared by many askers, if there is one.
        chance: so many random bytes.
    """

    def __init__(
        self,
        redis: Redis,
        pool: asyncpg.Pool,
        *,
        prefix: str,
        wire: Wire | None = None,
        chance: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._prefix = prefix
        self._wire = wire
        self._chance = chance
        self._wanted: list[_Wanted] = []
        self._making: asyncio.Task[None] | None = None

    async def of(self, job_ids: Collection[str], *, tenant: str | None = None) -> dict[str, bytes]:
        """The keys of those jobs that have one; ERASED for those that were erased.

        Redis is asked once a partition, Postgres only for what isn't there, or if Redis is away.

        Args:
            job_ids: of the jobs.
            tenant: only keys of jobs of this tenant; None: of all.

        Raises:
            OSError: or whatever else a store raises that isn't there.
        """
        try:
            async with asyncio.timeout(COPIES_S):
                found = await self._copies(job_ids)
        except Exception as error:
            if not is_broken(error):
                raise
            found = {}
        missing = [each for each in job_ids if each not in found]
        if missing:
            found |= held_in(await self._pool.fetch(statement("keys"), missing))
        return {job: held.key for job, held in found.items() if _is_for(tenant, held)}

    async def make(self, job_ids: Collection[str], *, tenant: str) -> dict[str, bytes]:
        """The keys of these jobs, made where there are none; ERASED for those that were erased: they get none.

        To be called before anything is written that they seal. May be called again.

        Args:
            job_ids: of the jobs.
            tenant: of all of them.

        Raises:
            OSError: or whatever else a store raises that isn't there; then nothing may be written.
        """
        future: asyncio.Future[dict[str, bytes]] = asyncio.get_running_loop().create_future()
        self._wanted.append(_Wanted(dict.fromkeys(job_ids, tenant), future))
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make(), name="personal keys")
        return await future

    async def given(self, job_ids: Collection[str], *, tenant: str) -> dict[str, bytes]:
        """The keys of these jobs: those they have, and for the others new ones; see `make`."""
        found = {job: held.key for job, held in (await self._copies(job_ids)).items()}
        missing = [each for each in job_ids if each not in found]
        return found | (await self.make(missing, tenant=tenant) if missing else {})

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

    async def _make(self) -> None:
        """Make what is wanted; what is asked for meanwhile is made together."""
        while self._wanted:
            some, self._wanted = self._wanted[:TOGETHER], self._wanted[TOGETHER:]
            try:
                found = await self._made({job: each for one in some for job, each in one.jobs.items()})
            except BaseException as error:
                said = error if isinstance(error, Exception) else ConnectionError("closing")
                for one in some:
                    if not one.future.done():
                        one.future.set_exception(said)
                if not isinstance(error, Exception):
                    raise
                continue
            for one in some:
                if not one.future.done():
                    one.future.set_result({job: found[job].key for job in one.jobs})

    async def _made(self, wanted: Mapping[str, str]) -> dict[str, Held]:
        jobs, chance = list(wanted), [self._chance(KEY_BYTES) for _ in wanted]
        told = jobs, partitions_of(jobs), list(wanted.values()), chance
        async with self._pool.acquire() as connection:
            await connection.execute(statement("make"), *told)
            async with connection.transaction():
                found = held_in(await connection.fetch(statement("held"), jobs))
                for partition, its in _by_partition(found).items():
                    await copy(self._redis, self._name(partition), {job: found[job] for job in its})
        return found

    async def _copies(self, job_ids: Iterable[str]) -> dict[str, Held]:
        groups = _by_partition(job_ids)
        if not groups:
            return {}
        names = [self._name(partition) for partition in groups]
        if self._wire is not None:
            asked = zip(names, groups.values(), strict=True)
            answers = await self._wire.replies(*(("HMGET", name, *jobs) for name, jobs in asked))
        else:
            answers = [await self._redis.hmget(*each) for each in zip(names, groups.values(), strict=True)]
        return {
            job: of_copy(copy)
            for jobs, copies in zip(groups.values(), answers, strict=True)
            for job, copy in zip(jobs, copies, strict=True)
            if copy is not None
        }

    def _name(self, partition: int) -> str:
        return Keys(self._prefix, partition).personal


async def destroy_rows(connection: Connection, job_ids: Collection[str]) -> None:
    """As `PersonalKeys.destroy`, where no Redis is at hand: `levelling` takes the copies."""
    await connection.execute(statement("destroy"), list(job_ids), partitions_of(job_ids))


async def copy(redis: Redis, name: str, found: Mapping[str, Held]) -> None:
    """Set copies of keys of one partition, whose rows are held, under the name of its hash."""
    pairs = [
        part
        for job, held in found.items()
        if held.key != ERASED
        for part in (job, held.key + held.tenant.encode())
    ]
    if pairs:
        await redis.hset(name, items=pairs)


def held_in(rows: Iterable[asyncpg.Record]) -> dict[str, Held]:
    """What rows hold, by job."""
    return {row["job"]: Held(row["key"] or ERASED, row["tenant"]) for row in rows}


def _is_for(tenant: str | None, held: Held) -> bool:
    """Whether people of the tenant may have it; that there is none any more, anybody may know."""
    return tenant is None or held.tenant == tenant or held.key == ERASED


def of_copy(copied: bytes) -> Held:
    """What a copy holds."""
    return Held(copied[:KEY_BYTES], copied[KEY_BYTES:].decode())


def _by_partition(job_ids: Iterable[str]) -> dict[int, list[str]]:
    groups: defaultdict[int, list[str]] = defaultdict(list)
    for each in job_ids:
        groups[ids.partition_of(each)].append(each)
    return dict(groups)


def partitions_of(job_ids: Iterable[str]) -> list[int]:
    """Where each of them stands."""
    return [ids.partition_of(each) for each in job_ids]


def statement(name: str) -> str:
    """The text of one of the package's statements."""
    return sql("shared.personal", f"statements/{name}.sql")
