"""Keys and their copies made level: what Redis has lost it gets from Postgres, and what Postgres has lost from Redis.

Never a key of an erased job: its row stays and says so, and so does the archive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.personal.keys import Held, copy, destroy_rows, held_in, of_copy, partitions_of, statement
from shared.personal.sealing import ERASED
from shared.personal.sweeping import known
from shared.readmodel.database import changed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from shared.eventlog.keys import Keys
    from shared.readmodel.database import Connection

PAGE = 1_000


async def level(connection: Connection, redis: Redis, keys: Keys) -> None:
    """Make the keys of a partition and their copies level.

    A server that was restarted may have forgotten that a copy was taken away, whatever else it knows: those go first.
    Both are gone through, a page at a time, but no key is read that nobody has lost.

    Args:
        connection: in no transaction.
        redis: a client for commands, which knows the states of the partition's jobs.
        keys: of the partition.
    """
    erased = [row["job"] for row in await connection.fetch(statement("erased"), keys.partition)]
    for first in range(0, len(erased), PAGE):
        await redis.hdel(keys.personal, *erased[first : first + PAGE])
    await to_postgres(connection, redis, keys)
    await to_redis(connection, redis, keys)


async def destroy_kept(connection: Connection, keys: Keys) -> None:
    """Destroy those keys of a partition whose erasure was archived by whom it meant nothing: a Daybook of before it.

    Their copies are `level`'s to take away. It asks for each key, so nobody waits for this.
    """
    rows = await connection.fetch(statement("kept_though_erased"), keys.partition)
    await destroy_rows(connection, sorted(row["job"] for row in rows))


async def to_redis(connection: Connection, redis: Redis, keys: Keys) -> int:
    """Make those copies of a partition again that are lost, and take away those of erased jobs; return how many.

    Only of jobs whose state Redis knows: of all others `sweeping` has taken them away.
    """
    made, after = 0, ""
    while True:
        page = await connection.fetch(statement("page"), keys.partition, after, PAGE)
        if erased := [row["job"] for row in page if row["is_erased"]]:
            await redis.hdel(keys.personal, *erased)
        made += await _copied(connection, redis, keys, [row["job"] for row in page if not row["is_erased"]])
        if len(page) < PAGE:
            return made
        after = page[-1]["job"]


async def _copied(connection: Connection, redis: Redis, keys: Keys, jobs: list[str]) -> int:
    """How many of these jobs had lost their copy."""
    if not jobs:
        return 0
    copies = await redis.hmget(keys.personal, jobs)
    without = [job for job, copied in zip(jobs, copies, strict=True) if copied is None]
    lost = await known(redis, keys, without)
    if not lost:
        return 0
    async with connection.transaction():
        found = held_in(await connection.fetch(statement("held"), sorted(lost)))
        await copy(redis, keys.personal, found)
    return sum(held.key != ERASED for held in found.values())


async def to_postgres(connection: Connection, redis: Redis, keys: Keys) -> int:
    """Take in the copies of a partition whose rows were lost; return how many there were.

    To be called when the archive is whole again: it tells who was erased.
    """
    taken, page = 0, dict[str, Held]()
    async for job, copied in redis.hscan_iter(keys.personal, count=PAGE):
        page[job.decode()] = of_copy(copied)
        if len(page) >= PAGE:
            taken, page = taken + await _taken_in(connection, page), {}
    return taken + await _taken_in(connection, page)


async def _taken_in(connection: Connection, copies: Mapping[str, Held]) -> int:
    """As `take_in`, which asks the archive about each: so only about those that have no row."""
    rows = await connection.fetch(statement("lacking"), list(copies)) if copies else []
    return await take_in(connection, {row["job"]: copies[row["job"]] for row in rows})


async def take_in(connection: Connection, copies: Mapping[str, Held]) -> int:
    """Keep copies of keys, by job, whose rows were lost, but of erased jobs; return how many."""
    if not copies:
        return 0
    tenants, keys = [each.tenant for each in copies.values()], [each.key for each in copies.values()]
    told = list(copies), partitions_of(copies), tenants, keys
    return changed(await connection.execute(statement("take_in"), *told))
