"""Samples of how far log and archive are, while something is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hand import Hand, Level
    from .stand import Raw


class Levels:
    """Samples after `before`, a moment at which the archive had all of the log or stood still."""

    def __init__(self, hand: Hand, before: Level) -> None:
        self._hand = hand
        self._before = before
        self._samples = [before]
        self.base_ms = before.at_us // 1000

    async def reached(self, *, events: int) -> bool:
        """Take a sample: whether the log has so many more events than before, and the archive all of it."""
        sample = await self._hand.level()
        self._samples.append(sample)
        return sample.is_level and sample.logged >= self._before.logged + events

    def rows(self) -> Raw:
        """The samples, times in µs after `base_ms`, positions from before."""
        before = self._before
        return {
            "at_us": [each.at_us - self.base_ms * 1000 for each in self._samples],
            "logged": [each.logged - before.logged for each in self._samples],
            "archived": [each.archived - before.logged for each in self._samples],
        }
