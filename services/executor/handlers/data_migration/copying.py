"""Moving rows: batch after batch along the primary key, or a table without one as a whole.

The source is read in one snapshot. A batch's rows go, as Postgres writes them, from one server's COPY into the other's,
and into the table in the transaction that moves the watermark: after a crash both are there, or neither. Where a batch
ends is decided by the source alone, as the order of texts may differ between the two.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.executor.handlers.data_migration.sessions import transaction
from services.executor.handlers.data_migration.sql import counted, execute, listed, quoted, statement
from services.executor.handlers.data_migration.watermarks import WHOLE
from shared.handlers import GiveUp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    import asyncpg

    from services.executor.handlers.data_migration.tables import Column, Table
    from services.executor.handlers.data_migration.watermarks import Mark, Watermarks

CHUNK = 64 * 1024  # bytes; rows come one by one, and are passed on in heaps
CHUNKS_MAX = 16  # on their way: a slow destination slows the source down
STAGE = "daybook_batch"
LAST_WORDS_S = 2.0  # for a source that is told to stop; then its session is cut


class Copying:
    """The way from one database to another.

    Args:
        source: within a snapshot.
        destination: has the watermarks.
        marks: of this start.
        batch_size: rows.
    """

    def __init__(
        self,
        source: asyncpg.Connection,
        destination: asyncpg.Connection,
        marks: Watermarks,
        *,
        batch_size: int,
    ) -> None:
        self._from = source
        self._to = destination
        self._marks = marks
        self._batch_size = batch_size

    async def copy(self, table: Table, destination: str, tell: Callable[[int], None]) -> Mark:
        """Copy what is not there yet; returns how far it is then: to the end.

        Args:
            table: prepared in the destination.
            destination: its name, for people.
            tell: is told how many rows have been read.

        Raises:
            GiveUp: it has no primary key and rows are there whose origin is unknown, or a later start took over.
        """
        mark = await self._marks.begin(table)
        if mark.finished:
            return mark
        if not table.key:
            return await self._whole(table, destination, mark)
        await self._search(column.at for column in table.key)
        columns = listed(f"{quoted(column.name)} {column.plain}" for column in table.copied)
        await execute(self._to, statement("unstage"))
        await execute(self._to, statement("stage", columns=columns))
        tell(mark.rows_read)
        while (further := await self._batch(table)) is not None:
            mark = further
            tell(mark.rows_read)
        await self._search(())
        return mark

    async def _batch(self, table: Table) -> Mark | None:
        """Copy one batch; None if there are no more rows."""
        async with transaction(self._to):
            mark = await self._marks.hold(table)
            upto = await self._end_of_batch(table, mark.last_key)
            if upto is None:
                return None
            query = statement(
                "rows", columns=table.names, table=_from(table), between=_between(table, mark.last_key)
            )
            read = await _piped(self._from, query, self._to, STAGE, columns=table.copied)
            copied = counted(
                await execute(self._to, statement("insert", table=table.sql, columns=table.names))
            )
            await self._marks.advance(table, upto, read=read, copied=copied)
            return await self._marks.hold(table)

    async def _end_of_batch(self, table: Table, after: list[str] | None) -> list[str] | None:
        """Key of the last row of the next batch; the source's window is set to it."""
        await self._from.execute(statement("window"), after, None)
        keys = [f"k{place}" for place in range(len(table.key))]
        text = statement(
            "reach",
            texts=listed(f"{key}::text" for key in keys),
            keys=listed(f"t.{quoted(c.name)} as {key}" for c, key in zip(table.key, keys, strict=True)),
            table=_from(table),
            after="true" if after is None else _compared(table, ">", "daybook.after"),
            order=listed(f"t.{quoted(column.name)}" for column in table.key),
            back=listed(f"{key} desc" for key in keys),
        )
        upto: list[str] | None = await self._from.fetchval(text, self._batch_size)
        await self._from.execute(statement("window"), after, upto)
        return upto

    async def _search(self, schemas: Iterable[str]) -> None:
        """Let the source find the operators of a key's types: citext compared as text uses no index.

        For all else nothing is searched: what is spelled then has its schema before it.
        """
        path = listed(map(quoted, dict.fromkeys(["pg_catalog", *schemas])))
        await self._from.execute("select pg_catalog.set_config('search_path', $1, true)", path)

    async def _whole(self, table: Table, destination: str, mark: Mark) -> Mark:
        """Copy a table that has no primary key, in one transaction."""
        if mark.last_key == WHOLE:
            return mark
        async with transaction(self._to):
            await self._marks.hold(table)
            if await self._to.fetchval(statement("any", table=table.sql)):
                raise GiveUp(
                    f"{table.title} has no primary key, and {destination} has rows in it already: which of them came "
                    "from here can't be told; empty it there, or give it a primary key here"
                )
            query = statement("rows", columns=table.names, table=_from(table), between="true")
            rows = await _piped(
                self._from, query, self._to, table.name, columns=table.copied, schema=table.schema
            )
            await self._marks.advance(table, WHOLE, read=rows, copied=rows)
            return await self._marks.hold(table)


def _from(table: Table) -> str:
    return table.sql if table.whole else f"only {table.sql}"


def _between(table: Table, after: list[str] | None) -> str:
    upto = _compared(table, "<=", "daybook.upto")
    return upto if after is None else f"{_compared(table, '>', 'daybook.after')} and {upto}"


def _compared(table: Table, operator: str, setting: str) -> str:
    """The key compared with one that is kept in a setting of the session, as COPY takes no arguments."""
    keys = listed(f"t.{quoted(column.name)}" for column in table.key)
    values = listed(
        f"((pg_catalog.current_setting('{setting}')::text[])[{place}])::{column.plain}"
        for place, column in enumerate(table.key, 1)
    )
    return f"({keys}) {operator} ({values})"


async def _piped(
    source: asyncpg.Connection,
    query: str,
    destination: asyncpg.Connection,
    table: str,
    *,
    columns: tuple[Column, ...],
    schema: str | None = None,
) -> int:
    """Have one server's COPY write into the other's; returns how many rows. As text: binary has oids of types."""
    pipe = _Pipe()
    reading = asyncio.create_task(_read(source, query, pipe), name="migration reads")
    try:
        written = await destination.copy_to_table(
            table, schema_name=schema, columns=[c.name for c in columns], source=pipe, format="text"
        )
    finally:
        reading.cancel()
        await asyncio.wait([reading], timeout=LAST_WORDS_S)
    return counted(written)


async def _read(source: asyncpg.Connection, query: str, pipe: _Pipe) -> None:
    try:
        await source.copy_from_query(query, output=pipe.write, format="text")
    except Exception as error:  # noqa: BLE001 - who reads the pipe raises it
        await pipe.end(error)
    else:
        await pipe.end()


class _Pipe:
    """A short queue of bytes between two connections."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(CHUNKS_MAX)
        self._heap = bytearray()

    async def write(self, data: bytes) -> None:
        self._heap += data
        if len(self._heap) >= CHUNK:
            await self._pass_on()

    async def end(self, error: Exception | None = None) -> None:
        if self._heap:
            await self._pass_on()
        await self._queue.put(error)

    async def _pass_on(self) -> None:
        data, self._heap = bytes(self._heap), bytearray()
        await self._queue.put(data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while isinstance(data := await self._queue.get(), bytes):
            yield data
        if data is not None:
            raise data
