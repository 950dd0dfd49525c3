"""How far each table is copied: a note in the destination, which moves in the transaction that copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.executor.handlers.data_migration.sql import statement
from shared.handlers import GiveUp

if TYPE_CHECKING:
    import asyncpg

    from services.executor.handlers.data_migration.tables import Table
    from shared.handlers import Run

WHOLE: list[str] = []  # in the place of a last key: a table without a primary key was copied as a whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a table is copied.

    Attributes:
        last_key: of the last row, each part as text; None: nothing yet.
        rows_read: since copying began at the first row, by whichever run.
        rows_copied: by this run.
        finished: and found equal.
    """

    last_key: list[str] | None
    rows_read: int
    rows_copied: int
    finished: bool


class Watermarks:
    """The notes of one start.

    Args:
        connection: to the destination.
        run: which start it is.
        source: name of the source.
    """

    def __init__(self, connection: asyncpg.Connection, run: Run, source: str) -> None:
        self._connection = connection
        self._run = run
        self._source = source
        self._fence = [int(part) for part in run.fence.split("-")]

    async def begin(self, table: Table) -> Mark:
        """Take a table over from whoever had it before.

        Raises:
            GiveUp: a later start of this job has taken it over from us.
        """
        row = await self._connection.fetchrow(
            statement("begin"), *self._of(table), self._run.run_id, self._fence, bool(table.key)
        )
        return self._mark(row, table)

    async def hold(self, table: Table) -> Mark:
        """Where the table stands; nobody else moves it until the transaction ends.

        Raises:
            GiveUp: likewise.
        """
        row = await self._connection.fetchrow(statement("hold"), *self._of(table), self._fence)
        return self._mark(row, table)

    async def advance(self, table: Table, key: list[str], *, read: int, copied: int) -> None:
        """Move the mark, with the transaction that copied."""
        await self._connection.execute(statement("advance"), *self._of(table), key, read, copied)

    async def settle(self, table: Table, *, finished: bool) -> None:
        """Note that a table is done, or that it is to be looked through again from its first row."""
        await self._connection.execute(
            statement("settle"), *self._of(table), self._fence, finished, bool(table.key)
        )

    def _of(self, table: Table) -> tuple[str, str, str]:
        return self._run.job_id, self._source, table.sql

    def _mark(self, row: asyncpg.Record | None, table: Table) -> Mark:
        if row is None:
            raise GiveUp(f"a later start of job {self._run.job_id} has taken over {table.title}")
        return Mark(**dict(row))
