"""Asking the schema `book`: the archive's tail, its fence, one event, the events of one aggregate.

Events come back as rows; `shared.recovery.recorded` makes the log's `Recorded` of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shared.readmodel.chain import GENESIS
from shared.readmodel.database import sql

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
    Asked = Connection | asyncpg.Pool


class Checkpoint(NamedTuple):
    """How far a partition is archived: position and id of its last event there, its link, and the fence.

    `ledgers` counts how often the ledgers were replaced: see migration 0023.
    """

    partition: int
    epoch: int
    pos: int
    id: str
    at: datetime | None
    chain: bytes
    fence: int
    ledgers: int = 0


class Deployment(NamedTuple):
    """What the first start fixed."""

    partitions: int
    prefix: str


async def checkpoint(connection: Asked, partition: int) -> Checkpoint | None:
    """The checkpoint of a partition; None before it was first opened.

    Its position is the archive's tail: both move in one transaction.
    """
    row = await connection.fetchrow(_statement("checkpoint"), partition)
    return Checkpoint(*row) if row else None


def nothing_of(partition: int) -> Checkpoint:
    """The checkpoint of a partition of which nothing is archived yet."""
    return Checkpoint(partition=partition, epoch=0, pos=0, id="", at=None, chain=GENESIS, fence=0)


async def raise_fence(connection: Connection, partition: int, epoch: int) -> Checkpoint:
    """Let nobody move the checkpoint who hasn't seen `epoch`; return the checkpoint as it stands then.

    Waits for a projector's transaction under way, which holds the row. Makes the row of a new partition.
    """
    row = await connection.fetchrow(_statement("raise_fence"), partition, epoch, GENESIS)
    assert row is not None  # noqa: S101 - it returns the row it wrote
    return Checkpoint(*row)


async def find(connection: Asked, partition: int, pos: int) -> asyncpg.Record | None:
    """The archived event at `pos` of a partition, whatever its epoch; None if there is none."""
    return await connection.fetchrow(_statement("event_at"), partition, pos)


async def holds(connection: Asked, partition: int, pos: int, event_id: str) -> bool:
    """Whether the event `event_id` stands in the archive, at `pos`: another may, after a fork."""
    row = await find(connection, partition, pos)
    return row is not None and row["id"] == event_id


async def events_of(
    connection: Asked, subject: str, *, after: int = 0, limit: int = 10_000
) -> list[asyncpg.Record]:
    """The events about `run/<id>` or `job/<id>` with a pos above `after`, oldest first.

    A run's events stand under the run, also those with which its job advances.
    """
    return await connection.fetch(_statement("events_of"), subject, after, limit)


async def events_after(
    connection: Asked, partition: int, after: int, *, limit: int = 2_000
) -> list[asyncpg.Record]:
    """A partition's archived events with a pos above `after`, in order."""
    return await connection.fetch(_statement("events_after"), partition, after, limit)


async def snapshot_of(connection: Asked, ref: str) -> str | None:
    """The state of `job:<id>` as text; None if there is no such job, or its state must be folded."""
    text: str | None = await connection.fetchval(_statement("snapshot"), ref)
    return text


async def record_deployment(connection: Asked, *, partitions: int, prefix: str) -> None:
    """Fix both, if nobody has before."""
    await connection.execute(_statement("record_deployment"), partitions, prefix)


async def deployment(connection: Asked) -> Deployment:
    """What `record_deployment` has fixed."""
    fixed = await find_deployment(connection)
    assert fixed is not None  # noqa: S101 - asked for after it was recorded
    return fixed


async def find_deployment(connection: Asked) -> Deployment | None:
    """What the first start has fixed; None if there was none."""
    row = await connection.fetchrow(_statement("deployment"))
    return None if row is None else Deployment(*row)


def _statement(name: str) -> str:
    return sql("shared.readmodel", f"statements/{name}.sql")
