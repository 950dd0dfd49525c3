"""Whether a table is the same on both sides: as many rows, and the same sum over a hash of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.executor.handlers.data_migration.sql import listed, quoted, statement

if TYPE_CHECKING:
    import asyncpg

    from services.executor.handlers.data_migration.tables import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a table holds; equal ones hold the same, in whatever order."""

    rows: int
    checksum: str


async def summary(connection: asyncpg.Connection, table: Table, *, only: bool) -> Summary:
    """Read a table through.

    Args:
        connection: to either side.
        table: its columns are compared as values of their types at the source.
        only: not the tables that inherit from it.
    """
    columns = listed(f"(t.{quoted(column.name)})::{column.plain}" for column in table.copied)
    text = statement("summary", columns=columns, table=f"only {table.sql}" if only else table.sql)
    [row] = await connection.fetch(text)
    return Summary(rows=row["rows"], checksum=row["checksum"])
