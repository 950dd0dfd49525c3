"""Asking what retention has left: where the archive begins, what was brought forward, which rows may be missing.

Months of the archive are dropped whole and from its beginning, so each partition's archive begins after one event, its
*cut*. A fold of what follows starts from what was brought forward, which is the state of everything at the cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shared.readmodel.database import sql

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from shared.readmodel.archive import Asked, Connection

RETENTION_LOCK = 0x0DA7_0002  # advisory: one retention at a time in a database, and none while it is replayed


class Cut(NamedTuple):
    """The last event that was dropped of a partition: the archive begins after it.

    Attributes:
        id: of that event.
        at: when it was committed.
        chain: its link of the hash chain.
        run_id: the execution that dropped it.
        cut_at: when.
    """

    partition: int
    epoch: int
    pos: int
    id: str
    at: datetime
    chain: bytes
    run_id: str
    cut_at: datetime


async def cut_of(connection: Asked, partition: int) -> Cut | None:
    """Where the archive of a partition begins; None: with its first event."""
    row = await connection.fetchrow(_statement("cut"), partition)
    return None if row is None else Cut(*row)


async def link_at(connection: Asked, partition: int, pos: int) -> bytes | None:
    """The link of the event at `pos`, archived or the last that was dropped; None: nobody knows."""
    link: bytes | None = await connection.fetchval(_statement("link_at"), partition, pos)
    return link


async def hold_still(connection: Connection) -> None:
    """Keep months from being dropped until the transaction ends; its first statement.

    What is brought forward and the events that follow must be seen as of one moment, and a dropped table is gone for
    snapshots that were taken before, too.
    """
    await connection.execute("lock table book.events in access share mode")


async def brought_forward(
    connection: Asked, partition: int, kind: str, *, timeout_s: float | None = None
) -> list[asyncpg.Record]:
    """What was brought forward of all aggregates of a `kind`: job, run, apikey."""
    return await connection.fetch(_statement("brought_forward"), partition, f"{kind}:", timeout=timeout_s)


async def brought_forward_of(connection: Asked, refs: Sequence[str]) -> list[asyncpg.Record]:
    """What was brought forward of these aggregates; nothing of those that weren't there."""
    return await connection.fetch(_statement("brought_forward_some"), list(refs))


async def run_cuts(connection: Asked) -> dict[str, datetime]:
    """By status: rows of runs that ended so before a time may have been deleted."""
    return {row["status"]: row["finished_before"] for row in await connection.fetch(_statement("run_cuts"))}


def _statement(name: str) -> str:
    return sql("shared.readmodel", f"statements/{name}.sql")
