"""A worker: a process that reads partitions from where they stand to where the archive was when the replay began."""

from __future__ import annotations

import asyncio
import gc
import signal
from typing import TYPE_CHECKING, NamedTuple

import uvloop

from services.projector.replay import build, cold
from services.projector.replay.builder import archived, hours_carried
from services.projector.replay.gathering import Gatherer
from shared.parent import die_with_parent
from shared.readmodel import cuts, database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from multiprocessing.connection import Connection as Pipe

    import asyncpg

    from services.projector.replay.build import Part
    from shared.eventlog.envelope import Recorded

    Tell = Callable[[int], object]

CHUNK = 10_000  # events a round trip
FIRST = 2_000  # before it is known how large they are
BYTES = 16 * 1024 * 1024  # of data, about, likewise: an event has up to 256 KB
SETTINGS = {
    "application_name": "daybook replay",
    "synchronous_commit": "off",
}  # the swap's commit waits for all of it
STATEMENT_TIMEOUT_S = 4 * 3600


class Task(NamedTuple):
    """What a worker is told.

    Attributes:
        url: of the archive's database.
        cold: directories of cold copies.
        parent: pid of who waits for it.
    """

    url: str
    cold: tuple[str, ...]
    parent: int


def work(task: Task, pipe: Pipe) -> None:
    """Read until no partition is left; say through the pipe how many events were read, and what went wrong."""
    die_with_parent(task.parent, signal.SIGKILL)
    gc.disable()  # what is made lives until its batch is written, and has no cycles
    try:
        uvloop.run(read_all(task, pipe.send))
    except Exception as error:
        pipe.send(f"{'' if isinstance(error, build.Unreplayable) else type(error).__name__ + ': '}{error}")
        raise


async def read_all(task: Task, tell: Tell) -> None:
    """Read until no partition is left; `tell` hears how many events more were read."""
    pool = await database.connect_pool(
        task.url, max_size=2, statement_timeout_s=STATEMENT_TIMEOUT_S, session=SETTINGS
    )
    async with pool, pool.acquire() as connection:
        while (part := await _next(connection)) is not None:
            await _read(pool, connection, part, task, tell)
            await connection.execute(
                "select pg_advisory_unlock($1, $2)", build.PARTITION_LOCK, part.partition
            )


async def _next(connection: asyncpg.pool.PoolConnectionProxy) -> Part | None:
    """The partition with most left to read that no other worker has, held by a lock of the connection."""
    left = [each for each in await build.parts(connection) if each.pos < each.upto]
    for each in sorted(left, key=lambda part: part.pos - part.upto):
        if await connection.fetchval(
            "select pg_try_advisory_lock($1, $2)", build.PARTITION_LOCK, each.partition
        ):
            return await build.part(connection, each.partition)
    return None


async def _read(
    pool: asyncpg.Pool, connection: asyncpg.pool.PoolConnectionProxy, part: Part, task: Task, tell: Tell
) -> None:
    gatherer = Gatherer(connection, part, await hours_carried(connection, part.partition))
    chunks = _chunks(pool, part, task)
    ahead = asyncio.ensure_future(anext(chunks, None))
    while (events := await ahead) is not None:
        ahead = asyncio.ensure_future(anext(chunks, None))  # Postgres sends, while it takes what was sent
        await gatherer.take(events)
        tell(len(events))
    await gatherer.flush()


async def _chunks(pool: asyncpg.Pool, part: Part, task: Task) -> AsyncIterator[list[Recorded]]:
    after = part.pos
    if part.begins == 0 and (cut := await cuts.cut_of(pool, part.partition)) is not None:
        for some in cold.events(cold.opened(task.cold), cut, after):
            for first in range(0, len(some), CHUNK):
                yield some[first : first + CHUNK]
        after = max(after, cut.pos)
    limit = min(CHUNK, FIRST)
    while events := await archived(pool, part.partition, after, limit=limit, upto=part.upto):
        yield events
        after = events[-1].position.pos
        mean = sum(len(event.data) for event in events) // len(events)
        limit = min(CHUNK, 4 * limit, max(1, BYTES // max(1, mean)))
