"""How many events are read and written at a time, and that a commit's stay together."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.eventlog.envelope import Recorded

BATCH = 2_000  # events a transaction


def whole_units(events: list[Recorded], full: int) -> list[Recorded]:
    """`events` up to the end of a commit, if a read of `full` events has cut one.

    A log that loses its tail is healed up to the archive's end, which must not lie within a unit. All events of a
    commit bear its time; a commit larger than a read is cut all the same.
    """
    if len(events) < full:
        return events
    last_at = events[-1].at
    end = next((n for n in range(len(events), 0, -1) if events[n - 1].at != last_at), 0)
    return events[:end] if end else events
