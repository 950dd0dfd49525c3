"""Giving way: where processors are short, what must be on time goes first, and the log keeps what isn't archived yet.

Only floods give way, batches of a thousand events: a trickle costs little, and clients may be waiting for it. How short
processors are is told by how long this very process stood ready and didn't run, which the kernel knows, whoever else
uses the machine and however much of it is ours. (Niceness would be heeded by those in our own session only, and by
nobody in another container.)
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
REST = 3.0  # pauses so many times what a batch took
REST_MAX_S = 1.0
BEHIND_MAX = 400_000  # events: beyond, about 400 MB of Redis, archiving is what must be on time

_SCHEDSTAT = Path("/proc/self/schedstat")


class Turn(NamedTuple):
    """Seconds that this process has run, and has been ready to and waited."""

    ran_s: float
    waited_s: float


def turns() -> Turn:
    """What the kernel has counted so far; nothing but zeros where it doesn't tell."""
    try:
        ran_ns, waited_ns, _ = _SCHEDSTAT.read_text().split()
    except (OSError, ValueError):
        return Turn(0.0, 0.0)
    return Turn(int(ran_ns) / 1e9, int(waited_ns) / 1e9)


class Manners:
    """One process's; `count` tells how it fares."""

    def __init__(self, *, count: Callable[[], Turn] = turns) -> None:
        self._count = count
        self._alone = asyncio.Lock()
        self._short = False
        self.behind = 0  # events in the log that aren't archived, as last measured

    @contextlib.asynccontextmanager
    async def flood(self) -> AsyncIterator[None]:
        """Around the work on a large batch: if processors are short, a pause follows, and one waits for the other."""
        async with self._alone if self._short else contextlib.nullcontext():
            before, began = self._count(), time.monotonic()
            yield
            after = self._count()
            short = after.waited_s - before.waited_s > SHORT * (after.ran_s - before.ran_s)
            self._short = short and self.behind < BEHIND_MAX
            if self._short:
                await asyncio.sleep(min(REST * (time.monotonic() - began), REST_MAX_S))
