"""The builder: makes rows of a partition's next events, and notes how far it has come in the same transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from services.projector import batch, rows
from services.projector.folding import folded
from services.projector.memory import Memory
from services.projector.replay import build
from services.projector.replay.names import Placed
from shared.domain import ids
from shared.eventlog.envelope import FIELDS, Recorded
from shared.eventlog.position import Position
from shared.readmodel import archive
from shared.readmodel.database import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from services.projector.projections import Folded
    from services.projector.replay.build import Part
    from services.projector.rows import Refusal
    from shared.readmodel.archive import Asked, Connection

_HOUR_MS = 3_600_000
_AT = FIELDS.index("at")


class Builder:
    """Builds on one partition, as a projector would.

    Args:
        connection: to the archive's database, of nobody else meanwhile.
        part: where to begin.
    """

    def __init__(self, connection: Connection, part: Part) -> None:
        self.partition = part.partition
        self.pos = part.pos
        self._connection = connection
        self._placed = Placed(connection, reading=False)
        self._memory = Memory()

    async def take(self, events: Sequence[Recorded]) -> None:
        """Write what the events come to, which follow the last ones.

        Raises:
            Unreplayable: they don't, or somebody else builds.
        """
        build.check_following(self.partition, self.pos, events)
        made = await folded(self._placed, self._memory, events)
        try:
            refused = await self._write(made, events, carefully=bool(made.unreadable))
        except rows.REFUSED:
            refused = await self._write(made, events, carefully=True)
        self.pos = events[-1].position.pos
        self._memory.settle(made, {each.key for each in refused})

    async def _write(self, made: Folded, events: Sequence[Recorded], *, carefully: bool) -> list[Refusal]:
        placed, last = self._placed, events[-1].position
        refused = list(batch.unreadable(made))
        async with self._connection.transaction():
            await build.move(self._connection, self.partition, self.pos, last)
            for name, some in (
                ("save_snapshots", rows.snapshots(made, self.partition)),
                ("save_waypoints", rows.waypoints(made, self.partition)),
            ):
                if some:
                    await placed.execute(rows.statement(name), *columns(some))
            for table in map(placed.table, rows.ledgers(made, self.partition, last)):
                if carefully:
                    refused += await rows.put_what_is_taken(self._connection, table)
                else:
                    await rows.put(self._connection, table)
            await batch.record(placed, self.partition, events, refused)
        return refused


async def archived(
    asked: Asked, partition: int, after: int, *, limit: int, upto: int | None = None
) -> list[Recorded]:
    """The next archived events of a partition, none above pos `upto`."""
    if upto is not None:
        limit = min(limit, upto - after)
    return [_recorded(*row) for row in await archive.events_after(asked, partition, after, limit=limit)]


def _recorded(partition: int, epoch: int, pos: int, *fields: Any) -> Recorded:
    """As `shared.recovery.recorded`, in half the time: by the order of the columns."""
    values = list(fields)
    values[_AT] = ids.to_ms(values[_AT])
    return Recorded(partition, Position(epoch, pos), *values)


async def hours_carried(connection: Connection, partition: int) -> frozenset[int]:
    """Hours since 1970 that were carried over."""
    found: list[asyncpg.Record] = await connection.fetch(
        "select hour from replay.hours_carried where partition = $1", partition
    )
    return frozenset(ids.to_ms(row[0]) // _HOUR_MS for row in found)
