"""What an audit reads from Postgres. All of a partition is read in one transaction, which sees one moment."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from services.projector.audit.ledgers import Refusal
from services.projector.rows import statement as projector_statement
from shared.domain import ids, kinds
from shared.eventlog.envelope import Recorded
from shared.eventlog.position import Position
from shared.readmodel import archive, cuts
from shared.readmodel.database import sql
from shared.recovery.brought_forward import brought_forward

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    import asyncpg

    from shared.readmodel.archive import Checkpoint, Connection
    from shared.readmodel.cuts import Cut
    from shared.recovery.brought_forward import Brought

AT_ONCE = 1_000  # rows a round trip


@asynccontextmanager
async def one_moment(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A connection for which nothing changes from its first statement on."""
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await cuts.hold_still(connection)
        yield connection


async def checkpoint(connection: Connection, partition: int) -> Checkpoint | None:
    """How far Postgres says that the partition is archived; None if it was never opened."""
    return await archive.checkpoint(connection, partition)


async def cut(connection: Connection, partition: int) -> tuple[Cut | None, list[Brought]]:
    """Where the archive of a partition begins, None: with its first event; and what was brought forward from there."""
    brought = [await brought_forward(connection, partition, kind.name) for kind in kinds.ALL]
    return await cuts.cut_of(connection, partition), [each for some in brought for each in some.values()]


async def run_cuts(connection: Connection) -> dict[str, datetime]:
    """By status: rows of runs that ended so before a time may have been deleted."""
    return await cuts.run_cuts(connection)


async def events(connection: Connection, partition: int) -> AsyncIterator[tuple[Recorded, bytes]]:
    """All archived events of a partition in order, each with its link of the chain."""
    async for row in connection.cursor(_statement("events"), partition, 0, None, prefetch=2 * AT_ONCE):
        yield _recorded(row), row["chain"]


async def events_after(pool: asyncpg.Pool, partition: int, pos: int) -> list[tuple[Recorded, bytes]]:
    """The next archived events after `pos`, as of now."""
    rows = await pool.fetch(_statement("events"), partition, pos, AT_ONCE)
    return [(_recorded(row), row["chain"]) for row in rows]


async def repeated_id(
    pool: asyncpg.Pool, partitions: Sequence[int], tail: Sequence[Recorded]
) -> tuple[int, str]:
    """How many event ids stand at several positions, and an example; `tail` are events after the archive's end."""
    places = [(each.partition, each.position.pos, each.id) for each in tail]
    columns = list(zip(*places, strict=True)) or [(), (), ()]
    row = await pool.fetchrow(_statement("repeated_ids"), list(partitions), *map(list, columns))
    if row is None:
        return 0, ""
    return row["ids"], f"{row['id']} stands at {row['one']} and at {row['another']}"


async def runs(connection: Connection, run_ids: Sequence[str]) -> list[asyncpg.Record]:
    """The rows of these runs, as `run_rows.loaded` takes them."""
    times = [ids.time_of(run_id) for run_id in run_ids]
    return await connection.fetch(projector_statement("load_runs"), list(run_ids), times)


def run_ids(connection: Connection, partition: int) -> AsyncIterator[asyncpg.Record]:
    """The ids of all runs that have a row, and when they ended."""
    return _all(connection, "run_ids", partition)


def jobs(connection: Connection, partition: int) -> AsyncIterator[asyncpg.Record]:
    """The rows of ledger.jobs."""
    return _all(connection, "jobs", partition)


def snapshots(connection: Connection, partition: int) -> AsyncIterator[asyncpg.Record]:
    """The rows of book.snapshots."""
    return _all(connection, "snapshots", partition)


def personal_keys(connection: Connection, partition: int) -> AsyncIterator[asyncpg.Record]:
    """Whose personal data has a key, or had one."""
    return _all(connection, "personal_keys", partition)


async def calendars(connection: Connection, partition: int) -> list[asyncpg.Record]:
    """The rows of ledger.calendars."""
    return await connection.fetch(_statement("calendars"), partition)


async def hours(connection: Connection, partition: int) -> list[asyncpg.Record]:
    """The rows of ledger.run_hourly."""
    return await connection.fetch(_statement("hours"), partition)


async def refused(connection: Connection, partition: int) -> list[Refusal]:
    """The rows of book.projection_errors."""
    return [Refusal(*row) for row in await connection.fetch(_statement("refused"), partition)]


async def _all(connection: Connection, name: str, partition: int) -> AsyncIterator[asyncpg.Record]:
    async for row in connection.cursor(_statement(name), partition, prefetch=AT_ONCE):
        yield row


def _recorded(row: asyncpg.Record) -> Recorded:
    (
        partition, epoch, pos, uuid, kind, v, subject, job, advances, at, actor, cause, corr, trace, data, _,
    ) = row  # fmt: skip
    return Recorded(
        partition, Position(epoch, pos), uuid, kind, v, subject, job, advances, ids.to_ms(at), actor, cause, corr,
        trace, data,
    )  # fmt: skip


def _statement(name: str) -> str:
    return sql("services.projector.audit", f"statements/{name}.sql")
