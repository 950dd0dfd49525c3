"""Reads a cold copy to its end without any server: every byte, every link of the chain, and what the manifest says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from shared.readmodel.cold import segments
from shared.readmodel.cold.manifest import BadSegment
from shared.readmodel.cold.segments import Chain, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.readmodel.cold.directory import Directory
    from shared.readmodel.cold.manifest import Segment
    from shared.readmodel.cold.segments import Event

    See = Callable[[Event, bytes], object]


@dataclass(slots=True)
class Proof:
    """What was found.

    Attributes:
        events: how many were read.
        wrong: what isn't as it was written, in the order in which it was found.
    """

    events: int = 0
    wrong: list[str] = field(default_factory=list)


class Links(Chain):
    """A chain that tells which events don't follow.

    Args:
        known: see `Chain`.
        wrong: takes a sentence for each.
    """

    def __init__(self, known: bytes | None, wrong: list[str]) -> None:
        super().__init__(known)
        self._wrong = wrong

    def follows(self, event: Event, chain: bytes) -> bool:
        """See `Chain`."""
        before = self.at
        good = super().follows(event, chain)
        if not good:
            self._wrong.append(f"{place(event)}: {_reason(before, event)}")
        return good


def place(event: Event) -> str:
    """`<partition>:<epoch>-<pos>`."""
    return f"{event[0]}:{event[1]}-{event[2]}"


def prove(
    copy: Directory, see: See = lambda *_: None, told: Callable[[float], object] = lambda _: None
) -> Proof:
    """Read all of a copy.

    Args:
        copy: whose manifest has been read.
        see: gets each event and its link, whatever is wrong with them.
        told: hears how much was read, as a ratio, again and again.
    """
    proof, chains = Proof(), dict[int, Chain]()
    whole, lost = max(1, copy.manifest.events), set[int]()
    for segment in copy.manifest.segments:
        if segment.partition in lost:
            continue  # what can't be read to its end leaves the links after it without a beginning
        if segment.partition not in chains:
            chains[segment.partition] = Links(bytes.fromhex(segment.before) or None, proof.wrong)
        try:
            _prove(copy, segment, chains[segment.partition], proof, see)
        except BadSegment as error:
            at = chains[segment.partition].at
            after = (
                "" if at is None else f" (the last event before that is {segment.partition}:{at[0]}-{at[1]})"
            )
            proof.wrong.append(f"{error}{after}; the rest of partition {segment.partition} was not read")
            lost.add(segment.partition)
        told(min(1.0, proof.events / whole))
    return proof


def _prove(copy: Directory, segment: Segment, chain: Chain, proof: Proof, see: See) -> None:
    found_before = len(proof.wrong)
    offset = 0

    def take(line: bytes, event: Event, link: bytes) -> None:
        nonlocal offset
        proof.events += 1
        if len(proof.wrong) == found_before and (meant := written(event, link)) != line:
            wrong = offset + _first_difference(meant, line)
            proof.wrong.append(
                f"{place(event)}: byte {wrong} of the lines of {segment.name} is not what was written"
            )
        offset += len(line)
        see(event, link)

    with copy.open(segment) as file:
        found = segments.read(segment.name, file, chain, copy.manifest.compression, take)
    if len(proof.wrong) == found_before and found != segment:
        said, is_ = asdict(segment), asdict(found)
        names = [name for name in said if said[name] != is_[name]]
        proof.wrong.append(
            f"{segment.name} is not what was written: the manifest says another {', '.join(names)}"
        )


def _first_difference(one: bytes, another: bytes) -> int:
    shorter = min(len(one), len(another))
    return next((at for at in range(shorter) if one[at] != another[at]), shorter)


def _reason(before: tuple[int, int] | None, event: Event) -> str:
    if before is not None and event[2] > before[1] + 1:
        return f"positions {before[1] + 1} to {event[2] - 1} are missing before it"
    return "its link doesn't follow from the one before"
