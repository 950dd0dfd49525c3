"""Whether there is room for new work: looked at once a second, so that no request has to.

Refused is what begins runs, early enough that those there are can end: their events need memory too, and what the
archive hasn't taken in stays in Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import NoPermissionError

from services.api.operations import OPERATIONS
from services.api.problems import Problem
from shared import logs
from shared.eventlog.cluster import masters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.api.archived import Archive
    from services.api.ledger import Ledger
    from shared.eventlog.log import EventLog
    from shared.metrics import Metrics
    from shared.settings import Settings

LOOK_EVERY_S = 1.0
RETRY_AFTER_S = 5
_ADDING = frozenset(each.name for each in OPERATIONS if each.adds_work)
_WORDS = {
    "memory": "Redis has hardly any memory left; new work is refused until runs have ended.",
    "backlog": "The archive is far behind the log; new work is refused until it has caught up.",
}


class Pressure:
    """What there is too little room in, as it was at the last look.

    Attributes:
        room: `memory`, `backlog`, or None: there is enough.
    """

    def __init__(
        self, *, log: EventLog, archive: Archive, ledger: Ledger, settings: Settings, metrics: Metrics
    ) -> None:
        self._log, self._archive, self._ledger = log, archive, ledger
        self._settings, self._metrics = settings, metrics
        for room in _WORDS:  # a rate sees what grows, not what begins: so each begins at 0
            metrics.work_refused_total.labels(room)
        self._may_ask = True
        self.room: str | None = None

    def refuse(self, endpoint: str | None) -> None:
        """Refuse the present request if it asks for new work and there is no room.

        Raises:
            Problem: 503.
        """
        if self.room is not None and endpoint in _ADDING:
            self._metrics.work_refused_total.labels(self.room).inc()
            raise Problem("log-full", _WORDS[self.room], headers={"Retry-After": str(RETRY_AFTER_S)})

    async def look(self) -> float:
        """Look anew; returns in how many seconds to look again.

        Raises:
            Exception: what `faults.is_broken` knows, where Redis doesn't answer; what was found before stands.
        """
        found = "memory" if await self._is_full() else "backlog" if await self._is_behind() else None
        if found != self.room:
            self.room = found
            if found is None:
                logs.get("daybook.api").info("new work is taken again")
            else:
                logs.get("daybook.api").warning("new work is refused", room=found)
        return LOOK_EVERY_S

    async def _is_full(self) -> bool:
        if not self._may_ask:
            return False
        try:
            servers = [await server.info("memory") for server in await masters(self._log.redis)]
        except NoPermissionError:
            self._may_ask = False
            logs.get("daybook.api").warning("Redis' memory can't be seen: its user needs the command INFO")
            return False
        return any(map(self._is_one_full, servers))  # a partition's work has no other place to go

    def _is_one_full(self, memory: Mapping[str, int]) -> bool:
        used = memory["used_memory"] - memory.get("mem_not_counted_for_evict", 0)  # as Redis itself counts
        most = memory.get("maxmemory", 0)
        ratio = used / most if most else 0.0
        self._metrics.redis_memory_used_ratio.set(ratio)
        return ratio * 100 >= self._settings.memory_max_percent

    async def _is_behind(self) -> bool:
        if await self._backlog() <= self._settings.backlog_max:
            return False
        # Watermarks are heard, and may be missed: the checkpoints are right, if Postgres answers.
        for partition, mark in await self._ledger.glance(self._ledger.checkpoints()) or ():
            if partition < self._log.partitions:
                self._archive.reached(partition, mark)
        return await self._backlog() > self._settings.backlog_max

    async def _backlog(self) -> int:
        """How many events the archive hasn't taken in, as far as it is known; never too few."""
        log = self._log
        async with log.redis.pipeline(transaction=False) as pipe:
            for partition in range(log.partitions):
                pipe.hget(log.keys(partition).meta, "pos")
                pipe.xlen(log.keys(partition).log)
            replies = await pipe.execute()
        tails, lengths = replies[0::2], replies[1::2]
        return sum(
            min(length, max(int(tail or 0) - self._archive.mark(partition).pos, 0))  # trimmed: archived
            for partition, (tail, length) in enumerate(zip(tails, lengths, strict=True))
        )
