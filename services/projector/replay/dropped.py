"""What was dropped: jobs begin as they were brought forward, and what only dropped events have told is carried over.

Rows of the live ledger are all there is of runs, hours, keys, calendars and backfills whose events have left the
archive. They are copied as of the moment up to which the workers read; what came after is folded onto them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.projector import job_rows
from services.projector.replay.names import Placed, statement
from services.projector.rows import statement as projector_statement
from shared.domain.job import Job
from shared.readmodel import cuts
from shared.readmodel.database import columns
from shared.recovery.brought_forward import brought_forward

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.projector.job_rows import JobEntry
    from shared.readmodel.archive import Connection
    from shared.readmodel.cuts import Cut

AT_ONCE = 1_000  # rows a statement
_CARRIED = (
    "runs_carried",
    "carry_runs",
    "hours_carried",
    "carry_hours",
    "carry_keys",
    "carry_calendars",
    "carry_backfills",
)


async def carry_over(connection: Connection, whole: set[int]) -> None:
    """Begin the partitions whose beginning isn't there; of those in `whole` the cold copies have it."""
    for (partition,) in await connection.fetch("select partition from replay.partitions order by partition"):
        cut = await cuts.cut_of(connection, partition)
        if cut is None or partition in whole:
            continue
        await _carry_jobs(connection, partition)
        await _carry_rows(connection, cut)


async def _carry_jobs(connection: Connection, partition: int) -> None:
    placed = Placed(connection, reading=True)
    brought = await brought_forward(connection, partition, "job")
    entries = [job_rows.brought(each) for _, each in sorted(brought.items()) if isinstance(each.state, Job)]
    for first in range(0, len(entries), AT_ONCE):
        await _put(placed, entries[first : first + AT_ONCE], partition)


async def _put(placed: Placed, entries: Sequence[JobEntry], partition: int) -> None:
    rows = [job_rows.stored(each, partition) for each in entries]
    states = [job_rows.snapshot_row(each, partition) for each in entries]
    await placed.execute(projector_statement("upsert_jobs"), *columns(rows))
    await placed.execute(projector_statement("save_snapshots"), *columns(states))


async def _carry_rows(connection: Connection, cut: Cut) -> None:
    names = await connection.fetchval(statement("written_columns"), "ledger.runs")
    for name in _CARRIED:
        text = statement(name).replace("{columns}", names)
        await connection.execute(text, cut.partition, cut.pos, cut.at)
