"""Keys and their copies made level: what Redis has lost it gets from Postgres, and what Postgres has lost from Redis.

Never a key of an erased job: its row stays and says so, and so does the archive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.personal.keys import Held, copy, destroy_rows, held_in, of_copy, partitions_of, statement
from shared.personal.sealing import ERASED
from shared.readmodel.database import changed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from shared.eventlog.keys import Keys
    from shared.readmodel.database import Connection

PAGE = 1_000


async def level(connection: Connection, redis: Redis, keys: Keys, *, is_lost: bool = False) -> None:
    """Make the keys of a partition and their copies level.

    A server that was restarted may have forgotten that a copy was taken away, whatever else it knows: those go first.

    Args:
        connection: in no transaction.
        redis: a client for commands.
        keys: of the partition.
        is_lost: one of the two has lost something; else they are looked through only if they aren't equally many.
    """
    erased = [row["job"] for row in await connection.fetch(statement("erased"), keys.partition)]
    for first in range(0, len(erased), PAGE):
        await redis.hdel(keys.personal, *erased[first : first + PAGE])
    kept = await connection.fetchval(statement("count"), keys.partition)
    if is_lost or kept != await redis.hlen(keys.personal):
        await to_postgres(connection, redis, keys)
        await to_redis(connection, redis, keys)


async def destroy_kept(connection: Connection, keys: Keys) -> None:
    """Destroy those keys of a partition whose erasure was archived by whom it meant nothing: a Daybook of before it.

    Their copies are `level`'s to take away. It asks for each key, so nobody waits for this.
    """
    rows = await connection.fetch(statement("kept_though_erased"), keys.partition)
    await destroy_rows(connection, sorted(row["job"] for row in rows))


async def to_redis(connection: Connection, redis: Redis, keys: Keys) -> int:
    """Make the copies of a partition again, and take away those of erased jobs; return how many keys there are."""
    there, after = 0, ""
    while True:
        async with connection.transaction():
            page = held_in(await connection.fetch(statement("page"), keys.partition, after, PAGE))
            await copy(redis, keys.personal, page)
            if erased := [job for job, held in page.items() if held.key == ERASED]:
                await redis.hdel(keys.personal, *erased)
        there += len(page) - len(erased)
        if len(page) < PAGE:
            return there
        after = max(page)


async def to_postgres(connection: Connection, redis: Redis, keys: Keys) -> int:
    """Take in the copies of a partition whose rows were lost; return how many there were.

    To be called when the archive is whole again: it tells who was erased.
    """
    taken, page = 0, dict[str, Held]()
    async for job, copied in redis.hscan_iter(keys.personal, count=PAGE):
        page[job.decode()] = of_copy(copied)
        if len(page) >= PAGE:
            taken, page = taken + await take_in(connection, page), {}
    return taken + await take_in(connection, page)


async def take_in(connection: Connection, copies: Mapping[str, Held]) -> int:
    """Keep copies of keys, by job, whose rows were lost, but of erased jobs; return how many."""
    if not copies:
        return 0
    tenants, keys = [each.tenant for each in copies.values()], [each.key for each in copies.values()]
    told = list(copies), partitions_of(copies), tenants, keys
    return changed(await connection.execute(statement("take_in"), *told))
