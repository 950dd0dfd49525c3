"""The job type `noted`, installed as a stranger's plug-in: it does nothing but note when it was called.

A note is 32 bytes: the run's id, its nominal time (ms since 1970), when the handler began (µs since 1970, by
the handler's own clock). Notes are kept in memory, appended to a file every FLUSH_AT, and all at the process's
end. This file is copied next to an entry point and imports nothing of Daybook.
"""

from __future__ import annotations

import atexit
import os
import struct
import time
from functools import cache
from typing import Any

NOTE = struct.Struct("<16sqq")
FLUSH_AT = 1000 * NOTE.size  # about 20 µs of write(2) into the page cache
DIRECTORY = "BENCH_NOTES"  # names the environment variable


class Notes:
    """One process's notes."""

    def __init__(self, directory: str) -> None:
        path = os.path.join(directory, f"{os.getpid()}.notes")  # noqa: PTH118 - no pathlib in what is measured
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._kept = bytearray()
        atexit.register(self.flush)

    def add(self, run_id: str, scheduled_ms: int, began_us: int) -> None:
        self._kept += NOTE.pack(bytes.fromhex(run_id.replace("-", "")), scheduled_ms, began_us)
        if len(self._kept) >= FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        os.write(self._file, self._kept)
        self._kept.clear()


async def noted(run: Any) -> None:
    """Note the time, and nothing else."""
    began_us = time.time_ns() // 1000
    _notes().add(run.run_id, round(run.scheduled_for.timestamp() * 1000), began_us)


@cache
def _notes() -> Notes:
    return Notes(os.environ[DIRECTORY])
