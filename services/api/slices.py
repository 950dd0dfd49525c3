"""Calculations that take long, in slices: whoever asks for one holds up nobody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.clock import Clock

T = TypeVar("T")

SLICE_S = 0.005  # of the event loop at a time; a step may take a few milliseconds longer


class Slices:
    """Runs iterators to their ends, all of this process in turn: at most one slice in a round of the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()  # first come, first served

    async def __call__(self, steps: Iterator[T | None]) -> list[T]:
        """What `steps` gives, but for each None, which stands for a step that has nothing to give."""
        found: list[T] = []
        while True:
            async with self._turn:
                if self._slice(steps, found):
                    return found
                await asyncio.sleep(0)  # still in turn: the next one begins in another round

    def _slice(self, steps: Iterator[T | None], found: list[T]) -> bool:
        """Go on for SLICE_S; whether that was the end."""
        until_s = self._clock.monotonic() + SLICE_S
        for step in steps:
            if step is not None:
                found.append(step)
            if self._clock.monotonic() >= until_s:
                return False
        return True
