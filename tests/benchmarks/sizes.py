"""How much of each bench is run: all of it, or a part for trying the benches themselves."""

from __future__ import annotations

from dataclasses import dataclass

PERIOD_S = 10  # of the schedules


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Counts and spans times `scale`. Floors are judged at scale 1 only: smaller says nothing of them."""

    scale: float = 1.0

    def count(self, full: int, *, least: int = 20) -> int:
        """So many of `full` things, `least` at least."""
        return max(least, round(full * self.scale))

    def seconds(self, full: float, *, least: float = 1.0) -> float:
        """So many of `full` seconds, `least` at least."""
        return max(least, full * self.scale)

    @property
    def period_s(self) -> int:
        """The interval of the schedules: 10 s, for a very small scale less, so that a window stays short."""
        return max(2, min(PERIOD_S, round(PERIOD_S * self.scale * 5)))

    def windows(self, full_s: int) -> int:
        """How many periods a window of `full_s` seconds has."""
        return max(1, round(full_s / PERIOD_S * min(1.0, self.scale * 5)))
