"""Opening the log: Redis may come back older than it was, and is compared with the archive first.

```
 log ahead of the archive, or equal, same event at the archive's tail ─▶ opened: LogOpened, a new epoch
 archive ahead: the log has lost its tail, or everything              ─▶ Fatal (healing is issue 3 of 8)
 different events at one position: a fork                             ─▶ Fatal (likewise)
```
The fence is raised in between. It waits for a projector's transaction under way, and refuses every later
one of a projector that hasn't seen the new epoch; and none goes on before the log bears that epoch. So the
archive stands still while the two are compared, and a log that isn't open is not projected from either.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn

from shared import logs
from shared.domain import ids
from shared.domain.job import Job
from shared.eventlog import opening
from shared.eventlog.envelope import Recorded
from shared.eventlog.keys import Keys
from shared.eventlog.position import START, Position
from shared.eventlog.snapshot import NOTHING, Snapshot, load
from shared.faults import Fatal
from shared.readmodel import archive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import timedelta

    import asyncpg
    from redis.asyncio import Redis

    from shared.eventlog.opening import LogState
    from shared.readmodel.archive import Checkpoint

OPENING_LOCK = 0x0DA7_0001  # advisory, with the partition as its second number
LOOKS = 10  # at a tail that moves while it is compared: somebody writes by another way than `commit`
UNCHANGED = "Nothing was written, and nothing is projected until this is resolved."
NO_HEALING = f"Healing the log from the archive is not available yet (issue 3 of 8). {UNCHANGED}"


async def open_log(
    pool: asyncpg.Pool,
    redis: Redis,
    *,
    prefix: str,
    partition: int,
    partitions: int,
    lease: timedelta,
    chance: Callable[[], int],
) -> None:
    """Open a partition's log for this incarnation of the Redis server, if the archive agrees with it.

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
        Fatal: log and archive disagree; says how.
    """
    keys = Keys(prefix, partition)
    async with pool.acquire() as connection, _alone(connection, partition):
        for _ in range(LOOKS):
            state = await opening.look(redis, keys)
            if await _is_open(connection, partition, state):
                return
            # Once before the fence too: a process pointed at a wrong Redis must not fence off the right one.
            if (before := await archive.checkpoint(connection, partition)) is not None:
                await _compare(connection, redis, keys, state, before)
            epoch = _next_epoch(state, before)
            now = await archive.raise_fence(connection, partition, epoch)
            await _compare(connection, redis, keys, state, now)
            outcome = await opening.open_as(
                redis,
                keys,
                state,
                epoch=epoch,
                partitions=partitions,
                lease=lease,
                runs=await opening.running(redis, keys),
                chance=chance(),
            )
            if outcome == "OPENED":
                logs.get("daybook.recovery").info(
                    "log opened", partition=partition, epoch=epoch, after=str(state.tail_at)
                )
                return
    raise Fatal(f"The log of partition {partition} keeps changing while it is opened. {UNCHANGED}")


@asynccontextmanager
async def _alone(connection: archive.Connection, partition: int) -> AsyncIterator[None]:
    """One opener of a partition at a time. A lock of the session: the fence must be committed on the way."""
    try:
        await connection.execute("select pg_advisory_lock($1, $2)", OPENING_LOCK, partition)
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("select pg_advisory_unlock($1, $2)", OPENING_LOCK, partition)


async def _is_open(connection: archive.Connection, partition: int, state: LogState) -> bool:
    """Whether there is nothing to do.

    Raises:
        Fatal: this server was opened, but another one after it.
    """
    if not state.is_open:
        return False
    checkpoint = await archive.checkpoint(connection, partition)
    if checkpoint is None:
        raise Fatal(
            f"Partition {partition} is open in Redis, but this database has never heard of it: "
            f"one of DAYBOOK_REDIS_URL and DAYBOOK_DATABASE_URL is another deployment's. {UNCHANGED}"
        )
    if state.epoch < checkpoint.fence:
        raise Fatal(
            f"Partition {partition} was opened for epoch {checkpoint.fence} on another server; this Redis "
            f"stands at epoch {state.epoch} and is a former master. Point DAYBOOK_REDIS_URL at the present "
            f"one. {UNCHANGED}"
        )
    return True


def _next_epoch(state: LogState, before: Checkpoint | None) -> int:
    """Above every epoch known; about the time of day, so that epochs can be read."""
    known = max(state.epoch, state.tail_at.epoch, *((before.fence, before.epoch) if before else (0, 0)))
    return max(known + 1, state.now_ms)


async def _compare(
    connection: archive.Connection, redis: Redis, keys: Keys, state: LogState, archived: Checkpoint
) -> None:
    """Return if the log holds the archive's last event, or begins right after it.

    Raises:
        Fatal: it doesn't.
    """
    at = Position(archived.epoch, archived.pos)
    if state.tail_at.pos < at.pos:
        await _explain_shorter(connection, keys.partition, state, at)
    if at == START:
        if state.first is not None and state.first.pos != 1:
            raise Fatal(_hole(keys.partition, at, state.first))
        return
    assert state.first is not None  # noqa: S101 - the log is at least as long as the archive
    entry = await opening.entry_at(redis, keys, at)
    if entry is None and state.first.pos > at.pos + 1:
        raise Fatal(_hole(keys.partition, at, state.first))
    if entry is None and state.first.pos == at.pos + 1:
        return  # trimmed to the last: what is archived ends where the log begins
    if entry is None or entry.id != archived.id:
        raise Fatal(_fork(keys.partition, at))


async def _explain_shorter(
    connection: archive.Connection, partition: int, state: LogState, archived: Position
) -> NoReturn:
    if state.tail is None:
        raise Fatal(
            f"The log of partition {partition} is empty, but the archive holds it up to {archived}: "
            f"Redis has lost its data. {NO_HEALING}"
        )
    if not await archive.holds(connection, partition, state.tail.position.pos, state.tail.id):
        raise Fatal(_fork(partition, state.tail.position))
    raise Fatal(
        f"The log of partition {partition} ends at {state.tail_at}, but the archive holds it up to "
        f"{archived}: Redis has come back without its latest {archived.pos - state.tail_at.pos} events. "
        f"{NO_HEALING}"
    )


def _hole(partition: int, archived: Position, first: Position) -> str:
    return (
        f"The archive of partition {partition} ends at {archived}, and the log begins at {first}: what stood "
        f"between is in neither, as if the database had been restored from an old backup. {UNCHANGED}"
    )


def _fork(partition: int, at: Position) -> str:
    return (
        f"The log and the archive of partition {partition} hold different events at {at}: the log has "
        f"forked, as if Redis had been restored from a backup and written to. {NO_HEALING}"
    )


# From rows to values of the log: `shared.readmodel` may not know them.


def recorded(row: asyncpg.Record) -> Recorded:
    """The event of a row of `book.events` (archive.EVENT_COLUMNS), as the log had it."""
    fields = dict(row)
    position = Position(fields.pop("epoch"), fields.pop("pos"))
    return Recorded(position=position, at=ids.to_ms(fields.pop("at")), **fields)


async def archived_job(pool: asyncpg.Pool, ref: str) -> Snapshot:
    """The snapshot of a job whose key has left Redis; its guard is "none". NOTHING if there is no such job.

    Raises:
        NewerShape: a newer Daybook wrote it.
    """
    text = await archive.snapshot_of(pool, ref)
    return NOTHING if text is None else Snapshot(state=load(Job, text.encode()))
