"""`cleanup_task`, `run_history`: deletes rows of runs that ended long ago; the archive tells of them as before.

Whole months go first, each with one drop; then what is left, some rows a transaction, so that nobody who writes waits.
Only runs that have ended go, and a retry stays as long as the run that it repeats: that would count as never retried.
Statistics (`ledger.run_hourly`) and what jobs tell of their last run stay.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from services.executor.handlers.cleanup_task_retention import (
    LOCK_AGAIN_S,
    LOCK_TRIES,
    got,
    statement,
)
from shared.domain.run import ENDED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from services.executor.handlers.cleanup_task_retention import Month, Retention
    from shared.job_types.cleanup_task import RunHistory

RUNS = "ledger.runs"
PAGE = 2_000  # rows looked at in a transaction
PAUSE_S = 0.01  # between two: the projector's turn
BUSY = "it was being used all the time: the next run may drop it, and its rows go one by one"
_NIL = "00000000-0000-0000-0000-000000000000"


class _Going:
    """Which runs go: those that ended before `before` as one of `statuses`."""

    def __init__(self, retention: Retention, task: RunHistory) -> None:
        self.before: datetime = retention.now - timedelta(days=task.retention_days)
        self.statuses = sorted(task.statuses or ENDED)


async def retain_runs(retention: Retention, task: RunHistory) -> None:
    """Delete what may be deleted of the ledger of runs."""
    going = _Going(retention, task)
    if not retention.retained.dry_run:
        await retention.connection.execute(
            statement("run_cut"),
            retention.run.run_id,
            retention.run.job_id,
            going.before,
            going.statuses,
        )
    months = await retention.months(RUNS, before=going.before)
    would_go = []
    for number, month in enumerate(months):
        retention.run.progress(number / (len(months) + 1), month.name)
        if await _take(retention, month, going) and retention.retained.dry_run:
            would_go.append(month)
    retention.run.progress(len(months) / (len(months) + 1), "the rest")
    await _take_the_rest(retention, going, would_go)
    if not retention.retained.dry_run:
        await retention.connection.execute(statement("forget_requests"))


async def _take(retention: Retention, month: Month, going: _Going) -> bool:
    """Drop a month, or say why it stays: rows that nothing keeps then go one by one. Whether it has gone."""
    if retention.retained.dry_run:
        rows, why = await _standing(retention.connection, month, going)
    else:
        rows, why = await _dropped(retention, month, going)
    if why:
        retention.kept(month, why)
    else:
        retention.dropped(month, rows)
    return not why


async def _dropped(retention: Retention, month: Month, going: _Going) -> tuple[int, str]:
    """Drop a month if nothing keeps it; how many rows it had, and what keeps it, '' if it has gone.

    While its rows are looked at nobody writes to this one month; the table as a whole is locked for its drop only.
    """
    connection = retention.connection
    for _ in range(LOCK_TRIES):
        async with connection.transaction():
            if await got(connection, f"lock table {month.name} in share row exclusive mode"):
                rows, why = await _standing(connection, month, going)
                if why:
                    return rows, why
                if await got(connection, f"lock table {RUNS} in access exclusive mode"):
                    await connection.execute(f"drop table {month.name}")  # a name that Postgres has quoted
                    return rows, ""
        await asyncio.sleep(LOCK_AGAIN_S)
    return 0, BUSY


async def _standing(connection: asyncpg.Connection, month: Month, going: _Going) -> tuple[int, str]:
    """How many rows a month has, and what keeps it, '' if nothing does."""
    text = statement("runs_standing").replace("{month}", month.name)
    found = await connection.fetchrow(text, going.before, going.statuses, month.since, month.until)
    assert found is not None  # noqa: S101 - it counts
    reasons = {
        "live": "have not ended",
        "young": f"ended after {going.before:%Y-%m-%d %H:%M} UTC",
        "others": "ended in a status that is not to go",
        "retries": "are retries of runs that stay",
    }
    why = "; ".join(f"{found[name]} of its runs {told}" for name, told in reasons.items() if found[name])
    return found["rows"], why


async def _take_the_rest(retention: Retention, going: _Going, would_go: Sequence[Month]) -> None:
    """Delete row by row, and again while that made others free to go: retries of what has gone."""
    while await _pass_through(retention, going, would_go) and not retention.retained.dry_run:
        pass


async def _pass_through(retention: Retention, going: _Going, would_go: Sequence[Month]) -> int:
    """Delete what is free to go; how many rows that were. `would_go`: months that are to be passed over."""
    retained, after, went = retention.retained, _NIL, 0
    spans = [month.since for month in would_go], [month.until for month in would_go]
    while True:
        row = await retention.connection.fetchrow(
            statement("runs_page"), after, going.before, going.statuses, retained.dry_run, PAGE, *spans
        )
        if row is None or row["last"] is None:
            break
        after = row["last"]
        went += row["went"]
        await asyncio.sleep(PAUSE_S)
    retained.rows_deleted += went
    return went
