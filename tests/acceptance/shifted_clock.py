"""A system that lives at another time: its services and its Valkey read the clock through libfaketime.

All of them add one offset to the real time, which stands in a file and is read at each look at the clock: time goes
on at its usual pace, and jumps for all at the same moment. Monotonic clocks are left alone.
"""

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from shared.embedded import Valkey
from tests import debian
from tests.acceptance.system import System

FAKETIME = "libfaketime.so.1"


class Clock:
    """The time that they have."""

    def __init__(self, file: Path, start: datetime) -> None:
        self._file = file
        self._library = debian.library(FAKETIME, "libfaketime")
        self.set(start)

    def set(self, to: datetime) -> None:
        """From now on it is `to`, and later; all see that at once."""
        self._offset_s = to.timestamp() - time.time()
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{self._offset_s:+.3f}\n")
        draft.rename(self._file)

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self._offset_s, UTC)

    def environment(self) -> dict[str, str]:
        """What a process is started with."""
        return {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }


class ShiftedValkey(Valkey):
    """A Valkey whose TIME is the clock's."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        super().__init__(directory)
        self._clock = clock

    def _launch(self, port):
        launch = super()._launch(port)
        # Instead of mimalloc, which asks for the time before libfaketime is there to answer.
        return replace(launch, environment={**launch.environment, **self._clock.environment()})


def shifted_system(directory: Path, clock: Clock) -> System:
    """Services over a Valkey, all at the clock's time; Postgres, which computes no times, is at ours."""
    return System(directory, environment=clock.environment(), redis=ShiftedValkey(directory, clock))
