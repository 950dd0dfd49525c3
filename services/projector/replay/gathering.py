"""Gathering: makes rows of a partition's events by the hundred thousand, for tables that nobody reads yet.

Runs are written as they come, new ones by COPY. A job changes with each of its runs, and its row and state cost as
much as all else, so they are written once in a long while. All of that is one transaction, which notes how far it has
come; a crash costs what was read since the last.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from services.projector import batch, rows
from services.projector.folding import folded
from services.projector.memory import Memory
from services.projector.projections import Folded
from services.projector.replay import build
from services.projector.replay.names import NEXT, Placed
from services.projector.run_rows import RunRow
from shared.domain.events import RunRequested
from shared.eventlog.position import START
from shared.readmodel.database import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from services.projector.job_rows import JobEntry
    from services.projector.replay.build import Part
    from services.projector.rows import Refusal, Table
    from shared.eventlog.envelope import Recorded

EVENTS = 200_000  # a transaction: some 15 s
JOBS = 50_000  # changed ones, about 3 KB each
JOBS_KEPT, RUNS_KEPT = 200_000, 200_000  # from one transaction to the next
_NO_END = 2**62
_BEGINS = RunRequested.__name__


class Gatherer:
    """Gathers one partition.

    Args:
        connection: to the archive's database, of nobody else meanwhile.
        part: where to begin.
        hours_carried: hours since 1970 that aren't to be counted.
    """

    def __init__(
        self, connection: asyncpg.pool.PoolConnectionProxy, part: Part, hours_carried: frozenset[int]
    ) -> None:
        self.partition = part.partition
        self._connection = connection
        self._placed = Placed(connection, reading=True)
        self._hours_carried = hours_carried
        self._memory = Memory(jobs_kept=_NO_END, runs_kept=RUNS_KEPT)  # changed jobs must be written first
        self._jobs: dict[str, JobEntry] = {}
        self._advanced: set[str] = set()
        self._written = part.pos
        self._at = START._replace(pos=part.pos)
        self._transaction: asyncpg.transaction.Transaction | None = None

    async def take(self, events: Sequence[Recorded]) -> None:
        """Take the events that follow the last ones.

        Raises:
            Unreplayable: they don't, or somebody else builds.
        """
        build.check_following(self.partition, self._at.pos, events)
        if self._transaction is None:
            self._transaction = self._connection.transaction()
            await self._transaction.start()
        made = await folded(self._placed, self._memory, events)
        for hour in [key for key in made.hours if key[0] in self._hours_carried]:
            del made.hours[hour]
        self._jobs |= made.jobs
        self._advanced |= made.snapshots
        refused = await self._write(replace(made, jobs={}, snapshots=set()), events)
        self._memory.settle(made, {each.key for each in refused})
        self._at = events[-1].position
        if self._at.pos - self._written >= EVENTS or len(self._jobs) >= JOBS:
            await self.flush()

    async def flush(self) -> None:
        """Write the jobs, and commit."""
        if self._transaction is None:
            return
        gathered = Folded(jobs=self._jobs, snapshots=self._advanced)
        if states := rows.snapshots(gathered, self.partition):
            await self._placed.execute(rows.statement("save_snapshots"), *columns(states))
        for table in rows.ledgers(gathered, self.partition, self._at):
            refused = await rows.put_what_is_taken(self._connection, self._placed.table(table))
            await build.refuse(self._connection, self.partition, refused)
            for each in refused:
                self._memory.jobs.pop(each.key, None)
        await build.move(self._connection, self.partition, self._written, self._at)
        await self._transaction.commit()
        self._transaction, self._written = None, self._at.pos
        self._jobs.clear()
        self._advanced.clear()
        self._memory.shorten(jobs_kept=JOBS_KEPT)

    async def _write(self, made: Folded, events: Sequence[Recorded]) -> list[Refusal]:
        try:
            async with self._connection.transaction():
                return await self._write_all(made, events, carefully=bool(made.unreadable))
        except rows.REFUSED:
            async with self._connection.transaction():
                return await self._write_all(made, events, carefully=True)

    async def _write_all(self, made: Folded, events: Sequence[Recorded], *, carefully: bool) -> list[Refusal]:
        refused = list(batch.unreadable(made))
        if passed := rows.waypoints(made, self.partition):
            await self._placed.execute(rows.statement("save_waypoints"), *columns(passed))
        for table in rows.ledgers(made, self.partition, events[-1].position):
            if carefully:
                refused += await rows.put_what_is_taken(self._connection, self._placed.table(table))
            elif table.model == "runs":
                await self._put_runs(table, events)
            else:
                await rows.put(self._connection, self._placed.table(table))
        await batch.record(self._placed, self.partition, events, refused)
        return refused

    async def _put_runs(self, table: Table, events: Sequence[Recorded]) -> None:
        """Write rows of runs; of those that begin here, many at once."""
        begun = {event.subject[4:] for event in events if event.type == _BEGINS}
        new = [row.values for row in table.rows if row.key in begun]
        await self._connection.copy_records_to_table(
            "runs", schema_name=NEXT, columns=RunRow.__struct_fields__, records=new
        )
        if known := [row for row in table.rows if row.key not in begun]:
            await rows.put(self._connection, self._placed.table(replace(table, rows=known)))
