"""Position vectors: where somebody stands in all partitions, as `after`, cursors and the ids of streams carry them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api import door
from services.api.archived import Fate
from services.api.problems import Fault, Problem, invalid, unavailable
from shared.eventlog import opening
from shared.eventlog.position import START, BadPosition, Position, format_places, parse_places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.api.deps import Deps
    from services.api.ledger import Horizon


def told(vector: Sequence[Position]) -> str:
    """A vector as text, a place for each partition."""
    return format_places(dict(enumerate(vector)))


def marks(horizon: Mapping[int, Horizon], partitions: int) -> list[Position]:
    """How far each partition is archived."""
    return [horizon[number].mark if number in horizon else START for number in range(partitions)]


def places(text: str | None, pointer: str, *, partitions: int) -> dict[int, Position]:
    """The places in a parameter, none if it isn't given; whether they are known isn't looked at.

    Raises:
        Problem: 422.
    """
    if text is None:
        return {}
    try:
        return parse_places(text, partitions=partitions)
    except BadPosition as error:
        raise invalid(Fault(pointer=pointer, detail=str(error))) from None


async def known_places(deps: Deps, text: str | None, pointer: str) -> dict[int, Position]:
    """The places in a parameter, each the beginning of a log or that of an archived event.

    Raises:
        Problem: 409 where the history it belongs to was given up, 410 where what follows it has left the archive, 422
            where there is no such place yet, 503 if the archive lags.
    """
    given = places(text, pointer, partitions=deps.log.partitions)
    if not given:
        return given
    cuts = await deps.ledger.cuts()
    for number, position in sorted(given.items()):
        if position.pos < cuts.get(number, START).pos:
            raise gone(number, position, cuts)
    asked = {number: at for number, at in given.items() if at not in {START, cuts.get(number)}}
    found = await deps.ledger.archived_at(asked) if asked else set()
    for number in sorted(asked.keys() - found):
        await _arrived(deps, number, asked[number], pointer)
    return given


def gone(partition: int, position: Position, cuts: Mapping[int, Position]) -> Problem:
    """The 410 for a place before the archive's beginning: to go on from there would pass over what was dropped."""
    return Problem(
        "history-gone",
        f"What follows {partition}:{position} has been dropped from the archive: begin at {format_places(dict(cuts))}, "
        "after which everything is there, or without a position.",
    )


async def _arrived(deps: Deps, partition: int, position: Position, pointer: str) -> None:
    """Wait for a position, as every read does: a client may have it from a write that was answered with 202."""
    place = f"{partition}:{position}"
    match await deps.archive.fate(partition, position, None, door.wait_s(deps.settings.wait_seconds)):
        case Fate.ARCHIVED if await deps.ledger.archived_at({partition: position}):
            return
        case Fate.LATE:
            state = await opening.look(deps.log.redis, deps.log.keys(partition))
            if position <= state.tail_at:
                raise unavailable(f"The archive has not come to {place} yet.")
            raise invalid(Fault(pointer=pointer, detail=f"{place} is beyond the end of the log"))
        case _:
            raise Problem(
                "history-rewound",
                f"{place} is not part of the history: begin again, at `GET /events` or without a position.",
            )
