"""What each figure is called, its unit, its floor (what must hold) and its goal, on 2 cores with everything there."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .figures import Value

_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "≥": operator.ge,
    "≤": operator.le,
    "<": operator.lt,
    "=": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table.

    Attributes:
        label: what is measured.
        unit: of the value; '' for a count.
        digits: after the point.
        sign: how the value must stand to floor and goal; '' = it is only told.
    """

    label: str
    unit: str = ""
    digits: int = 0
    sign: str = ""
    floor: float | None = None
    goal: float | None = None

    def holds(self, value: Value) -> bool:
        """Whether a figure is not below its floor; what could not be measured is."""
        if self.floor is None:
            return True
        return value is not None and _HOLDS[self.sign](value, self.floor)

    def shown(self, value: Value) -> str:
        """A value with its unit."""
        return "-" if value is None else f"{value:,.{self.digits}f} {self.unit}".strip()

    def bound(self, value: Value) -> str:
        """A floor or goal, as written; '' if there is none."""
        return "" if value is None else f"{self.sign} {value:,g} {self.unit}".strip()


_LATE = {
    "expected": Line("occurrences expected"),
    "delivered": Line("delivered", "%", 2, "=", 100, 100),
    "missing": Line("missing", "", 0, "=", 0, 0),
    "skipped": Line("… skipped, as the log says"),
    "duplicates": Line("handlers begun twice", "", 0, "=", 0, 0),
    "p50": Line("handler start after nominal p50", "ms", 1),
}

LINES: dict[str, dict[str, Line]] = {
    "api": {
        "created": Line("answered 201", "/s", 0, "≥", 600, 1500),
        "p50": Line("latency p50", "ms", 1),
        "p99": Line("latency p99", "ms", 1, "<", 150),
        "accepted": Line("answered 202", "", 0, "=", 0, 0),
    },
    "executor": {
        "runs": Line("first start to last end", "runs/s", 0, "≥", 4000, 10_000),
        "span": Line("that took", "s", 2),
        "level": Line("projector level after", "s", 2, "≤", 5),
    },
    "schedules": {
        **_LATE,
        "p99": Line("handler start after nominal p99", "ms", 1, "<", 25, 5),
        "max": Line("handler start after nominal max", "ms", 1),
    },
    "oneoff": {
        "last_end": Line("instant to last end", "s", 2, "≤", 4, 1),
        "first_start": Line("instant to first start", "s", 3),
        "ran": Line("ran"),
    },
    "latency": {
        "p50": Line("sent to handler p50", "ms", 2, "<", 4, 1.5),
        "p99": Line("sent to handler p99", "ms", 2, "<", 20, 4),
        "commit_p50": Line("commit to handler p50", "ms", 2),
        "commit_p99": Line("commit to handler p99", "ms", 2),
        "started_p50": Line("commit to RunStarted p50", "ms"),
        "started_p99": Line("commit to RunStarted p99", "ms"),
        "answer_p50": Line("sent to answer p50", "ms", 1),
        "answer_p99": Line("sent to answer p99", "ms", 1),
        "sender_p99": Line("sender behind its plan p99", "ms", 2),
    },
    "projector": {
        "events": Line("events archived", "/s", 0, "≥", 12_000, 25_000),
        "from_start": Line("process start to level", "s", 2),
    },
    "memory": {
        "job": Line("Redis a job, log included", "B", 0, "≤", 2048, 1024),
        "hash": Line("… its hash", "B"),
        "due": Line("… its entry in due", "B"),
        "log": Line("… its part of the log kept", "B"),
        "rest": Line("… key tables, buffers, rest", "B"),
    },
    "overload": {
        **_LATE,
        "p99": Line("handler start after nominal p99", "ms", 1, "<", 1000),
        "max": Line("handler start after nominal max", "ms", 1),
    },
    "beats": {
        "core": Line("executor's share of a core", "%", 2, "<", 5),
        "runs": Line("runs kept"),
    },
    "restart": {
        "healthy": Line("second start to healthy", "s", 2, "≤", 5),
        "jobs": Line("jobs there"),
    },
}
