"""Overdue jobs: those whose next occurrence should have been decided by a moment up to which the archive tells all."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from shared.readmodel.database import sql

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import asyncpg

    from shared.readmodel.archive import Asked

GRACE = timedelta(seconds=5)  # above what another timer needs to take over (1.5 s), or a log to be healed
JOBS_MAX = 1_000  # looked at; what is missing of others isn't counted


async def overdue_jobs(
    connection: Asked, moments: Mapping[int, datetime], *, limit: int, tenant: str | None = None
) -> list[asyncpg.Record]:
    """Jobs with something undecided at the moment of their partition (partition → moment), of one tenant or of all.

    Each has id, name, partition, next_run_time, and its state as text: null where that can't be read.
    """
    text = sql("shared.readmodel", "statements/overdue_jobs.sql")
    return await connection.fetch(text, list(moments), list(moments.values()), limit, tenant)
