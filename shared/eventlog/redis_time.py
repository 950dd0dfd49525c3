"""What time Redis has, as far as this process has heard: its clock decides, ours only measures since when."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from shared.faults import BROKEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis


class RedisTime:
    """The clock of one server."""

    def __init__(self) -> None:
        self._ms = 0
        self._seen_at = 0.0

    @property
    def is_known(self) -> bool:
        """Whether it has been heard of."""
        return self._ms > 0

    def saw(self, redis_ms: int) -> None:
        """Note what it has just said (Unix ms)."""
        self._ms, self._seen_at = redis_ms, time.monotonic()

    def now_ms(self) -> int:
        """What it said last, plus what has passed here since."""
        return self._ms + int((time.monotonic() - self._seen_at) * 1000)

    def ahead_ms(self, other: RedisTime) -> int:
        """How far it is ahead of another one."""
        return round(self._ms - other._ms - (self._seen_at - other._seen_at) * 1000)


async def first_to_tell(servers: Sequence[Redis]) -> tuple[int, int]:
    """Seconds and microseconds of the first server that is there.

    Raises:
        Exception: what `faults.is_broken` knows; none is.
    """
    for server in servers[:-1]:
        with suppress(*BROKEN):
            return await server.time()
    return await servers[-1].time()
