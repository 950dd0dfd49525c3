"""Cold copies as the beginning of an archive: the segments that hold what was dropped of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from services.projector import importing
from services.projector.replay.build import Unreplayable
from shared.readmodel import cuts
from shared.readmodel.cold.directory import Directory
from shared.readmodel.cold.manifest import BadSegment
from shared.readmodel.cold.proving import prove

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from shared.eventlog.envelope import Recorded
    from shared.readmodel.archive import Connection
    from shared.readmodel.cold.manifest import Segment
    from shared.readmodel.cold.segments import Event
    from shared.readmodel.cuts import Cut


class Copied(NamedTuple):
    """A segment, and the copy that it is of."""

    copy: Directory
    segment: Segment


def opened(paths: Sequence[str]) -> list[Directory]:
    """The copies in these directories.

    Raises:
        Unreplayable: one is none.
    """
    try:
        return [Directory.read(Path(path)) for path in paths]
    except BadSegment as error:
        raise Unreplayable(f"{error}.") from error


async def check(
    connection: Connection, copies: Sequence[Directory], prefix: str, told: Callable[[float], object]
) -> set[int]:
    """Prove the copies, and that they hold all that was dropped; return the partitions of which something was.

    Raises:
        Unreplayable: saying what is wrong, or missing.
    """
    links: dict[tuple[int, int], bytes] = {}
    found = [
        await cuts.cut_of(connection, row[0])
        for row in await connection.fetch("select partition from book.checkpoints")
    ]
    dropped = [cut for cut in found if cut is not None]
    wanted = {(cut.partition, cut.pos) for cut in dropped}

    def see(event: Event, link: bytes) -> None:
        if (at := (event[0], event[2])) in wanted:
            links[at] = link

    for copy in copies:
        if copy.manifest.prefix != prefix:
            raise Unreplayable(f"{copy.path} is a copy of another deployment, {copy.manifest.prefix}.")
        proof = prove(copy, see, told)
        if proof.wrong:
            raise Unreplayable(f"The copy in {copy.path} isn't whole: {proof.wrong[0]}.")
    for cut in dropped:
        segments(copies, cut)
        if links[cut.partition, cut.pos] != cut.chain:
            raise Unreplayable(
                f"The copy contradicts the archive: their links differ at {cut.partition}:{cut.epoch}-{cut.pos}."
            )
    return {cut.partition for cut in dropped}


def segments(copies: Sequence[Directory], cut: Cut) -> list[Copied]:
    """The segments that hold the events of a partition from the first one to the cut, without a gap.

    Raises:
        Unreplayable: some are in none of the copies.
    """
    there = sorted(
        (
            Copied(copy, segment)
            for copy in copies
            for segment in copy.manifest.segments
            if segment.partition == cut.partition
        ),
        key=lambda each: (each.segment.first[1], -each.segment.last[1]),
    )
    taken, reached = list[Copied](), 0
    for each in there:
        if each.segment.first[1] <= reached + 1 and each.segment.last[1] > reached and reached < cut.pos:
            taken.append(each)
            reached = each.segment.last[1]
    if reached < cut.pos:
        raise Unreplayable(
            f"Positions {reached + 1} to {cut.pos} of partition {cut.partition} were dropped, and these copies haven't "
            "got all of them: name the others with --cold too, or none."
        )
    return taken


def events(copies: Sequence[Directory], cut: Cut, after: int) -> Iterator[list[Recorded]]:
    """The dropped events of a partition above pos `after`, some at a time."""
    for copy, segment in segments(copies, cut):
        if segment.last[1] > after:
            some = importing.events_of(copy, segment, after=after)
            yield [each for each in some if each.position.pos <= cut.pos]
            after = segment.last[1]
