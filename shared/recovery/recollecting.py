"""Recollecting: what happened to one job in a span of the archive, as far as its schedule and its runs' courses go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from shared.domain import ids
from shared.domain.events import (
    OUTCOMES,
    RunCancelRequested,
    RunInterrupted,
    RunLost,
    RunQueued,
    RunRequested,
    RunRetryPlanned,
    RunStarted,
    RunSucceeded,
)
from shared.domain.happened import Told
from shared.readmodel.database import sql
from shared.recovery.looking_back import READ, TooFar, jobs_as_of
from shared.recovery.rows import recorded

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.events import Event
    from shared.domain.job import Job
    from shared.eventlog.envelope import Recorded
    from shared.readmodel.archive import Asked
    from shared.recovery.looking_back import Span

EVENTS_MAX = 50_000  # read for one question: 3 s
_LAST = (1 << 62) - 1
_OF_RUNS: tuple[type[Event], ...] = (
    RunRequested, RunQueued, RunStarted, RunRetryPlanned, RunLost, RunInterrupted, RunCancelRequested, *OUTCOMES,
)  # fmt: skip
_TYPES = [event.__name__ for event in _OF_RUNS]


async def recollected(
    connection: Asked, job_id: str, span: Span, *, is_there: bool, until: datetime
) -> tuple[Job | None, list[Told]]:
    """A job as it was at the end of `span`, and what has happened to it after that, by `until`.

    The archive must not be cut while this reads (`cuts.hold_still`), and hold everything up to there. What runs are
    given to do, and what comes of that, is left out.

    Args:
        connection: to the archive's database.
        job_id: the job.
        span: see there.
        is_there: whether it was there by then.
        until: the last commit time that counts.

    Raises:
        Gone: see `looking_back`.
        TooFar: more than EVENTS_MAX events would have to be read.
        UnknownEvent: a newer Daybook wrote one of them.
        NewerShape: or the state that was kept.
    """
    job: Job | None = None
    if is_there:
        known, _ = await jobs_as_of(connection, {job_id: span})
        job = known[job_id].state if job_id in known else None  # type: ignore[assignment]
    told: list[Told] = []
    after, is_end = span.upto, False
    while not is_end:
        text = sql("shared.recovery", "statements/told_of_jobs.sql")
        rows = await connection.fetch(text, [job_id], [after], [_LAST], _TYPES, READ)
        found = [_told(recorded(row)) for row in rows]
        told += (each for each in found if each.at <= until)
        is_end = len(rows) < READ or found[-1].at > until
        if rows:
            after = rows[-1]["pos"]
        if len(told) > EVENTS_MAX:
            raise TooFar
        await asyncio.sleep(0)  # others have waited
    return job, told


def _told(event: Recorded) -> Told:
    change = event.change()
    return Told(replace(change, event=_bare(change.event)), ids.from_ms(event.at), event.place)


def _bare(event: Event) -> Event:
    """Without what may be large, as there may be so many."""
    match event:
        case RunRequested(spec=spec):
            return replace(event, spec=replace(spec, job_data={}))
        case RunSucceeded():
            return replace(event, result=None)
        case _:
            return event
