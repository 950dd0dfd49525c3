"""Planning jobs anew where this timer has newer zone tables than those that they are planned by.

An old timer and a new one may both be there while a deployment is upgraded: the newer tables win, and the old timer
leaves their jobs as they are. What an old API or timer announces meanwhile, by its tables, is found by looking again,
each hour of the first day and whenever a partition changes hands.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from shared import logs
from shared.domain import ids
from shared.eventlog.envelope import Context
from shared.eventlog.replan import Replan

if TYPE_CHECKING:
    from shared.clock import Clock
    from shared.eventlog.decider import Decided, Decider
    from shared.eventlog.log import EventLog
    from shared.eventlog.replan import Planned
    from shared.lease import Share
    from shared.loop import Stop
    from shared.metrics import Metrics

LOOK_EVERY_S = 1.0  # for partitions that have come
AGAIN_EVERY_S = 3600.0
AGAIN_FOR_MS = 24 * 3600 * 1000  # no upgrade takes longer
_ACTOR = Context(actor="timer")


class Replanning:
    """Keeps the jobs of a timer's share planned by its zone tables.

    Args:
        log: of the deployment.
        decider: over it.
        share: of the timer.
        clock: measures spans.
        metrics: counts what had fallen due.
        tables: version of the zone tables of this process.
    """

    def __init__(
        self,
        log: EventLog,
        decider: Decider,
        share: Share,
        *,
        clock: Clock,
        metrics: Metrics,
        tables: str,
    ) -> None:
        self._log = log
        self._share = share
        self._clock = clock
        self._metrics = metrics
        self._tables = tables
        self._replan = Replan(log, decider, tables=tables, tell=self._count)
        self._next_s: dict[int, float] = {}  # when to look at a partition of ours again
        self._words = logs.get("daybook.timer")

    async def run_once(self, stop: Stop) -> float:
        """Look at the partitions that are to be looked at now; return how long to pause."""
        owned = self._share.owned
        self._next_s = {partition: at for partition, at in self._next_s.items() if partition in owned}
        for partition in sorted(owned):
            if self._clock.monotonic() >= self._next_s.get(partition, -math.inf):
                self._next_s[partition] = self._clock.monotonic() + await self._look(partition, stop)
        return LOOK_EVERY_S

    async def _look(self, partition: int, stop: Stop) -> float:
        """Plan a partition's jobs anew if that is wanted; return in how many seconds to look again."""
        planned = await self._replan.planned(partition)
        if self._replan.is_older(planned):
            told = {"partition": partition, "ours": self._tables, "planned_by": planned.version}
            self._words.warning("zone tables are older than those in use: upgrade this timer", **told)
            return AGAIN_EVERY_S
        if not self._is_wanted(planned):
            return math.inf
        walked = await self._replan(
            partition,
            planned,
            _ACTOR,
            go_on=lambda: not stop.is_set() and partition in self._share.owned,
        )
        if walked is None:
            return 0.0
        if walked.moved or planned.version != self._tables:
            told = {"partition": partition, "before": planned.version, "now": self._tables}
            self._words.info("planned by these zone tables", **told, jobs=walked.jobs, moved=walked.moved)
        return AGAIN_EVERY_S

    def _is_wanted(self, planned: Planned) -> bool:
        if planned.version != self._tables or not planned.walked:
            return True
        return ids.to_ms(self._log.now()) < planned.since_ms + AGAIN_FOR_MS

    def _count(self, decided: Decided) -> None:
        self._metrics.count_occurrences(decided.changes, self._log.now())
