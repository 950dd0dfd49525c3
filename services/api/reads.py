"""Reads that must not be older than a position the client has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api import door, replica
from services.api.archived import Fate
from services.api.problems import Problem, unavailable

if TYPE_CHECKING:
    from collections.abc import Collection

    from services.api.deps import Deps
    from shared.eventlog.position import Position


async def query(deps: Deps, *names: str, several: Collection[str] = ()) -> dict[str, str]:
    """The query parameters of a read, once the archive has what its `Daybook-Position` asks for.

    Those of `several` may stand several times; here is the first value of each.

    Raises:
        Problem: 409 if that history was given up, 422 for bad parameters, 503 if the archive lags.
    """
    given = door.parameters(*names, door.POSITION_PARAMETER, several=several)
    await _archived(deps, given)
    return given


async def listed(deps: Deps, *names: str) -> dict[str, list[str]]:
    """As `query`, for what is answered by the replica if there is one: it has caught up with that position too.

    The values of each parameter are given as a list; `tag` may stand several times.
    """
    given = door.values(*names, door.POSITION_PARAMETER, several=("tag",))
    single = {name: values[0] for name, values in given.items()}
    began_s = deps.clock.monotonic()
    places = await _archived(deps, single)
    if places and deps.ledger.lags:
        left_s = door.wait_s(deps.settings.wait_seconds) - (deps.clock.monotonic() - began_s)
        behind = await replica.behind(deps.ledger, places, wait_s=left_s)
        if behind is not None:
            raise unavailable(f"The replica that lists are read from has not come to {behind} yet.")
    return given


async def _archived(deps: Deps, given: dict[str, str]) -> dict[int, Position]:
    """Wait for what `Daybook-Position` and min_position ask for; return that."""
    wait_s = door.wait_s(deps.settings.wait_seconds)
    places = door.places(given, partitions=deps.log.partitions)
    for partition, position in places.items():
        match await deps.archive.fate(partition, position, None, wait_s):
            case Fate.LATE:
                raise unavailable(f"The archive has not come to {partition}:{position} yet.")
            case Fate.LOST:
                raise Problem(
                    "history-rewound",
                    f"{partition}:{position} is not part of the history any more: read again without it.",
                )
    return places
