"""What a forked log has and the archive hasn't: kept aside in `book.quarantine`, for people to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.domain import ids
from shared.eventlog import opening
from shared.readmodel.database import columns, sql

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from shared.eventlog.envelope import Recorded
    from shared.eventlog.keys import Keys
    from shared.eventlog.position import Position
    from shared.readmodel.archive import Connection

CHUNK = 1_000


async def put_aside(connection: Connection, redis: Redis, keys: Keys, after: Position, reason: str) -> int:
    """Copy the log's entries after a position, all or none; return how many there are.

    Called again after a crash it copies what is missing.
    """
    count = 0
    async with connection.transaction():
        while entries := await opening.entries_after(redis, keys, after, count=CHUNK):
            rows = [_row(entry, reason) for entry in entries]
            await connection.execute(sql("shared.recovery", "statements/put_aside.sql"), *columns(rows))
            count, after = count + len(rows), entries[-1].position
    return count


def _row(event: Recorded, reason: str) -> tuple[Any, ...]:
    return (
        event.partition, *event.position, event.id, event.type, event.v, event.subject, event.job, event.advances,
        ids.from_ms(event.at), event.actor, event.cause, event.corr, event.trace, event.data, reason,
    )  # fmt: skip
