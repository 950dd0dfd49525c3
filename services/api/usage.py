"""How many requests each principal has sent: counted here, and added up in Redis once a second.

A process that is killed takes the last second's counts with it, and a lost reply may count a second twice: good enough
to see who asks much, not to write bills from.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from shared.domain import ids

if TYPE_CHECKING:
    from datetime import datetime

    from services.api.principal import Principal
    from shared.eventlog.log import EventLog

FLUSH_EVERY_S = 1.0
HOUR_MS = 3_600_000
DAYS_KEPT = 8
_KEPT_MS = DAYS_KEPT * 24 * HOUR_MS
_UNFLUSHED_MAX = 10_000  # pairs of hour and principal: while Redis is away, others aren't counted


class Usage:
    """The counts, in one hash an hour."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._counts: Counter[tuple[int, str]] = Counter()

    def count(self, principal: Principal) -> None:
        """Note one more request."""
        which = (ids.to_ms(self._log.now()) // HOUR_MS, f"{principal.tenant} {principal.id}")
        if which in self._counts or len(self._counts) < _UNFLUSHED_MAX:
            self._counts[which] += 1

    async def flush(self) -> float:
        """Add to Redis what was counted since the last time; returns in how many seconds to do it again.

        Raises:
            Exception: what `faults.is_broken` knows; then the counts are kept.
        """
        taken, self._counts = self._counts, Counter()
        for hour in sorted({hour for hour, _ in taken}):
            of_hour = {who: count for (each, who), count in taken.items() if each == hour}
            try:
                await self._add(hour, of_hour)
            except BaseException:
                self._counts.update(taken)
                raise
            for who in of_hour:
                del taken[hour, who]
        return FLUSH_EVERY_S

    async def _add(self, hour: int, counts: dict[str, int]) -> None:
        """In one transaction, so that the hash never stands without a time to live."""
        name = self._name(hour)
        async with self._log.redis.pipeline(transaction=True) as pipe:
            for who, count in counts.items():
                pipe.hincrby(name, who, count)
            pipe.pexpire(name, _KEPT_MS)
            await pipe.execute()

    async def counted(self, since: datetime, until: datetime, tenant: str | None) -> Counter[str]:
        """Requests by principal, in all hours that have a part in [since, until); `tenant` None: of all tenants."""
        hours = range(ids.to_ms(since) // HOUR_MS, -(-ids.to_ms(until) // HOUR_MS))
        async with self._log.redis.pipeline(transaction=False) as pipe:
            for hour in hours:
                pipe.hgetall(self._name(hour))
            found = await pipe.execute()
        totals: Counter[str] = Counter()
        for counts in found:
            for name, count in counts.items():
                of_tenant, _, who = name.decode().partition(" ")
                if tenant in {None, of_tenant}:
                    totals[who] += int(count)
        return totals

    def _name(self, hour: int) -> str:
        return self._log.keys(hour % self._log.partitions).asked(hour)
