"""How soon something that died is started again."""

from collections import deque

DEATHS = 5  # as many, this close together, are no accident
WITHIN_S = 10.0
LONGEST_S = 30.0


class Restarts:
    """At once, until five deaths fall into ten seconds; from then on after 1, 2, 4 … 30 s.

    A life of ten seconds makes all forgotten.
    """

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._delay_s = 0.0

    @property
    def is_backing_off(self) -> bool:
        """Whether the last death was one too many."""
        return self._delay_s > 0

    def delay_after(self, died_s: float, lived_s: float) -> float:
        """Note a death at `died_s` (of a clock that never goes back); return the seconds to wait."""
        if lived_s >= WITHIN_S:
            self._deaths.clear()
            self._delay_s = 0.0
        self._deaths.append(died_s)
        if self.is_backing_off:
            self._delay_s = min(2 * self._delay_s, LONGEST_S)
        elif len(self._deaths) == DEATHS and died_s - self._deaths[0] < WITHIN_S:
            self._delay_s = 1.0
        return self._delay_s
