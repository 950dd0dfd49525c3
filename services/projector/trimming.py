"""How much of what is archived stays in the log: the newest events, for whoever tails it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.eventlog.envelope import Recorded
    from shared.eventlog.position import Position

EVENTS_KEPT = 10_000
BYTES_KEPT = 64 * 1024 * 1024
GRAINS = 20  # parts of the tail that leave the log together: under a trickle not each event is a trim
_OVERHEAD = 250  # bytes of an entry beside its data, about


class _Batch(NamedTuple):
    first: Position
    events: int
    size: int


class Tail:
    """The batches archived last, as far as they are to stay in the log.

    It only knows what passed through it: after a start nothing is trimmed until EVENTS_KEPT events have.
    """

    def __init__(self, *, events_kept: int = EVENTS_KEPT, bytes_kept: int = BYTES_KEPT) -> None:
        self._events_kept = events_kept
        self._bytes_kept = bytes_kept
        self._batches: deque[_Batch] = deque()
        self._events = 0
        self._size = 0

    def add(self, events: Sequence[Recorded]) -> Position | None:
        """Note a batch that is archived; return the position below which to trim the log now, or None."""
        size = sum(len(event.data) + _OVERHEAD for event in events)
        self._append(_Batch(events[0].position, len(events), size))
        self._events += len(events)
        self._size += size
        dropped = False
        while self._too_much():
            oldest = self._batches.popleft()
            self._events -= oldest.events
            self._size -= oldest.size
            dropped = True
        return self._batches[0].first if dropped else None

    def _append(self, batch: _Batch) -> None:
        """Add it to the last one if both together are still little."""
        if self._batches:
            first, events, size = self._batches[-1]
            events, size = events + batch.events, size + batch.size
            if events * GRAINS <= self._events_kept and size * GRAINS <= self._bytes_kept:
                self._batches[-1] = _Batch(first, events, size)
                return
        self._batches.append(batch)

    def _too_much(self) -> bool:
        if len(self._batches) == 1:
            return False
        without_oldest = self._events - self._batches[0].events
        return without_oldest >= self._events_kept or self._size > self._bytes_kept
