"""CPU time of the processes of a bench, from /proc/<pid>/stat (proc(5)), in clock ticks."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BENCH = "bench"  # this very process: of it alone, as everything else is its child


class Stat(NamedTuple):
    """A process: its parent; its own ticks (user and system), and those of children it has waited for."""

    parent: int
    own: int
    reaped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Ticks by name before and after a window, and how long it was."""

    before: dict[str, int]
    after: dict[str, int]
    window_us: int

    def row(self) -> dict[str, Any]:
        """As it stands in the JSON."""
        return {
            "ticks_per_second": os.sysconf("SC_CLK_TCK"),
            "window_us": self.window_us,
            "before": self.before,
            "after": self.after,
        }


class Meter:
    """Measures windows.

    Args:
        pids: the processes by name, as of now: asked at both ends of a window.
    """

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        self._pids = pids
        self.spent: Spent | None = None

    @contextmanager
    def window(self) -> Iterator[None]:
        """The measured window: from here to the end of the body; the last one counts."""
        before, began = ticks(self._pids()), time.monotonic_ns()
        yield
        took_us = (time.monotonic_ns() - began) // 1000
        self.spent = Spent(before=before, after=ticks(self._pids()), window_us=took_us)


def ticks(pids: Mapping[str, int]) -> dict[str, int]:
    """Ticks of each process, those of its descendants included (a server's backends, an executor's pool)."""
    stats = _stats()
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    found = {name: _of_tree(pid, stats, children) for name, pid in pids.items() if pid in stats}
    return found | {BENCH: stats[os.getpid()].own}


def _of_tree(pid: int, stats: Mapping[int, Stat], children: Mapping[int, list[int]]) -> int:
    stat = stats[pid]
    return stat.own + stat.reaped + sum(_of_tree(each, stats, children) for each in children.get(pid, []))


def _stats() -> dict[int, Stat]:
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:  # it has ended
            continue
        fields = text.rpartition(")")[2].split()  # the name before it may hold anything
        own, reaped = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
        found[int(path.parent.name)] = Stat(parent=int(fields[1]), own=own, reaped=reaped)
    return found
