"""Giving way: where processors are short, what must be on time goes first, and the log keeps what isn't archived yet.

Whoever writes much at a time asks here, and rests between; a trickle costs little, and what a client has written, who
may be waiting for it, is never kept back. How short processors are is told by how long this very process stood ready
and didn't run, which the kernel knows, whoever else uses the machine. (Niceness would be heeded by those in our own
session only, and by nobody in another container.)
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SHORT = 0.5  # waited so much for each second it ran: two others want each processor
SAMPLE_S = 0.02  # of running; less says nothing
REST = 3.0  # pauses so many times what a flood took
REST_MAX_S = 1.0
BEHIND_MAX = 400_000  # events: beyond, about 400 MB of Redis, archiving is what must be on time

_SCHEDSTAT = Path("/proc/self/schedstat")


class Turns(NamedTuple):
    """Seconds that this process has run, and has been ready to and waited."""

    ran_s: float
    waited_s: float


def turns() -> Turns:
    """What the kernel has counted so far; nothing but zeros where it doesn't tell."""
    try:
        ran_ns, waited_ns, _ = _SCHEDSTAT.read_text().split()
    except (OSError, ValueError):
        return Turns(0.0, 0.0)
    return Turns(int(ran_ns) / 1e9, int(waited_ns) / 1e9)


class Manners:
    """One process's; `count` tells how it fares."""

    def __init__(self, *, count: Callable[[], Turns] = turns) -> None:
        self._count = count
        self._last = count()
        self._short = False
        self._alone = asyncio.Lock()
        self.behind = 0  # events in the log that aren't archived, as last measured

    def short(self) -> bool:
        """Whether processors are short, by what has happened since this was last asked."""
        now, last = self._count(), self._last
        if now.ran_s - last.ran_s >= SAMPLE_S:
            self._short = now.waited_s - last.waited_s > SHORT * (now.ran_s - last.ran_s)
            self._last = now
        return self._short and self.behind < BEHIND_MAX

    @contextlib.asynccontextmanager
    async def flood(self) -> AsyncIterator[None]:
        """Around the work on a large batch: where processors are short one waits for the other, and a rest follows."""
        async with self._alone if self._short else contextlib.nullcontext():
            began = time.monotonic()
            yield
            if self.short():
                await asyncio.sleep(min(REST * (time.monotonic() - began), REST_MAX_S))
