"""The stores of the deployment that an operator's command is about: where they are, and what was fixed of them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import asyncpg

from shared import recovery
from shared.embedded import DataDir
from shared.eventlog.connection import connect
from shared.eventlog.keys import Keys
from shared.faults import Fatal
from shared.personal.levelling import destroy_kept, level
from shared.readmodel import archive, database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from redis.asyncio import Redis

    from shared.readmodel.archive import Deployment
    from shared.recovery import Opening
    from shared.settings import Settings

ANSWER_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Both stores, open, and what the first start of the deployment fixed."""

    redis: Redis
    pool: asyncpg.Pool
    fixed: Deployment

    async def level_keys(self, partition: int) -> None:
        """Make the keys of personal data in both stores level, and destroy what an erasure has left there."""
        keys = Keys(self.fixed.prefix, partition)
        async with self.pool.acquire() as connection:
            await destroy_kept(connection, keys)
            await level(connection, self.redis, keys)

    async def open_log(self, partition: int, *, lease_s: float, chance: Callable[[], int]) -> Opening:
        """Compare a partition's log with the archive and open it, as a service does at its start."""
        return await recovery.open_log(
            self.pool,
            self.redis,
            prefix=self.fixed.prefix,
            partition=partition,
            partitions=self.fixed.partitions,
            lease=timedelta(seconds=lease_s),
            chance=chance,
        )


@contextlib.asynccontextmanager
async def opened(
    told: Settings, *, statement_timeout_s: float = database.STATEMENT_TIMEOUT_S
) -> AsyncIterator[Stores]:
    """Connect to both.

    Args:
        told: where they are.
        statement_timeout_s: how long a question to Postgres may take.

    Raises:
        Fatal: it isn't known where they are, or there is no deployment.
        OSError: one doesn't answer.
    """
    redis_url, database_url = _addresses(told)
    redis = connect(redis_url)
    pool = await database.connect_pool(database_url, max_size=2, statement_timeout_s=statement_timeout_s)
    try:
        yield Stores(redis=redis, pool=pool, fixed=await _fixed(pool))
    finally:
        with contextlib.suppress(Exception):  # the process ends: nothing depends on these any more
            pool.terminate()
        with contextlib.suppress(Exception):
            await redis.aclose()


def _addresses(told: Settings) -> tuple[str, str]:
    if told.redis_url and told.database_url:
        return told.redis_url, told.database_url
    data_dir = DataDir(told.data_dir)
    running = data_dir.read_endpoints()
    if running is None:
        raise Fatal(
            f"Nothing runs over {data_dir.path}: set DAYBOOK_DATA_DIR to the directory of a running `daybook up`, "
            "or DAYBOOK_REDIS_URL and DAYBOOK_DATABASE_URL."
        )
    return told.redis_url or running.redis, told.database_url or running.postgres


def redis_of(told: Settings) -> str | None:
    """Where Redis is; None if it isn't known."""
    if told.redis_url:
        return told.redis_url
    running = DataDir(told.data_dir).read_endpoints()
    return None if running is None else running.redis


async def _fixed(pool: asyncpg.Pool) -> Deployment:
    try:
        fixed = await archive.find_deployment(pool)
    except asyncpg.UndefinedTableError:
        fixed = None
    if fixed is None:
        raise Fatal(
            "This database has no deployment yet: the first start of a service makes one. If it was lost, start none: "
            "restore a backup, or have `daybook archive import` bring in a cold copy."
        )
    return fixed
