"""The ledger of hours: what happened in each hour (UTC), by job type, in the hour in which it happened.

Sums of integers, so that it doesn't matter how the events were cut into batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.domain import ids
from shared.domain.events import (
    Event,
    RunCancelled,
    RunExpired,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunRequested,
    RunRetryPlanned,
    RunStarted,
    RunSucceeded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.projector.run_rows import RunRow

_HOUR_MS = 3_600_000


@dataclass(slots=True, kw_only=True)
class Hour:
    """What a batch adds to a row of `ledger.run_hourly`; fields in the order of its columns."""

    requested: int = 0
    started: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    lost: int = 0
    interrupted: int = 0
    duration_ms_sum: int = 0
    duration_ms_max: int = 0
    first_starts: int = 0
    lateness_ms_sum: int = 0
    lateness_ms_max: int = 0
    cancelled: int = 0
    expired: int = 0


Hours = dict[tuple[int, str], Hour]
"""By (hours since 1970, job type)."""

_COUNTED: dict[type[Event], str] = {
    RunRequested: "requested",
    RunStarted: "started",
    RunSucceeded: "succeeded",
    RunFailed: "failed",
    RunRetryPlanned: "retried",
    RunLost: "lost",
    RunInterrupted: "interrupted",
    RunCancelled: "cancelled",
    RunExpired: "expired",
}


def count(hours: Hours, event: Event, at_ms: int, row: RunRow) -> None:
    """Add an event about a run, whose row it has led to, to its hour."""
    name = _COUNTED.get(type(event))
    if name is None:
        return
    key = (at_ms // _HOUR_MS, row.job_type)
    hour = hours.get(key)
    if hour is None:
        hour = hours[key] = Hour()
    setattr(hour, name, getattr(hour, name) + 1)
    if name == "started" and len(row.attempts) == 1 and row.lateness_ms is not None:
        hour.first_starts += 1
        hour.lateness_ms_sum += row.lateness_ms
        hour.lateness_ms_max = max(hour.lateness_ms_max, row.lateness_ms)
    elif name in {"succeeded", "failed"} and row.duration_ms is not None:
        hour.duration_ms_sum += row.duration_ms
        hour.duration_ms_max = max(hour.duration_ms_max, row.duration_ms)


def stored(hours: Mapping[tuple[int, str], Hour], partition: int) -> list[tuple[Any, ...]]:
    """Rows to be added, in the order of the columns and sorted by key."""
    return [
        (partition, ids.from_ms(hour * _HOUR_MS), job_type, *_values(sums))
        for (hour, job_type), sums in sorted(hours.items())
    ]


def _values(hour: Hour) -> tuple[int, ...]:
    return tuple(getattr(hour, name) for name in Hour.__slots__)
