"""Which partition a new job goes to: all take turns, each for a moment.

Jobs made at the same moment so share a commit of the log and a transaction of the archive; over some moments
every partition gets as many. With four partitions, a draw for each job would make commits a quarter as large.
"""

from __future__ import annotations

import math
from itertools import cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.clock import Clock

TURN_S = 0.016  # longer shares more; but one partition's jobs are to be archived while the next one's come in


class Turns:
    """The partitions of a deployment, one after the other.

    Args:
        partitions: how many there are.
        first: any number; replicas that draw it don't all begin with the same partition.
        clock: measures the turns.
    """

    def __init__(self, partitions: int, *, first: int, clock: Clock) -> None:
        self._order = cycle((first + number) % partitions for number in range(partitions))
        self._clock = clock
        self._present = 0
        self._ends_s = -math.inf

    def present(self) -> int:
        """Whose turn it is; a turn begins with the first job after the one before has ended."""
        now_s = self._clock.monotonic()
        if now_s >= self._ends_s:
            self._present, self._ends_s = next(self._order), now_s + TURN_S
        return self._present
