"""Looking back: what jobs were at a place of the archive, folded by the same `evolve` as everything else.

A fold starts from the last state that was kept before that place: a waypoint, what was brought forward when months of
the archive were dropped, or nothing. Of the events that follow only those are read that change a job or count its runs.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from shared.domain import kinds
from shared.domain.events import OUTCOMES, RunRequested
from shared.domain.job import Job
from shared.eventlog import snapshot
from shared.eventlog.position import Position
from shared.readmodel.database import sql
from shared.recovery.brought_forward import Brought, LastRun, brought_forward_of, counted
from shared.recovery.rows import recorded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from shared.eventlog.envelope import Recorded
    from shared.readmodel.archive import Asked

READ = 1_000  # events of a job in one reading: about 60 ms of folding, then others have their turn
EVENTS_MAX = 50_000  # folded for one question: 3 s. Where there are waypoints, it's some hundreds a job
_COUNTED = [RunRequested.__name__, *(event.__name__ for event in OUTCOMES)]


class TooFar(Exception):  # noqa: N818 - a finding
    """More than EVENTS_MAX events would have to be folded: what was archived before there were waypoints has none."""


class Gone(Exception):  # noqa: N818 - a finding
    """The archive was cut meanwhile, beyond the place that is asked for."""


class Span(NamedTuple):
    """Of a job: the pos after which its archive begins, and the one up to which it is asked for."""

    since: int
    upto: int


async def jobs_as_of(connection: Asked, wanted: Mapping[str, Span]) -> tuple[dict[str, Brought], int]:
    """The jobs as they were, by id, without those that there weren't yet; and how many events were folded.

    The archive must not be cut while this reads (`cuts.hold_still`), and hold everything up to there.

    Raises:
        Gone: see there.
        TooFar: see there.
        UnknownEvent: a newer Daybook wrote one of their events.
        NewerShape: or one of the states that were kept.
    """
    known = await _kept(connection, wanted)
    after = {
        job_id: max(span.since, known[job_id].told.pos if job_id in known else 0)
        for job_id, span in wanted.items()
    }
    folded = 0
    while after:
        rows = await _told(connection, wanted, after)
        folded += len(rows)
        if folded > EVENTS_MAX:
            raise TooFar
        after = _fold(known, [recorded(row) for row in rows])
        await asyncio.sleep(0)  # others have waited
    return known, folded


async def _kept(connection: Asked, wanted: Mapping[str, Span]) -> dict[str, Brought]:
    brought = await brought_forward_of(connection, [f"job:{job_id}" for job_id in wanted])
    found = {ref.removeprefix("job:"): each for ref, each in brought.items()}
    if any(each.told.pos > wanted[job_id].upto for job_id, each in found.items()):
        raise Gone
    arguments = zip(*((job_id, span.upto, span.since) for job_id, span in wanted.items()), strict=True)
    for row in await connection.fetch(_statement("waypoints"), *map(list, arguments)):
        found[row["job"]] = _waypoint(row)
    return found


def _waypoint(row: asyncpg.Record) -> Brought:
    last = row["last_run_id"], row["last_run_status"], row["last_run_finished_at"]
    at = Position(row["epoch"], row["pos"])
    return Brought(
        ref=f"job:{row['job']}",
        version=at,
        state=snapshot.load(Job, row["state"].encode()),
        active_runs=row["active_runs"],
        last_run=None if last[0] is None else LastRun(str(last[0]), *last[1:]),
        told=at,
    )


async def _told(
    connection: Asked, wanted: Mapping[str, Span], after: Mapping[str, int]
) -> Sequence[asyncpg.Record]:
    upto = [wanted[job_id].upto for job_id in after]
    arguments = (list(after), list(after.values()), upto, _COUNTED, READ)
    return await connection.fetch(_statement("told_of_jobs"), *arguments)


def _fold(known: dict[str, Brought], events: Sequence[Recorded]) -> dict[str, int]:
    """Fold events in; return where to go on, of the jobs of which there may be more."""
    counts: dict[str, int] = {}
    reached: dict[str, int] = {}
    for event in events:
        job_id = event.job or event.subject.removeprefix("job/")
        known[job_id] = _folded(known.get(job_id), job_id, event)
        counts[job_id] = counts.get(job_id, 0) + 1
        reached[job_id] = event.position.pos
    return {job_id: reached[job_id] for job_id, count in counts.items() if count == READ}


def _folded(before: Brought | None, job_id: str, event: Recorded) -> Brought:
    change, ref = event.change(), f"job:{job_id}"
    if ref not in change.advances:
        if before is None:
            raise ValueError(f"{event.place} {event.type} is of {ref}, which nobody created")
        return counted(before, event, change)
    state = kinds.JOB.evolve(None if before is None else before.state, change)
    known = before or Brought(ref=ref, version=event.position, state=state)
    return counted(replace(known, version=event.position, state=state), event, change)


def _statement(name: str) -> str:
    return sql("shared.recovery", f"statements/{name}.sql")
