"""Moments: `as_of` as a client writes it, a time or positions, and up to which event of each partition it reaches."""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from services.api import door, vectors
from services.api.archived import Fate
from services.api.problems import Fault, Problem, invalid, unavailable
from shared.domain import ids
from shared.eventlog import opening
from shared.eventlog.envelope import UnknownEvent, rfc3339
from shared.eventlog.position import START, Position
from shared.eventlog.snapshot import NewerShape
from shared.recovery.looking_back import Gone, Span, TooFar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from services.api.deps import Deps
    from services.api.ledger import PastHorizon

AS_OF = "as_of"
_IS_PLACES = re.compile(r"\s*[0-9]{1,4}:")  # a time has a dash there


class Moment(NamedTuple):
    """What `as_of` means.

    Attributes:
        upto: partition → the last event up to then.
        cuts: partition → after which event its archive begins, where something was dropped.
        at: the time, if it was one.
        name: of the parameter that names it.
    """

    upto: Mapping[int, Position]
    cuts: Mapping[int, Position]
    at: datetime | None = None
    name: str = AS_OF

    def span(self, partition: int) -> Span:
        """What of a partition's archive tells what there was.

        Raises:
            Problem: 422 if the client has named no position in it.
        """
        if partition not in self.upto:
            raise invalid(
                Fault(
                    pointer=f"?{self.name}",
                    detail=f"names no position in partition {partition}, and must; GET /events gives one in each",
                )
            )
        return Span(self.cuts.get(partition, START).pos, self.upto[partition].pos)


def is_places(text: str) -> bool:
    """Whether a client means positions, not a time."""
    return _IS_PLACES.match(text) is not None


async def moment_of(deps: Deps, text: str, *, partition: int | None, name: str = AS_OF) -> Moment:
    """What the client means: in one partition, or in all of them; `name` is the parameter that says so.

    Raises:
        Problem: 409 for a position of a history that was given up, 410 for what has left the archive, 422 for what
            isn't over, came before everything, or is neither time nor position, 503 if the archive lags.
    """
    if is_places(text):
        upto = await vectors.known_places(deps, text, f"?{name}")
        moment = Moment(upto, await deps.ledger.cuts(), name=name)
    else:
        moment = await _of_time(deps, text, partition, name)
    for each in range(deps.log.partitions) if partition is None else (partition,):
        moment.span(each)
    if not any(each.pos for each in moment.upto.values()):
        raise invalid(Fault(pointer=f"?{name}", detail="lies before everything that has happened here"))
    return moment


async def _of_time(deps: Deps, text: str, partition: int | None, name: str) -> Moment:
    at = door.moment({name: text}, name)
    assert at is not None  # noqa: S101 - it was given
    if at >= deps.log.now():
        raise invalid(Fault(pointer=f"?{name}", detail="isn't over yet: send a time in the past"))
    horizon = await deps.ledger.past_horizon(at)
    wanted = range(deps.log.partitions) if partition is None else (partition,)
    late = [each for each in wanted if not _is_told(horizon.get(each), at)]
    if late:
        await asyncio.gather(*(level(deps, each) for each in late))
        horizon = await deps.ledger.past_horizon(at)
    for each in wanted:
        if each in horizon and (cut_at := horizon[each].cut_at) is not None and at < cut_at:
            raise gone(cut_at)
    cuts = {each: told.cut for each, told in horizon.items() if told.cut is not None}
    upto = {each: horizon[each].upto if each in horizon else START for each in wanted}
    return Moment(upto, cuts, at, name)


def _is_told(horizon: PastHorizon | None, at: datetime) -> bool:
    """Whether the archive has all until then: it has something later."""
    return horizon is not None and horizon.archived_at is not None and horizon.archived_at > at


async def level(deps: Deps, partition: int) -> None:
    """Wait until the archive has what the log has now: nothing can come of a time that is over.

    Raises:
        Problem: 503, it lags.
    """
    tail = (await opening.look(deps.log.redis, deps.log.keys(partition))).tail_at
    if await deps.archive.fate(partition, tail, None, door.wait_s(deps.settings.wait_seconds)) is Fate.LATE:
        raise unavailable(f"The archive has not come to {partition}:{tail} yet: what was then isn't known.")


def gone(cut_at: datetime) -> Problem:
    """The 410 of a time before the archive begins."""
    return Problem(
        "history-gone",
        f"What happened before {rfc3339(ids.from_ms(ids.to_ms(cut_at)))} has been dropped from the archive: ask for "
        "that time or a later one.",
    )


@contextmanager
def of_the_past(name: str = AS_OF) -> Iterator[None]:
    """What may go wrong where a state is folded, in a client's words; `name` is the parameter that asks for it.

    Raises:
        Problem: 410, 422 or 503.
    """
    try:
        yield
    except (UnknownEvent, NewerShape):
        raise unavailable(
            "What happened was written by a newer version of Daybook; an upgrade is under way."
        ) from None
    except Gone:
        raise Problem(
            "history-gone",
            "What happened then has just been dropped from the archive: ask for a later time.",
        ) from None
    except TooFar:
        raise invalid(
            Fault(
                pointer=f"?{name}",
                detail="lies too many events after the last state that was kept, as none were at first",
            )
        ) from None
