"""Copies of keys that need not be at hand any more, taken away.

A copy stands in Redis for as long as Redis knows the state of its job, which leaves a day after the job is over. Who
needs the key after that has it from Postgres, and so a million mails of last year cost Redis nothing.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, cast

from shared import logs
from shared.eventlog import opening
from shared.faults import is_broken
from shared.personal.keys import statement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import asyncpg
    from redis.asyncio import Redis

    from shared.eventlog.keys import Keys

PAGE = 500  # copies a step
STEP_EVERY_S = 0.5
AGAIN_S = 60.0  # after trouble with a store
SWEEP_EVERY_S = 3600.0


class Sweep:
    """The way through a partition's copies, a page at a time; then again in an hour.

    Args:
        pool: of the archive's database.
        redis: a client for commands.
        keys: of the partition.
        clock: seconds that never go back.
    """

    def __init__(
        self, pool: asyncpg.Pool, redis: Redis, keys: Keys, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._cursor = 0
        self._taken = 0
        self._next_at = -math.inf

    def begin(self) -> None:
        """Begin anew, with the next step."""
        self._cursor, self._next_at = 0, -math.inf

    async def step(self) -> None:
        """Look at a page of copies, if it is time. Nobody's work depends on it: a store that is away costs a step."""
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + STEP_EVERY_S
        try:
            is_over = await self._page()
        except Exception as error:
            if not is_broken(error):
                raise
            self._next_at = self._clock() + AGAIN_S
            return
        if is_over:
            self._next_at = self._clock() + SWEEP_EVERY_S
            self._tell()

    async def _page(self) -> bool:
        """Whether it was the last one."""
        # While a log is made anew, no state is there.
        if not (await opening.look(self._redis, self._keys)).is_open:
            return False
        cursor, copies = await self._redis.hscan(self._keys.personal, self._cursor, count=PAGE)
        await self._take_away([str(job, "ascii") for job in cast("dict[bytes, bytes]", copies)])
        self._cursor = int(cursor)
        return self._cursor == 0

    async def _take_away(self, jobs: Sequence[str]) -> None:
        there = await known(self._redis, self._keys, jobs)
        if not (left := [job for job in jobs if job not in there]):
            return
        # Never one that Postgres lacks: that would be the last.
        rows = await self._pool.fetch(statement("resting"), left)
        if rows:
            self._taken += await self._redis.hdel(self._keys.personal, *(row["job"] for row in rows))

    def _tell(self) -> None:
        count, self._taken = self._taken, 0
        if count:
            told = {"partition": self._keys.partition, "count": count}
            logs.get("daybook.personal").info("copies of keys taken away", **told)


async def known(redis: Redis, keys: Keys, jobs: Sequence[str]) -> set[str]:
    """Those of some jobs of a partition whose state stands in Redis."""
    names = [keys.aggregate(f"job:{job}") for job in jobs]
    if not names or not (count := await redis.exists(*names)):  # of old ones, which lie together, mostly none
        return set()
    if count == len(names):
        return set(jobs)
    pipe = redis.pipeline(transaction=False)
    for name in names:
        pipe.exists(name)
    return {job for job, is_there in zip(jobs, await pipe.execute(), strict=True) if is_there}
