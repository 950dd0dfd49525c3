"""What events come to, from what is remembered and, where that doesn't suffice, from the rows in Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from services.projector import job_rows, projections, run_rows
from services.projector.rows import statement
from shared.domain import ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from services.projector.memory import Memory
    from services.projector.projections import Folded
    from shared.eventlog.envelope import Recorded

    class Fetched(Protocol):
        """What answers a question."""

        async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]: ...  # noqa: D102 - as of a connection


async def folded(asked: Fetched, memory: Memory, events: Sequence[Recorded]) -> Folded:
    """Fold the next events of a partition into what `memory` has of its jobs and runs."""
    jobs, runs = projections.needed(events, memory.jobs, memory.runs)
    if jobs:
        for record in await asked.fetch(statement("load_jobs"), jobs):
            entry = job_rows.loaded(tuple(record))
            memory.jobs[entry.id] = entry
    if runs:
        times = [ids.time_of(run) for run in runs]
        for record in await asked.fetch(statement("load_runs"), runs, times):
            row = run_rows.loaded(tuple(record))
            memory.runs[row.id] = row
    return projections.fold(events, memory.jobs, memory.runs)
