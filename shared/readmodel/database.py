"""Postgres: how a process connects, how the schema comes about, and how a statement is found.

The schema is all of `migrations/`, in the order of their numbers. A file that has been applied is never
edited: its hash is recorded, and a start with another text is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
from functools import cache
from importlib import resources
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import asyncpg

from shared.faults import Fatal, NotYet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.resources.abc import Traversable

    Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy

OLDEST = 15  # major version; NULLS NOT DISTINCT, MERGE and partition planning as we test them
STATEMENT_TIMEOUT_S = 30
MIGRATION_LOCK = 0x0DA7_B00C  # advisory: one migration at a time in a database
FIXED_OIDS = 10_000  # types below it are the same on every server (PostgreSQL's transam.h)
# Compiling short statements takes longer than running them.
_SETTINGS = {"application_name": "daybook", "timezone": "UTC", "jit": "off"}


# A list wants its first rows, by an index, as fast as they are had for the values that it asks for now: a plan made
# for any values doesn't know the rare ones, and a whole table is never quicker.
LISTS = {
    "plan_cache_mode": "force_custom_plan",
    "enable_seqscan": "off",
    "random_page_cost": "1.1",
    "max_parallel_workers_per_gather": "0",
    "default_transaction_read_only": "on",
}


async def connect_pool(
    url: str,
    *,
    min_size: int = 1,
    max_size: int = 8,
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
    session: Mapping[str, str] = MappingProxyType({}),
) -> asyncpg.Pool:
    """A pool of connections whose `jsonb` values are text and whose statements give up after a while.

    Args:
        url: `postgresql://…`.
        min_size: connections opened at once.
        max_size: at most so many; a caller waits for a free one.
        statement_timeout_s: after so many seconds the server cancels a statement.
        session: more parameters of each connection, such as LISTS.
    """
    return await asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size,
        command_timeout=statement_timeout_s + 5,  # for a server that can't even cancel
        server_settings=_SETTINGS
        | {"statement_timeout": f"{int(statement_timeout_s * 1000)}"}
        | dict(session),
        connection_class=_Connection,
        reset=_as_it_is,
    )


class _Connection(asyncpg.Connection):
    """One that knows PostgreSQL's own types, and whether whoever asked was cancelled while his statement was prepared.

    asyncpg has each connection ask the server what an int[] is, by a query that takes 10 ms: once a process is enough.

    If the reply has come in that very moment, asyncpg takes the matter for settled. But a statement is prepared without
    a Sync, which only its execution brings: the server goes on waiting, and after the statement time-out refuses
    whatever is asked next.
    """

    is_left_waiting = False

    async def _get_statement(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super()._get_statement(*args, **kwargs)  # type: ignore[misc]  # no stub tells of it
        except asyncio.CancelledError:
            self.is_left_waiting = True
            raise

    async def _introspect_types(self, oids: Iterable[int], timeout: float | None) -> Any:  # noqa: ASYNC109 - asyncpg's own
        asked = frozenset(oids)
        if asked in _types:
            return _types[asked], _NOTHING_PREPARED
        types, statement = await super()._introspect_types(asked, timeout)  # type: ignore[misc]
        if max(asked) < FIXED_OIDS:
            _types[asked] = types
        return types, statement


_types: dict[frozenset[int], Any] = {}  # what servers have told of their fixed types
_NOTHING_PREPARED = SimpleNamespace(name="none")  # in place of the statement that the server was asked by


async def _as_it_is(connection: asyncpg.Connection) -> None:
    """Leave a connection that is given back to the pool as it is, which asyncpg has rolled back.

    Its own reset is a round trip at each release: it would undo what outlives a transaction (settings, advisory
    locks, LISTEN, cursors). Nothing of ours does, but for the lock of `recovery`, which its taker gives back.
    """
    if isinstance(connection, _Connection) and connection.is_left_waiting:
        connection.is_left_waiting = False
        await connection.execute("select")  # a simple query ends with a Sync


async def migrate(url: str, *, extra: Mapping[str, str] | None = None) -> list[str]:
    """Bring the schema up to this build; return the names of the files that were applied now.

    Safe to call from many processes at once, and again. All that is missing is applied in one transaction.

    Args:
        url: of the database.
        extra: more files, name → text, as if they stood in `migrations/`.

    Raises:
        Fatal: the server is too old or not durable, an applied file has another text now, or a newer build
        has
            migrated the database.
    """
    connection = await asyncpg.connect(url, server_settings=_SETTINGS)
    try:
        await assert_durable(connection)
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", MIGRATION_LOCK)
            applied = await _apply(connection, migrations() | dict(extra or {}))
        await make_months(connection)
    finally:
        await connection.close()
    return applied


def migrations() -> dict[str, str]:
    """Name → text of the migrations of this build, in order."""
    folder = resources.files("shared.readmodel").joinpath("migrations")
    files = {each.name: each for each in folder.iterdir() if each.name.endswith(".sql")}
    return {name: files[name].read_text(encoding="utf-8") for name in sorted(files)}


async def assert_durable(connection: Connection) -> None:
    """Refuse a server that could lose what it has acknowledged.

    Raises:
        Fatal: saying what to change.
    """
    version = connection.get_server_version()
    if version.major < OLDEST:
        raise Fatal(f"Postgres {version.major} is too old: Daybook needs {OLDEST} or newer.")
    if await connection.fetchval("show fsync") != "on":
        raise Fatal("Postgres has fsync = off, so a crash loses acknowledged events: set fsync = on.")
    if (said := await connection.fetchval("show synchronous_commit")) not in {"on", "remote_apply"}:
        raise Fatal(f"Postgres has synchronous_commit = {said}: acknowledged events may be lost; set it on.")


async def make_months(connection: Connection) -> int:
    """Make the monthly partitions that are missing, up to three months ahead; return how many were made.

    Called at the start and once a day. What has no partition of its month stands in the default one.
    """
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        made: int = await connection.fetchval(sql("shared.readmodel", "statements/make_months.sql"))
    return made


async def assert_migrated(connection: Connection) -> None:
    """Refuse a schema that this build doesn't know its way about in; a newer one is none.

    Raises:
        NotYet: `daybook migrate` of this build has not been run; in a rolling upgrade it may be running now.
    """
    try:
        rows = await connection.fetch("select name from book.migrations")
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        rows = []
    if missing := sorted(migrations().keys() - {row["name"] for row in rows}):
        raise NotYet(
            f"The database lacks {', '.join(missing)}: `daybook migrate` brings it up to this version."
        )


async def _apply(connection: asyncpg.Connection, files: Mapping[str, str]) -> list[str]:
    await connection.execute(sql("shared.readmodel", "statements/applied.sql"))
    rows = await connection.fetch("select name, sha256 from book.migrations order by name")
    known = {row["name"]: row["sha256"] for row in rows}
    _check(known, files)
    missing = [name for name in sorted(files) if name not in known]
    for name in missing:
        await connection.execute(files[name])
        await connection.execute(
            sql("shared.readmodel", "statements/record_migration.sql"), name, _sha256(files[name])
        )
    return missing


def _check(known: Mapping[str, str], files: Mapping[str, str]) -> None:
    for name, digest in known.items():
        if name not in files:
            raise Fatal(f"The database has had migration {name}, unknown to this build: run a newer Daybook.")
        if _sha256(files[name]) != digest:
            raise Fatal(f"Migration {name} was applied with another text: restore it, and write a new file.")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def sql(package: str, name: str) -> str:
    """The text of the file `name` in `package`, slashes for folders (`queries/jobs.sql`)."""
    file: Traversable = resources.files(package).joinpath(*name.split("/"))
    return file.read_text(encoding="utf-8")


def changed(status: str) -> int:
    """How many rows a statement changed, from its status (`UPDATE 1`)."""
    return int(status.rpartition(" ")[2])


def columns(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows as columns, for `unnest`."""
    return list(zip(*rows, strict=True))
