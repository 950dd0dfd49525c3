"""`data_migration`: copies tables from one Postgres database to another, batch by batch, and compares them.

```
 session ─▶ tables ─▶ for each: prepare (making) ─▶ copy (copying, watermarks) ─▶ compare (comparing) ─▶ settle
```
The source is only read, in one snapshot. Every batch and the watermark that tells of it are one transaction of the
destination, so whoever goes on, after a crash or a cancel, begins where the last batch ended, and no row
is there twice.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from services.executor.handlers.data_migration.comparing import summary
from services.executor.handlers.data_migration.copying import Copying
from services.executor.handlers.data_migration.making import count_on, make_notes, prepare
from services.executor.handlers.data_migration.sessions import session, transaction
from services.executor.handlers.data_migration.sql import statement
from services.executor.handlers.data_migration.tables import relation, tables_of
from services.executor.handlers.data_migration.watermarks import Watermarks
from shared.job_types.data_migration import LISTED_MAX, Migrated, TableMigrated

if TYPE_CHECKING:
    import asyncpg

    from services.executor.handlers.data_migration.tables import Table
    from shared.handlers import Run
    from shared.job_types.data_migration import DataMigration

__all__ = ["MigrationDiffers", "migrate"]

SNAPSHOT = "begin isolation level repeatable read read only"


class MigrationDiffers(Exception):  # noqa: N818 - its name is what people read as the failure's class
    """All rows were copied, and some tables are not equal all the same; the message names them."""


async def migrate(run: Run, told: DataMigration, *, source: str, destination: str) -> Migrated:
    """Copy what `told` names.

    Args:
        run: whose job and start the watermarks are noted for; it is told how far the work is.
        told: the parameters.
        source: URL of the one database.
        destination: of the other.

    Raises:
        SourceUnreachable: one of them.
        MigrationDiffers: unless `on_difference` is `report`.
        GiveUp: what another attempt can't mend.
        asyncpg.PostgresError: what one of the servers refuses.
    """
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(session(told.destination, destination))
        here = await stack.enter_async_context(session(told.source, source))
        if await _identity(here) == await _identity(there):
            run.give_up(f"{told.source} and {told.destination} are the same database")
        await make_notes(there)
        await stack.enter_async_context(transaction(here, SNAPSHOT))
        return await _Migration(run, told, here, there).go()


async def _identity(connection: asyncpg.Connection) -> tuple[object, ...]:
    [row] = await connection.fetch(statement("identity"))
    return tuple(row)


class _Migration:
    """One start: table after table."""

    def __init__(
        self, run: Run, told: DataMigration, source: asyncpg.Connection, destination: asyncpg.Connection
    ) -> None:
        self._run = run
        self._told = told
        self._from = source
        self._to = destination
        self._marks = Watermarks(destination, run, told.source)
        self._copying = Copying(source, destination, self._marks, batch_size=told.batch_size)

    async def go(self) -> Migrated:
        tables = await tables_of(self._from, self._told.source, self._told.table)
        done: list[TableMigrated] = []
        for place, table in enumerate(tables):
            if await prepare(self._to, table, self._told.destination):
                self._run.log(f"{table.title}: made in {self._told.destination}")
            done.append(await self._migrated(table, part=(place, len(tables))))
        different = [each for each in done if not each.equal]
        if different and self._told.on_difference == "fail":
            said = "; ".join(map(_sentence, different[:LISTED_MAX]))
            if not any(table.key for table, each in zip(tables, done, strict=True) if not each.equal):
                self._run.give_up(said)  # a table without a key is not copied again
            raise MigrationDiffers(said)
        return Migrated(
            source=self._told.source,
            destination=self._told.destination,
            tables=[*different, *(each for each in done if each.equal)][:LISTED_MAX],
            tables_count=len(done),
            rows_copied=sum(each.rows_copied for each in done),
            equal=not different,
        )

    async def _migrated(self, table: Table, *, part: tuple[int, int]) -> TableMigrated:
        place, count = part
        before = await summary(self._from, table, only=not table.whole)

        def tell(rows_read: int) -> None:
            ratio = min(1.0, rows_read / before.rows) if before.rows else 1.0
            message = f"{table.title}: {rows_read:,} of {before.rows:,} rows"
            self._run.progress((place + ratio) / count, message)

        mark = await self._copying.copy(table, self._told.destination, tell)
        there = await relation(self._to, table)
        if there is None:
            self._run.give_up(f"{table.title} was dropped in {self._told.destination} while it was copied")
        await count_on(self._to, table, there)
        after = await summary(self._to, table, only=there.kind == "r")
        equal = before == after
        await self._marks.settle(table, finished=equal or self._told.on_difference == "report")
        result = TableMigrated(
            table=table.title,
            rows_copied=mark.rows_copied,
            rows_source=before.rows,
            rows_destination=after.rows,
            equal=equal,
        )
        self._run.log(_sentence(result))
        return result


def _sentence(table: TableMigrated) -> str:
    said = (
        f"{table.table}: {table.rows_copied:,} rows copied; {table.rows_source:,} at the source, "
        f"{table.rows_destination:,} at the destination"
    )
    if table.equal:
        return f"{said}, equal"
    return (
        f"{said}, {'but not the same ones' if table.rows_source == table.rows_destination else 'not equal'}"
    )
