"""The way of an opening: lock, look, fence, compare, and open as it is or as it was healed."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from redis.exceptions import ConnectionError as RedisConnectionError

from shared import logs
from shared.domain import ids
from shared.eventlog import opening
from shared.eventlog.cluster import Cluster
from shared.eventlog.keys import Keys
from shared.eventlog.opening import Healed
from shared.faults import Fatal
from shared.personal.levelling import level
from shared.readmodel import archive
from shared.recovery.comparing import UNCHANGED, Behind, Forked, Level, Overtaken, compare
from shared.recovery.quarantine import put_aside
from shared.recovery.rebuilding import Rebuilding, Rebuilt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import timedelta

    import asyncpg
    from redis.asyncio import Redis

    from shared.eventlog.opening import LogState
    from shared.readmodel.archive import Checkpoint
    from shared.recovery.comparing import Finding

OPENING_LOCK = 0x0DA7_0001  # advisory, with the partition as its second number
LOOKS = 10  # at a log that moves while it is compared: restarted again, or written to by another way than `commit`


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What an opener did.

    Attributes:
        found: how the log stood to the archive; None if it was open already.
        rebuilt: what was made anew, None if nothing.
        quarantined: how many events of a fork were put aside.
    """

    found: Finding | None = None
    rebuilt: Rebuilt | None = None
    quarantined: int = 0


async def open_log(
    pool: asyncpg.Pool,
    redis: Redis,
    *,
    prefix: str,
    partition: int,
    partitions: int,
    lease: timedelta,
    chance: Callable[[], int],
) -> Opening:
    """Open a partition's log for this incarnation of the Redis server; heal it first if the archive is ahead.

    The first start is the same path. Any number of processes may call it at once: one opens, the others see
    that it is open. Returns when the log is open.

    Args:
        pool: of the archive's database.
        redis: a client for commands.
        prefix: what every key begins with.
        partition: the one to open.
        partitions: of the deployment.
        lease: how long running runs are left alone from now: their workers may be alive.
        chance: 74 random bits or more at each call.

    Raises:
        Fatal: log and archive don't belong together, or what lies between them is in neither; says how.
    """
    keys = Keys(prefix, partition)
    async with pool.acquire() as connection, _alone(connection, partition):
        opener = _Opener(connection, redis, keys, partitions=partitions, lease=lease, chance=chance)
        for _ in range(LOOKS):
            state = await opening.look(redis, keys)
            if await _is_open(connection, redis, partition, state):
                return Opening()
            try:
                done = await opener.open(state)
            except Overtaken as finding:
                logs.get("daybook.recovery").info("looking again", partition=partition, finding=str(finding))
                continue
            if done is not None:
                return done
    raise Fatal(_restless(partition))


async def survey(pool: asyncpg.Pool, redis: Redis, *, prefix: str, partition: int) -> Finding | None:
    """How a partition's log stands to the archive now, None if it is open; writes nothing, others may be writing.

    Raises:
        Fatal: as `open_log` would.
    """
    keys = Keys(prefix, partition)
    async with pool.acquire() as connection:
        for _ in range(LOOKS):
            state = await opening.look(redis, keys)
            if await _is_open(connection, redis, partition, state):
                return None
            archived = await archive.checkpoint(connection, partition)
            with suppress(Overtaken):
                return (
                    Level() if archived is None else await compare(connection, redis, keys, state, archived)
                )
    raise Fatal(_restless(partition))


class _Opener:
    def __init__(
        self,
        connection: archive.Connection,
        redis: Redis,
        keys: Keys,
        *,
        partitions: int,
        lease: timedelta,
        chance: Callable[[], int],
    ) -> None:
        self._connection = connection
        self._redis = redis
        self._keys = keys
        self._partitions = partitions
        self._lease = lease
        self._chance = chance
        self._log = logs.get("daybook.recovery").bind(partition=keys.partition)

    async def open(self, state: LogState) -> Opening | None:
        """Open the log as it stands in `state`; None if it has moved since.

        Raises:
            Fatal: see `open_log`.
            Overtaken: see `open_log`, which looks again.
        """
        connection, redis, keys = self._connection, self._redis, self._keys
        # Once before the fence too: a process pointed at a wrong Redis must not fence off the right one, nor one that
        # meets an empty database make it refuse the cold copies that are about to be imported.
        before = await archive.checkpoint(connection, keys.partition)
        await compare(connection, redis, keys, state, before or archive.nothing_of(keys.partition))
        epoch = _next_epoch(state, before)
        now = await archive.raise_fence(connection, keys.partition, epoch)
        found = await compare(connection, redis, keys, state, now)
        if isinstance(found, Level):
            await level(connection, redis, keys)
            runs = await opening.running(redis, keys)
            if await self._open_as(state, epoch, runs) != "OPENED":
                return None
            self._log.info("log opened", epoch=epoch, after=str(state.tail_at))
            return Opening(found=found)
        return await self._heal(state, epoch, now, found)

    async def _heal(
        self, state: LogState, epoch: int, archived: Checkpoint, found: Behind | Forked
    ) -> Opening | None:
        quarantined = await self._put_aside(found) if isinstance(found, Forked) else 0
        token = ids.event_id(state.now_ms, self._chance())
        rebuild = Rebuilding(
            self._connection,
            self._redis,
            self._keys,
            state,
            lease=self._lease,
            token=token,
            keep_answers=isinstance(found, Behind),
        )
        self._log.warning("healing the log", log_at=str(found.tail), archived=str(found.archived))
        rebuilt = await rebuild()
        await level(self._connection, self._redis, self._keys)  # by the states that are there again
        healed = Healed(
            token=token,
            previous=(archived.epoch, archived.pos, archived.id),
            at_ms=ids.to_ms(archived.at) if archived.at else 0,
        )
        if await self._open_as(state, epoch, rebuilt.running, healed) != "OPENED":
            return None
        self._log.warning("log healed", epoch=epoch, jobs=rebuilt.jobs, runs=rebuilt.runs)
        return Opening(found=found, rebuilt=rebuilt, quarantined=quarantined)

    async def _put_aside(self, fork: Forked) -> int:
        """Keep the log's own events aside, and call somebody."""
        reason = f"the log forked after {fork.common}; the archive, at {fork.archived}, won"
        count = await put_aside(self._connection, self._redis, self._keys, fork.common, reason)
        self._log.error(
            "the log has forked, its own events are in quarantine",
            after=str(fork.common),
            to=str(fork.tail),
            archived=str(fork.archived),
            events=count,
        )
        return count

    async def _open_as(
        self, state: LogState, epoch: int, runs: list[str], healed: Healed | None = None
    ) -> Literal["OPENED", "MOVED", "ALREADY"]:
        return await opening.open_as(
            self._redis,
            self._keys,
            state,
            epoch=epoch,
            partitions=self._partitions,
            lease=self._lease,
            runs=runs,
            chance=self._chance(),
            healed=healed,
        )


@asynccontextmanager
async def _alone(connection: archive.Connection, partition: int) -> AsyncIterator[None]:
    """One opener of a partition at a time. A lock of the session: the fence must be committed on the way."""
    try:
        await connection.execute("select pg_advisory_lock($1, $2)", OPENING_LOCK, partition)
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("select pg_advisory_unlock($1, $2)", OPENING_LOCK, partition)


async def _is_open(connection: archive.Connection, redis: Redis, partition: int, state: LogState) -> bool:
    """Whether there is nothing to do.

    Raises:
        Fatal: this server was opened, but another one after it.
        RedisConnectionError: the same in a Cluster, whose other nodes will tell who that is.
    """
    if not state.is_open:
        return False
    checkpoint = await archive.checkpoint(connection, partition)
    if checkpoint is None:
        raise Fatal(
            f"Partition {partition} is open in Redis, but this database has never heard of it: "
            "one of DAYBOOK_REDIS_URL and DAYBOOK_DATABASE_URL is another deployment's; or the database was lost: "
            f"then stop the services, and restore a backup, or have `daybook archive import` bring in a cold copy. "
            f"{UNCHANGED}"
        )
    if state.epoch < checkpoint.fence:
        former = (
            f"Partition {partition} was opened for epoch {checkpoint.fence} on another server; this Redis "
            f"stands at epoch {state.epoch} and is a former master."
        )
        if isinstance(redis, Cluster):
            redis.topology.doubt()
            raise RedisConnectionError(former)
        raise Fatal(f"{former} Point DAYBOOK_REDIS_URL at the present one. {UNCHANGED}")
    return True


def _restless(partition: int) -> str:
    return f"The log of partition {partition} keeps changing while it is looked at. {UNCHANGED}"


def _next_epoch(state: LogState, before: Checkpoint | None) -> int:
    """Above every epoch known; about the time of day, so that epochs can be read."""
    known = max(state.epoch, state.tail_at.epoch, *((before.fence, before.epoch) if before else (0, 0)))
    return max(known + 1, state.now_ms)
