"""Time of this machine, as an argument: services take a `Clock`, tests pass one that they move by hand.

It measures sleeps and ages. Times that are recorded come from Redis (DESIGN §5.3): clocks of two machines
differ.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a service may ask about time."""

    def now(self) -> datetime:
        """Aware UTC time of day; it may jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds since a moment that stays the same while the process lives; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` of `monotonic` have passed; zero or less lets other tasks run once."""
        ...


class SystemClock:
    """The `Clock` of production."""

    __slots__ = ()

    def now(self) -> datetime:
        """Aware UTC time of day."""
        return datetime.now(UTC)  # noqa: TID251 - the one place that may ask

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(seconds)
