"""Missed occurrences: those that the schedule should have decided by now, and of which the log tells nothing.

The gauge `daybook_occurrences_missing` counts them for all tenants; here is which. The archive is asked, as of a moment
up to which it tells all: now where it is level with the log, else the time of its last event.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

from services.api import answers, lists, reads
from services.api.ledger import COUNTED_MAX
from services.api.responses import MissedView
from shared.domain import ids
from shared.domain.job import Job
from shared.domain.occurrences import missing
from shared.eventlog import opening, snapshot
from shared.readmodel.overdue import GRACE, JOBS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    import asyncpg
    from quart import Quart, Response

    from services.api.deps import Deps
    from shared.eventlog.opening import LogState

OF_A_JOB = 1_000  # listed; about 30 ms of a cron expression


class Missed:
    """The route that lists what is missing; nothing is, as long as a timer is alive."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def mount(self, app: Quart) -> None:
        """Add the route."""
        app.add_url_rule(f"{answers.BASE}/missed", "list_missed", self.list, methods=["GET"])

    async def list(self) -> Response:
        """GET /missed, what has been missing longest first."""
        given = await reads.query(self._deps, *lists.PARAMETERS)
        page = lists.page_of(given, default_size=self._deps.settings.jobs_per_page)
        moments = {partition: at - GRACE for partition, at in (await self._told_until()).items()}
        rows = await self._deps.ledger.overdue_jobs(moments, limit=JOBS_MAX)
        found = await _found(rows, moments)
        is_all = len(rows) < JOBS_MAX and len(found) <= COUNTED_MAX
        counted = len(found) if is_all else COUNTED_MAX + 1
        return lists.paged(found[page.offset : page.offset + page.size], page, counted)

    async def _told_until(self) -> dict[int, datetime]:
        """Up to which moment the archive tells all that was decided, of each partition."""
        log = self._deps.log
        looked = [opening.look(log.redis, log.keys(each)) for each in range(log.partitions)]
        states: Sequence[LogState] = await asyncio.gather(
            *looked
        )  # before the archive is asked how far it is
        until = {}
        for partition, (mark, at) in (await self._deps.ledger.archived_until()).items():
            if partition < len(states) and states[partition].tail_at <= mark:
                until[partition] = ids.from_ms(states[partition].now_ms)
            elif at is not None:
                until[partition] = at
        return until


async def _found(rows: Sequence[asyncpg.Record], moments: dict[int, datetime]) -> list[MissedView]:
    found: list[MissedView] = []
    for row in rows:
        found += islice(_missed(row, moments[row["partition"]]), OF_A_JOB)
        await asyncio.sleep(0)  # others have waited
        if len(found) > COUNTED_MAX:
            break
    return sorted(found, key=lambda each: (each.missing_since, each.job_id, each.scheduled_for))


def _missed(row: asyncpg.Record, by: datetime) -> Iterator[MissedView]:
    """What is missing of a job; where its state or schedule can't be read here, what its row tells of."""
    try:
        job = snapshot.load(Job, (row["state"] or "").encode())
        for scheduled_for, fires_at in missing(job, by):
            yield _view(row, scheduled_for, fires_at)
    except ValueError:
        yield _view(row, row["next_run_time"], row["next_run_time"])


def _view(row: asyncpg.Record, scheduled_for: datetime, fires_at: datetime) -> MissedView:
    return MissedView(
        job_id=str(row["id"]),
        job_name=row["name"],
        scheduled_for=scheduled_for,
        missing_since=fires_at,
    )
