"""What has to be written down before it can be read as a file: packed files, and tables of another database.

Both are bounded: a few kilobytes can unpack to terabytes. What is written has no name, so it is gone with this process.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import tempfile
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol

from shared.handlers import GiveUp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import asyncpg

    from shared.job_types.dataset import Packing

CHUNK = 1024 * 1024  # bytes
CONNECT_S = 30.0


class DatasetMissing(Exception):  # noqa: N818 - its name is what people read as the failure's class
    """There is no such file or table (yet)."""


class BadDataset(Exception):  # noqa: N818 - likewise
    """The dataset can't be read as what it is said to be."""


class DatasetTooLarge(GiveUp):
    """The dataset has more bytes or columns than one job may read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A file without a name.

    Attributes:
        descriptor: open for reading; the caller closes it.
        types: duckdb's name for the type of each column, in their order; None: they are in nobody's knowledge.
    """

    descriptor: int
    types: Mapping[str, str] | None = None


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most so many."""


def unpacked(descriptor: int, packing: Packing, folder: Path, *, bytes_max: int) -> Staged:
    """The content of a packed file.

    Args:
        descriptor: of the packed file; is left open.
        packing: "gzip" or "zstd".
        folder: where there is room.
        bytes_max: of the content.

    Raises:
        BadDataset: it isn't packed so, or is cut off.
        DatasetTooLarge: there is more in it.
    """
    with os.fdopen(os.dup(descriptor), "rb") as packed, tempfile.TemporaryFile(dir=folder) as plain:
        try:
            _copy(_stream(packed, packing), plain, bytes_max)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise BadDataset(f"it can't be unpacked as {packing}: {error}") from error
        return Staged(descriptor=_again(plain))


def table_of(url: str, table: str, folder: Path, *, bytes_max: int, rows_max: int | None) -> Staged:
    """The rows of a table in Postgres, as CSV that tells NULL from the empty string.

    Read in one read-only transaction. A `numeric` without a precision becomes a double.

    Args:
        url: postgres://…
        table: `table` (in the schema public) or `schema.table`.
        folder: where there is room.
        bytes_max: of the CSV.
        rows_max: at most so many rows; None: all.

    Raises:
        DatasetMissing: there is no such table.
        DatasetTooLarge: it has more bytes.
        OSError, asyncpg.PostgresError: the database can't be reached, or refuses.
    """
    with tempfile.TemporaryFile(dir=folder) as plain:
        types = asyncio.run(_copied(url, table, _Bounded(plain, bytes_max), rows_max))
        return Staged(descriptor=_again(plain), types=types)


def quoted(name: str) -> str:
    """A name as an identifier in SQL, for Postgres and duckdb: the only way by which a name gets into a statement.

    Raises:
        ValueError: it has a NUL in it, which no identifier can have.
    """
    if "\x00" in name:
        raise ValueError("a name can't have a NUL in it")
    return '"{}"'.format(name.replace('"', '""'))


class _Bounded:
    """Writes into a file, up to a limit."""

    def __init__(self, file: IO[bytes], bytes_max: int) -> None:
        self._file = file
        self._left = bytes_max
        self._max = bytes_max

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise DatasetTooLarge(f"it has more than {self._max:,} bytes, the most that are read")
        self._file.write(data)


def _again(file: IO[bytes]) -> int:
    file.flush()
    return os.dup(file.fileno())


def _copy(stream: Readable, plain: IO[bytes], bytes_max: int) -> None:
    bounded = _Bounded(plain, bytes_max)
    while data := stream.read(CHUNK):
        bounded.write(data)


def _stream(packed: IO[bytes], packing: Packing) -> Readable:
    packed.seek(0)
    if packing == "gzip":
        return gzip.GzipFile(fileobj=packed)
    return _zstd(packed)


def _zstd(packed: IO[bytes]) -> Readable:
    try:
        import zstandard  # noqa: PLC0415 - of the extra `data`
    except ImportError:
        raise GiveUp("reading .zst needs `pip install daybook[data]` on this executor") from None
    # The library gives a frame a window of at most 128 MiB, as much as `zstd --long` writes with.
    return _Zstd(zstandard.ZstdDecompressor().stream_reader(packed), zstandard.ZstdError)


class _Zstd:
    """A reader whose errors are those of a bad dataset."""

    def __init__(self, reader: Readable, error: type[Exception]) -> None:
        self._reader = reader
        self._error = error

    def read(self, size: int, /) -> bytes:
        try:
            return self._reader.read(size)
        except self._error as error:
            raise BadDataset(f"it can't be unpacked as zstd: {error}") from error


# Postgres.


async def _copied(url: str, table: str, bounded: _Bounded, rows_max: int | None) -> dict[str, str]:
    import asyncpg  # noqa: PLC0415 - most jobs need none

    connection: asyncpg.Connection = await asyncpg.connect(
        url, timeout=CONNECT_S, server_settings={"TimeZone": "UTC", "application_name": "daybook"}
    )
    try:
        return await _table_copied(connection, table, bounded, rows_max)
    finally:
        connection.terminate()  # there is nothing to say goodbye for, least of all in the midst of a COPY


async def _table_copied(
    connection: asyncpg.Connection, table: str, bounded: _Bounded, rows_max: int | None
) -> dict[str, str]:
    schema, _, name = table.rpartition(".")
    schema = schema or "public"

    async def write(data: bytes) -> None:
        bounded.write(data)

    await connection.transaction(isolation="repeatable_read", readonly=True).start()
    types = await _types(connection, schema, name)
    columns = ", ".join(map(quoted, types))
    limit = "" if rows_max is None else f" LIMIT {int(rows_max)}"
    query = f"SELECT {columns} FROM {quoted(schema)}.{quoted(name)}{limit}"  # noqa: S608 - quoted
    await connection.copy_from_query(query, output=write, format="csv", header=True)
    return types


_COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod) AS type
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = $1 AND relname = $2 AND relkind IN ('r', 'p', 'v', 'm', 'f') AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
"""

_TYPES = {
    "smallint": "SMALLINT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "real": "REAL",
    "double precision": "DOUBLE",
    "numeric": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp without time zone": "TIMESTAMP",
    "timestamp with time zone": "TIMESTAMPTZ",
    "uuid": "UUID",
}


async def _types(connection: asyncpg.Connection, schema: str, name: str) -> dict[str, str]:
    rows = await connection.fetch(_COLUMNS, schema, name)
    if not rows:
        raise DatasetMissing(f"it has no table {schema}.{name} that this user sees")
    return {row["attname"]: _type(row["type"]) for row in rows}


def _type(theirs: str) -> str:
    """What duckdb calls a type of Postgres; what it has no name for is text."""
    if theirs.startswith("numeric("):
        precision, _, scale = theirs.removeprefix("numeric(").removesuffix(")").partition(",")
        fits = int(precision) <= 38 and 0 <= int(scale or 0) <= int(precision)  # noqa: PLR2004 - duckdb's widest
        return f"DECIMAL({precision},{scale or 0})" if fits else "DOUBLE"
    return _TYPES.get(re.sub(r"\(\d\)", "", theirs), "VARCHAR")  # timestamp(3) with time zone
