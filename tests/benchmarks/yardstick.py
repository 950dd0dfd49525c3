"""How quick the machine itself is at a moment, whoever else uses it: figures of one hour are not those of another.

Taken before and after each bench, on the disk where its servers keep their data.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

LOOPS = 7
STEPS = 100_000
APPENDS = 100
APPEND_BYTES = 64 * 1024  # a batch of units, about


def taken(directory: Path) -> dict[str, list[int]]:
    """Microseconds of `LOOPS` equal pieces of Python, and of `APPENDS` appends until each is on the disk."""
    return {
        "loop_us": [_took_us(_loop) for _ in range(LOOPS)],
        "append_us": _appends_us(directory / "yardstick"),
    }


def _appends_us(path: Path) -> list[int]:
    piece = os.urandom(APPEND_BYTES)
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def append() -> None:
        os.write(file, piece)
        os.fsync(file)

    try:
        return [_took_us(append) for _ in range(APPENDS)]
    finally:
        os.close(file)
        path.unlink()


def _loop() -> None:
    texts: dict[int, str] = {}
    for step in range(STEPS):
        texts[step % 1000] = str(step)


def _took_us(piece: Any) -> int:
    began = time.perf_counter_ns()
    piece()
    return (time.perf_counter_ns() - began) // 1000
