"""How often something may be done: so many at once, and so many again in each window."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WINDOWS_S = {"s": 1, "m": 60, "h": 3600}
_RATE = re.compile(r"([1-9][0-9]{0,6})/([smh])")
_OFF = "off"


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit.

    Attributes:
        most: how many fit at once; as many are earned back in a window, evenly. 0: there is no limit.
        window_s: seconds.
    """

    most: int
    window_s: int

    def __str__(self) -> str:
        """As a setting: `100/s`, `off`."""
        unit = next(name for name, length_s in _WINDOWS_S.items() if length_s == self.window_s)
        return f"{self.most}/{unit}" if self.most else _OFF

    @property
    def interval_us(self) -> float:
        """In how many microseconds one is earned back."""
        return self.window_s * 1_000_000 / self.most


OFF = Rate(0, 1)


def parse(text: str) -> Rate:
    """The rate that a setting names.

    Raises:
        ValueError: it names none.
    """
    if text == _OFF:
        return OFF
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError("no rate")
    return Rate(int(match[1]), _WINDOWS_S[match[2]])
