"""The archive's database alone, for commands that need no Redis."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from shared.embedded import DataDir
from shared.faults import Fatal
from shared.readmodel import database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from shared.settings import Settings

NAME = {"application_name": "daybook archive"}  # not that of services


@contextlib.asynccontextmanager
async def archived_in(
    told: Settings, *, url: str | None = None, statement_timeout_s: float
) -> AsyncIterator[asyncpg.Pool]:
    """Connect to it.

    Args:
        told: where it is: DAYBOOK_DATABASE_URL, else that of the `daybook up` that runs over the data directory.
        url: if it is somewhere else.
        statement_timeout_s: how long a question may take.

    Raises:
        Fatal: it isn't known where it is.
        OSError: it doesn't answer.
    """
    pool = await database.connect_pool(
        url or address(told), max_size=2, statement_timeout_s=statement_timeout_s, session=NAME
    )
    try:
        yield pool
    finally:
        with contextlib.suppress(Exception):  # the process ends: nothing depends on it any more
            pool.terminate()


def address(told: Settings) -> str:
    """Where it is.

    Raises:
        Fatal: it isn't known.
    """
    if told.database_url:
        return told.database_url
    data_dir = DataDir(told.data_dir)
    running = data_dir.read_endpoints()
    if running is None:
        raise Fatal(
            f"Nothing runs over {data_dir.path}: set DAYBOOK_DATA_DIR to the directory of a running `daybook up`, "
            "or DAYBOOK_DATABASE_URL."
        )
    return running.postgres
