"""Writing the ledgers: one statement a table, and what to do about a row that its table refuses.

Only archive and checkpoint may stop a projector (DESIGN §7): a refused row is found by halving, and the
rest goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from services.projector import backfill_rows, calendar_rows, hours, job_rows, key_rows, run_rows
from shared.eventlog.position import Position
from shared.readmodel.database import columns, sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.projector.projections import Folded
    from shared.readmodel.archive import Connection

REFUSED = (
    asyncpg.DataError,  # class 22: a value its type doesn't take; asyncpg raises it for its own encoders too
    asyncpg.IntegrityConstraintViolationError,  # class 23
    asyncpg.ProgramLimitExceededError,  # class 54: too large for an index, nested too deeply
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row to be written: the key that names it to people, and the last event folded into it."""

    key: str
    position: Position
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows for one table, sorted by key; `statement` takes them as columns."""

    model: str
    statement: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A row (or event) that a ledger hasn't got, and why."""

    model: str
    key: str
    position: Position
    sqlstate: str
    message: str


def ledgers(folded: Folded, partition: int, last: Position) -> list[Table]:
    """The tables of schema `ledger` that a batch ending at `last` has rows for."""
    jobs = [
        Row(key=key, position=entry.position, values=job_rows.stored(entry, partition))
        for key, entry in sorted(folded.jobs.items())
        if entry.job is not None
    ]
    runs = [
        Row(key=key, position=Position(row.epoch, row.pos), values=run_rows.stored(row))
        for key, row in sorted(folded.runs.items())
    ]
    counted = [
        Row(key=f"{values[1].isoformat()} {values[2]}", position=last, values=values)
        for values in hours.stored(folded.hours, partition)
    ]
    keys = [
        Row(key=key, position=row.position, values=key_rows.stored(key, row, partition))
        for key, row in sorted(folded.keys.items())
    ]
    backfills = [
        Row(key=key, position=row.position, values=backfill_rows.stored(key, row, partition))
        for key, row in sorted(folded.backfills.items())
    ]
    calendars = [
        Row(key=ref, position=row.position, values=calendar_rows.stored(*row, partition))
        for ref, row in sorted(folded.calendars.items())
    ]
    tables = (
        ("jobs", "upsert_jobs", jobs),
        ("runs", "upsert_runs", runs),
        ("run_hourly", "add_hours", counted),
        ("api_keys", "upsert_api_keys", keys),
        ("backfills", "upsert_backfills", backfills),
        ("calendars", "upsert_calendars", calendars),
    )
    return [Table(model=model, statement=statement(name), rows=rows) for model, name, rows in tables if rows]


def snapshots(folded: Folded, partition: int) -> list[tuple[Any, ...]]:
    """The rows of `book.snapshots` that a batch has changed, sorted by ref."""
    return [job_rows.snapshot_row(folded.jobs[job_id], partition) for job_id in sorted(folded.snapshots)]


def waypoints(folded: Folded, partition: int) -> list[tuple[Any, ...]]:
    """The rows of `book.waypoints` that a batch has passed."""
    return [job_rows.waypoint_row(entry, partition) for entry in folded.waypoints]


def statement(name: str) -> str:
    """The text of `statements/<name>.sql`."""
    return sql("services.projector", f"statements/{name}.sql")


async def put(connection: Connection, table: Table) -> None:
    """Write all rows of a table.

    Raises:
        asyncpg.PostgresError: one of REFUSED if the table refuses one of them.
    """
    await connection.execute(table.statement, *columns([row.values for row in table.rows]))


async def put_what_is_taken(connection: Connection, table: Table) -> list[Refusal]:
    """Write the rows that the table takes, and return the others. Must be called within a transaction."""
    try:
        async with connection.transaction():  # a savepoint
            await put(connection, table)
    except REFUSED as error:
        if len(table.rows) == 1:
            return [_refusal(table.model, table.rows[0], error)]
        middle = len(table.rows) // 2
        refused = []
        for half in (table.rows[:middle], table.rows[middle:]):
            part = Table(model=table.model, statement=table.statement, rows=half)
            refused += await put_what_is_taken(connection, part)
        return refused
    return []


def _refusal(model: str, row: Row, error: asyncpg.PostgresError) -> Refusal:
    return Refusal(
        model=model,
        key=row.key,
        position=row.position,
        sqlstate=error.sqlstate or "",
        message=str(error)[:1000],
    )
