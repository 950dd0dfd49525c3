"""Old versions of events are lifted when they are read, version by version, and never rewritten.

An upcaster is a pure function from the data of version v to that of v + 1, registered under (type, v). The log
keeps what was written; `shared.eventlog.envelope.decode` calls these on the way in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Upcasters = Mapping[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]]


def _specified(data: dict[str, Any]) -> dict[str, Any]:
    """Version 2: the specification has a start deadline and a budget for lost workers."""
    return {**data, "spec": {**data["spec"], "start_deadline_seconds": None, "max_lost": 3}}


def _placed(data: dict[str, Any]) -> dict[str, Any]:
    """Version 3: the run's specification has its job's zone, which those before it didn't tell."""
    return {**data, "spec": {**data["spec"], "timezone": "UTC"}}


def _same(data: dict[str, Any]) -> dict[str, Any]:
    """A version that may hold what builds before it can't read; what they wrote is as it was."""
    return data


UPCASTERS: Upcasters = {
    **dict.fromkeys((("JobCreated", 1), ("JobUpdated", 1), ("RunRequested", 1)), _specified),
    ("RunRequested", 2): _placed,
    **dict.fromkeys((("JobCreated", 2), ("JobUpdated", 2)), _same),  # 3: several cron expressions, dst_policy
    **dict.fromkeys((("RunRequested", 3), ("OccurrencesSkipped", 1)), _same),  # 4, 2: clock
    # What policies of time ask for: jitter, exclusions, pauses that end, limits, chains; none of it was there before.
    **dict.fromkeys((("JobCreated", 3), ("JobUpdated", 3), ("JobPaused", 1), ("JobResumed", 1)), _same),
    **dict.fromkeys((("RunRequested", 4), ("OccurrencesSkipped", 2)), _same),
}


def upcast(
    kind: str, version: int, target: int, data: dict[str, Any], upcasters: Upcasters
) -> dict[str, Any]:
    """`data` of `kind` at `version`, lifted step by step to `target`.

    Raises:
        KeyError: a step is missing; a class must not raise its VERSION without one.
    """
    for step in range(version, target):
        data = upcasters[kind, step](data)
    return data
