"""What both retentions of Daybook's own data share: their connection, the months there are, and dropping one.

A month is dropped under a lock that every reader and writer of the table must wait for, so that is never waited for
long: it is asked for a moment, and again, and who comes meanwhile waits for that moment at most.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from shared import logs
from shared.readmodel.cuts import RETENTION_LOCK
from shared.readmodel.database import sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from shared.handlers import Run

STATEMENT_TIMEOUT_S = 600
LOCK_TIMEOUT_MS = 100  # shorter than what the projector's groups wait for a lock
LOCK_TRIES = 100
LOCK_AGAIN_S = 0.2
KEPT_MAX = 40  # months told of: a result takes 16 KB
WHY_LENGTH_MAX = 200
_SETTINGS = {
    "application_name": "daybook retention",
    "timezone": "UTC",
    "jit": "off",
    "statement_timeout": f"{STATEMENT_TIMEOUT_S * 1000}",
}


class RetentionBusy(RuntimeError):  # noqa: N818 - its name is what people read as the failure's class
    """Another execution is at it in this database: wait until that has ended."""


class Month(NamedTuple):
    """A partition of a table: its name, its range, and its bytes on disk."""

    name: str
    since: datetime
    until: datetime
    bytes: int


@dataclass(slots=True, kw_only=True)
class Retained:
    """What a retention has come to; in a dry run, what it would have.

    Attributes:
        partitions_dropped: names of tables.
        rows_deleted: rows that went, with these tables and one by one.
        kept: tables beyond the retention that stay, and why.
        bytes_freed: of the tables; what single rows took is used again.
    """

    cleanup_type: str
    dry_run: bool
    partitions_dropped: list[str] = field(default_factory=list)
    rows_deleted: int = 0
    kept: list[dict[str, str]] = field(default_factory=list)
    bytes_freed: int = 0

    def keep(self, month: str, why: str) -> None:
        """Note that a table stays."""
        if len(self.kept) < KEPT_MAX:
            self.kept.append({"partition": month, "why": why[:WHY_LENGTH_MAX]})

    def told(self) -> dict[str, Any]:
        """As the run's result."""
        return {
            "cleanup_type": self.cleanup_type,
            "partitions_dropped": self.partitions_dropped,
            "rows_deleted": self.rows_deleted,
            "kept": self.kept,
            "bytes_freed": self.bytes_freed,
            "dry_run": self.dry_run,
        }


class Retention:
    """One retention at work: its connection, its run, the time that it goes by.

    Args:
        connection: which holds RETENTION_LOCK.
        run: on whose behalf.
        now: by the database's clock.
        retained: what it comes to.
    """

    def __init__(self, connection: asyncpg.Connection, run: Run, now: datetime, retained: Retained) -> None:
        self.connection = connection
        self.run = run
        self.now = now
        self.retained = retained
        self._log = logs.get("daybook.retention")

    async def months(self, parent: str, *, before: datetime) -> list[Month]:
        """The months of a table that end by `before`, oldest first. The present one and the one before it never do."""
        rows = await self.connection.fetch(statement("months"), parent)
        last = min(before, _month_before(self.now))
        return [month for month in (Month(*row) for row in rows) if month.until and month.until <= last]

    def dropped(self, month: Month, rows: int) -> None:
        """Tell that a month has gone, or would have."""
        retained = self.retained
        retained.partitions_dropped.append(month.name)
        retained.rows_deleted += rows
        retained.bytes_freed += month.bytes
        would = "would drop" if retained.dry_run else "dropped"
        self.run.log(f"{would} {month.name}: {rows} rows, {month.bytes} bytes")
        self._log.info(
            f"{would} a month", table=month.name, rows=rows, bytes=month.bytes, run_id=self.run.run_id
        )

    def kept(self, month: Month, why: str) -> None:
        """Tell that a month stays."""
        self.retained.keep(month.name, why)
        self.run.log(f"kept {month.name}: {why}")

    async def drop(self, parent: str, month: Month) -> bool:
        """Drop a month's table, in the transaction under way; False if its lock was not to be had."""
        for _ in range(LOCK_TRIES):
            if await got(self.connection, f"lock table {parent} in access exclusive mode"):
                await self.connection.execute(f"drop table {month.name}")  # a name that Postgres has quoted
                return True
            await asyncio.sleep(LOCK_AGAIN_S)
        return False


async def got(connection: asyncpg.Connection, lock: str) -> bool:
    """Whether a lock was to be had at once, nearly; within a transaction."""
    try:
        async with connection.transaction():  # a savepoint
            await connection.execute(f"set local lock_timeout = {LOCK_TIMEOUT_MS}")
            await connection.execute(lock)
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        return False
    return True


async def retain(
    url: str,
    run: Run,
    *,
    cleanup_type: str,
    dry_run: bool,
    work: Callable[[Retention], Awaitable[None]],
) -> dict[str, Any]:
    """Have `work` done by the only retention in this database, and return what it came to.

    Raises:
        RetentionBusy: another is at it.
        asyncpg.PostgresError: what was dropped before that stays dropped, the rest stays.
    """
    retained = Retained(cleanup_type=cleanup_type, dry_run=dry_run)
    async with _alone(url) as connection:
        await work(Retention(connection, run, await _now(connection), retained))
    return retained.told()


@asynccontextmanager
async def _alone(url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that holds the lock, which goes with it."""
    connection = await asyncpg.connect(
        url, server_settings=_SETTINGS, command_timeout=STATEMENT_TIMEOUT_S + 5
    )
    try:
        if not await connection.fetchval("select pg_try_advisory_lock($1)", RETENTION_LOCK):
            raise RetentionBusy("another retention is under way in this database")
        yield connection
    finally:
        await connection.close()


async def _now(connection: asyncpg.Connection) -> datetime:
    now: datetime = await connection.fetchval("select now()")
    return now


def _month_before(now: datetime) -> datetime:
    """The beginning of the month before that of `now`."""
    this = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (this - timedelta(days=1)).replace(day=1)


def statement(name: str) -> str:
    """The text of `statements/cleanup_<name>.sql`."""
    return sql("services.executor.handlers", f"statements/cleanup_{name}.sql")
