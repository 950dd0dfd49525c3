"""From rows of the archive to values of the log: `shared.readmodel` may not know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain import ids
from shared.domain.job import Job
from shared.eventlog.envelope import Recorded
from shared.eventlog.position import Position
from shared.eventlog.snapshot import NOTHING, Snapshot, load
from shared.eventlog.unit import Committed
from shared.readmodel import archive
from shared.readmodel.database import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from shared.eventlog.unit import Unit


def recorded(row: asyncpg.Record) -> Recorded:
    """The event of a row of `book.events` (archive.EVENT_COLUMNS), as the log had it."""
    fields = dict(row)
    position = Position(fields.pop("epoch"), fields.pop("pos"))
    return Recorded(position=position, at=ids.to_ms(fields.pop("at")), **fields)


async def archived_job(pool: asyncpg.Pool, ref: str) -> Snapshot:
    """The snapshot of a job whose key has left Redis; its guard is "none". NOTHING if there is no such job.

    Raises:
        NewerShape: a newer Daybook wrote it.
    """
    text = await archive.snapshot_of(pool, ref)
    return NOTHING if text is None else Snapshot(state=load(Job, text.encode()))


async def archived_units(pool: asyncpg.Pool, partition: int, units: Sequence[Unit]) -> list[Committed | None]:
    """What the archive knows of units whose reply was lost: each as it was committed, or None.

    An event's id is given before it is committed, so it tells a unit that is there from one like it.
    """
    events = [event for unit in units for event in (unit.events[0], unit.events[-1])]
    rows = await pool.fetch(
        sql("shared.recovery", "statements/events_by_id.sql"),
        partition,
        sorted({event.subject for event in events}),
        sorted({event.id for event in events}),
    )
    found = {row["id"]: row for row in rows}
    return [_committed(unit, found) for unit in units]


def _committed(unit: Unit, found: dict[str, asyncpg.Record]) -> Committed | None:
    first, last = (found.get(event.id) for event in (unit.events[0], unit.events[-1]))
    if first is None or last is None:
        return None
    return Committed(
        first=Position(first["epoch"], first["pos"]),
        last=Position(last["epoch"], last["pos"]),
        now_ms=ids.to_ms(first["at"]),
    )
