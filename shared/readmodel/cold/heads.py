"""Where the chains of an archive stand, and whether it, or a cold copy of it, still leads through given heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.readmodel import archive, cuts
from shared.readmodel.chain import GENESIS
from shared.readmodel.cold.exporting import events, held_still
from shared.readmodel.cold.manifest import BadSegment
from shared.readmodel.cold.proving import Links, Proof, prove
from shared.readmodel.signing import Head

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.readmodel.archive import Connection, Deployment
    from shared.readmodel.cold.directory import Directory
    from shared.readmodel.cold.segments import Event


async def heads(connection: Connection) -> tuple[Deployment, list[Head]]:
    """The deployment, and the head of each partition that has events, all as of one moment.

    Raises:
        BadSegment: there is no archive, or it doesn't end where it says.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        deployment, found = await held_still(connection), []
        for partition in range(deployment.partitions):
            mark = await archive.checkpoint(connection, partition)
            if mark is None or mark.pos == 0:
                continue
            if await cuts.link_at(connection, partition, mark.pos) != mark.chain:
                raise BadSegment(
                    f"the archive of partition {partition} doesn't end where its checkpoint says"
                )
            chain = mark.chain.hex()
            found.append(Head(partition=partition, epoch=mark.epoch, pos=mark.pos, id=mark.id, chain=chain))
    return deployment, found


class _Ways:
    """Which of some heads an archive was seen to lead through."""

    def __init__(self, wanted: Iterable[Head], proof: Proof) -> None:
        self._missing = {(head.partition, head.pos): head for head in wanted}
        self._proof = proof

    def see(self, event: Event, link: bytes) -> None:
        """The next event, whose link was followed up to here."""
        if (head := self._missing.pop((event[0], event[2]), None)) is None:
            return
        if (event[1], event[3], link.hex()) != (head.epoch, head.id, head.chain):
            self._proof.wrong.append(
                f"{head.place}: it is not the event {head.id} that was signed, or its link is not"
            )

    def begins_after(self, partition: int, pos: int, link: str) -> None:
        """What was up to `pos` isn't there; the link of the last of it is known."""
        for (of, at), head in list(self._missing.items()):
            if of != partition or at > pos:
                continue
            del self._missing[of, at]
            if at < pos:
                self._proof.wrong.append(
                    f"{head.place}: what is here begins after {pos}, so the head can't be shown"
                )
            elif link != head.chain:
                self._proof.wrong.append(f"{head.place}: it has another link than was signed")

    def end(self) -> None:
        """All was seen."""
        self._proof.wrong += [f"{head.place}: what was signed is missing" for head in self._missing.values()]


async def against_archive(connection: Connection, deployment: str, wanted: Iterable[Head]) -> Proof:
    """Follow every link of an archive, and look for these heads on the way.

    Raises:
        BadSegment: there is no archive.
    """
    proof = Proof()
    ways = _Ways(wanted, proof)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = await held_still(connection)
        _same(proof, found.prefix, deployment)
        for partition in range(found.partitions):
            cut = await cuts.cut_of(connection, partition)
            chain = Links(GENESIS if cut is None else cut.chain, proof.wrong)
            if cut is not None:
                ways.begins_after(partition, cut.pos, cut.chain.hex())
            async for event, link in events(connection, partition):
                chain.follows(event, link)
                ways.see(event, link)
                proof.events += 1
    ways.end()
    return proof


def against_copy(copy: Directory, deployment: str, wanted: Iterable[Head]) -> Proof:
    """Prove a cold copy, and look for these heads on the way."""
    seen = Proof()
    ways = _Ways(wanted, seen)
    _same(seen, copy.manifest.prefix, deployment)
    begun = set[int]()
    for segment in copy.manifest.segments:
        if segment.partition not in begun:
            begun.add(segment.partition)
            ways.begins_after(segment.partition, segment.first[1] - 1, segment.before)
    proof = prove(copy, ways.see)
    ways.end()
    proof.wrong += seen.wrong
    return proof


def _same(proof: Proof, found: str, deployment: str) -> None:
    if found != deployment:
        proof.wrong.append(f"this is deployment {found}; what was signed is of {deployment}")
