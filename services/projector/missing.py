"""Missing occurrences: those that the schedule should have decided, and of which the log tells nothing.

The promise is that there are none, and the log is what it is held against: not the due index, which may itself have
lost a job. The archive lags behind the log, so an occurrence is looked for as of a moment before which nothing was
committed that isn't archived: the time at which the log ended where the archive has come to by now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.job import Job
from shared.domain.occurrences import undecided
from shared.eventlog import snapshot
from shared.eventlog.position import Position
from shared.readmodel.overdue import GRACE, JOBS_MAX, overdue_jobs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    import asyncpg

    from services.projector.gauges import End
    from shared.readmodel.archive import Checkpoint

__all__ = ["GRACE", "Horizons", "count"]

OCCURRENCES_MAX = 10_000  # counted; about 20 ms, and nobody asks how many more there are


class Horizons:
    """Up to which moment the archive has all that was decided, for each partition that this replica projects."""

    def __init__(self) -> None:
        self._reached: dict[int, datetime] = {}
        self._ahead: dict[int, End] = {}  # an end of the log that the archive has yet to reach

    def saw(self, ends: Mapping[int, End], checkpoints: Mapping[int, Checkpoint]) -> dict[int, datetime]:
        """Take in where the logs ended, and how far they were archived before that; return the moments.

        A partition that isn't among them is another replica's, who counts for it.
        """
        self._reached = {partition: at for partition, at in self._reached.items() if partition in ends}
        for partition, end in ends.items():
            checkpoint = checkpoints[partition]
            archived = Position(checkpoint.epoch, checkpoint.pos)
            for seen in (self._ahead.get(partition), end):
                if seen is not None and seen.position <= archived:
                    self._reached[partition] = seen.at
                    self._ahead.pop(partition, None)
            if end.position > archived:
                self._ahead.setdefault(partition, end)
        return dict(self._reached)


async def count(pool: asyncpg.Pool, reached: Mapping[int, datetime], *, grace: timedelta) -> int:
    """How many occurrences should have been decided `grace` before the moments that the archive has reached.

    At least so many: see JOBS_MAX and OCCURRENCES_MAX.
    """
    moments = {partition: at - grace for partition, at in reached.items()}
    rows = await overdue_jobs(pool, moments, limit=JOBS_MAX)
    missing = 0
    for row in rows:
        missing += _undecided(row["state"], moments[row["partition"]], most=OCCURRENCES_MAX - missing)
    return missing


def _undecided(state: str | None, by: datetime, *, most: int) -> int:
    """Of a job whose state or schedule this build can't read, the one occurrence that its row tells of."""
    try:
        return undecided(snapshot.load(Job, (state or "").encode()), by, most=most)
    except ValueError:
        return min(1, most)
