"""Brings a cold copy back: its events into the archive, and what they come to into the ledgers, as a projector would.

Nothing is written before all of the copy was proved and held against what is archived already; an import that was cut
short is resumed from the checkpoint, which moves with each batch. The services are stopped meanwhile: afterwards they
find the archive ahead of the log, and heal it.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from services.projector.batch import batch_of, commit
from services.projector.folding import folded
from services.projector.memory import Memory
from services.projector.rows import statement
from services.projector.units import BATCH, whole_units
from shared.domain import ids
from shared.eventlog.envelope import Recorded
from shared.eventlog.position import Position
from shared.personal.keys import destroy_rows
from shared.readmodel import archive, cuts
from shared.readmodel.cold import segments
from shared.readmodel.cold.proving import prove
from shared.recovery import OPENING_LOCK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    import asyncpg

    from shared.readmodel.archive import Asked, Checkpoint, Connection
    from shared.readmodel.cold.directory import Directory
    from shared.readmodel.cold.manifest import Segment
    from shared.readmodel.cold.segments import Event

LANES = 2  # partitions at a time: this process has one processor, and Postgres is to have another


class Refused(Exception):  # noqa: N818 - it is read aloud
    """The copy can't be brought into this archive, of which nothing was changed; the message says why."""


class _Part(NamedTuple):
    """What a copy has of one partition, and how far that is archived."""

    segments: tuple[Segment, ...]
    archived: Checkpoint | None

    @property
    def pos(self) -> int:
        return 0 if self.archived is None else self.archived.pos

    @property
    def is_wanted(self) -> bool:
        return self.segments[-1].last[1] > self.pos


async def bring_in(pool: asyncpg.Pool, copy: Directory, *, told: Callable[[float], object]) -> int:
    """Import a copy; returns how many events were new.

    Args:
        pool: of the archive's database, migrated, of two connections or more, not named as those of services are.
        copy: see `Directory.read`.
        told: hears how much was written, as a ratio, again and again.

    Raises:
        Refused: see there.
    """
    manifest = copy.manifest
    if others := await pool.fetchval(statement("others_at_work")):
        raise Refused(
            f"{others} connections of Daybook's services are open to this database: stop them first."
        )
    fixed = await archive.find_deployment(pool)
    if fixed is not None and fixed != (manifest.partitions, manifest.prefix):
        raise Refused(
            f"This archive is another deployment's, {fixed.prefix}; the copy is of {manifest.prefix}."
        )
    parts = [await _part(pool, some) for some in _by_partition(copy)]
    await _check(pool, copy, parts)
    await archive.record_deployment(pool, partitions=manifest.partitions, prefix=manifest.prefix)
    wanted = [part for part in parts if part.is_wanted]
    if wanted:
        await _make_months(pool, [segment for part in wanted for segment in part.segments])
    return await _bring(pool, copy, wanted, told)


def _by_partition(copy: Directory) -> Iterator[tuple[Segment, ...]]:
    for partition in range(copy.manifest.partitions):
        if found := tuple(each for each in copy.manifest.segments if each.partition == partition):
            yield found


async def _part(pool: asyncpg.Pool, of: tuple[Segment, ...]) -> _Part:
    return _Part(of, await archive.checkpoint(pool, of[0].partition))


# Before anything is written.


async def _check(pool: asyncpg.Pool, copy: Directory, parts: Sequence[_Part]) -> None:
    """Prove the copy, and that it and the archive are one history.

    Raises:
        Refused: see there.
    """
    wanted = {(part.segments[0].partition, part.pos) for part in parts}
    links: dict[tuple[int, int], bytes] = {}

    def see(event: Event, link: bytes) -> None:
        if (at := (event[0], event[2])) in wanted:
            links[at] = link

    proof = prove(copy, see)
    if proof.wrong:
        raise Refused(f"The copy isn't whole: {proof.wrong[0]}.")
    for part in parts:
        partition = part.segments[0].partition
        if part.is_wanted:
            _check_joint(part, links.get((partition, part.pos)))
        else:
            await _check_covered(pool, part.segments[-1])


def _check_joint(part: _Part, link: bytes | None) -> None:
    """Where the copy goes on after the archive, they must have one event in common, or follow each other."""
    first, last, archived = part.segments[0], part.segments[-1], part.archived
    partition = first.partition
    if first.first[1] > part.pos + 1:
        raise Refused(
            f"The copy begins at position {first.first[1]} of partition {partition}, the archive ends at {part.pos}: "
            "import what lies between first."
        )
    if archived is None:
        return
    if first.first[1] == part.pos + 1:
        link = bytes.fromhex(first.before)
    if part.pos and link != archived.chain:
        raise Refused(f"The copy contradicts the archive: their links differ at {partition}:{part.pos}.")
    if last.last[0] < archived.fence:
        raise Refused(
            f"The log of partition {partition} was opened for epoch {archived.fence} after the copy was made: what "
            "follows in the archive is the log's to tell."
        )


async def _check_covered(pool: asyncpg.Pool, last: Segment) -> None:
    """What the archive has all of must be the same there, unless it has been dropped."""
    partition, pos = last.partition, last.last[1]
    cut = await cuts.cut_of(pool, partition)
    if cut is not None and cut.pos > pos:
        return
    if await cuts.link_at(pool, partition, pos) != bytes.fromhex(last.chain):
        raise Refused(f"The copy contradicts the archive: their links differ at {partition}:{pos}.")


# Then.


async def _bring(
    pool: asyncpg.Pool, copy: Directory, wanted: Sequence[_Part], told: Callable[[float], object]
) -> int:
    """Write what is new of each partition, LANES at a time: Postgres takes one while another is folded."""
    left, count = iter(wanted), 0
    whole = sum(part.segments[-1].last[1] - part.pos for part in wanted)

    async def lane() -> None:
        nonlocal count
        for part in left:
            async for some in _brought(pool, copy, part):
                count += some
                told(count / whole)

    try:
        async with asyncio.TaskGroup() as lanes:
            for number in range(LANES):
                lanes.create_task(lane(), name=f"import:{number}")
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group
    return count


async def _brought(pool: asyncpg.Pool, copy: Directory, part: _Part) -> AsyncIterator[int]:
    """Write what is new of a partition; yields how many events each batch had."""
    partition, last = part.segments[0].partition, part.segments[-1]
    async with pool.acquire() as connection, _alone(connection, partition):
        # The epoch of the last event: a log that stands there is open for it, an older one must be healed.
        checkpoint = await archive.raise_fence(connection, partition, last.last[0])
        memory, waiting = Memory(), list[Recorded]()
        for segment in part.segments:
            waiting += events_of(copy, segment, after=checkpoint.pos)
            while waiting and (len(waiting) > BATCH or segment is last):
                events = whole_units(waiting[:BATCH], BATCH)
                batch = batch_of(checkpoint, events, await folded(connection, memory, events))
                if events[-1].position == last.last and batch.after.chain.hex() != last.chain:
                    raise Refused(f"{segment.name} has changed since it was proved.")
                refused = await commit(connection, batch, destroy_rows)
                memory.settle(batch.folded, {each.key for each in refused})
                checkpoint = batch.after
                del waiting[: len(events)]
                yield len(events)


def events_of(copy: Directory, segment: Segment, *, after: int) -> list[Recorded]:
    """A segment's events with a position above `after`."""
    found: list[Recorded] = []

    def take(_: bytes, event: Event, __: bytes) -> None:
        partition, epoch, pos, *fields = event
        if pos > after:
            found.append(Recorded(partition, Position(epoch, pos), *fields))

    if segment.last[1] > after:
        with copy.open(segment) as file:
            segments.read(segment.name, file, segments.Chain(), copy.manifest.compression, take)
    return found


@asynccontextmanager
async def _alone(connection: Connection, partition: int) -> AsyncIterator[None]:
    """Nobody opens the partition's log meanwhile, and no other import goes on with it."""
    await connection.execute("select pg_advisory_lock($1, $2)", OPENING_LOCK, partition)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute("select pg_advisory_unlock($1, $2)", OPENING_LOCK, partition)


async def _make_months(asked: Asked, of: Sequence[Segment]) -> None:
    """Make the monthly tables that the events belong in."""
    since, until = min(each.at[0] for each in of), max(each.at[1] for each in of)
    await asked.execute(statement("make_months_between"), ids.from_ms(since), ids.from_ms(until))
