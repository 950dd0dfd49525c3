"""Reads that must not be older than a position the client has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api import door
from services.api.archived import Fate
from services.api.problems import Problem, unavailable

if TYPE_CHECKING:
    from collections.abc import Collection

    from services.api.deps import Deps


async def query(deps: Deps, *names: str, repeatable: Collection[str] = ()) -> dict[str, str]:
    """The query parameters of a read, once the archive has what its `Daybook-Position` asks for.

    Raises:
        Problem: 409 if that history was given up, 422 for bad parameters, 503 if the archive lags.
    """
    given = door.parameters(*names, door.POSITION_PARAMETER, repeatable=repeatable)
    wait_s = door.wait_s(deps.settings.wait_seconds)
    for partition, position in door.places(given, partitions=deps.log.partitions).items():
        match await deps.archive.fate(partition, position, None, wait_s):
            case Fate.LATE:
                raise unavailable(f"The archive has not come to {partition}:{position} yet.")
            case Fate.LOST:
                raise Problem(
                    "history-rewound",
                    f"{partition}:{position} is not part of the history any more: read again without it.",
                )
    return given
