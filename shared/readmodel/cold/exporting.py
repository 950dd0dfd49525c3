"""Copies an archive, as it is at one moment, into segments."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import asyncpg

from shared.domain import ids
from shared.readmodel import cuts
from shared.readmodel.archive import find_deployment
from shared.readmodel.cold.manifest import BadSegment, Manifest
from shared.readmodel.cold.segments import Chain, SegmentWriter
from shared.readmodel.database import sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from shared.compression import Compression
    from shared.readmodel.archive import Connection, Deployment
    from shared.readmodel.cold.manifest import Segment
    from shared.readmodel.cold.segments import Event

AT_ONCE = 1_000  # rows a round trip


class After(NamedTuple):
    """The event that a copy goes on after: its position, and its link if that is known, which must be the archive's."""

    pos: int
    chain: bytes | None = None


async def export(
    connection: Connection,
    add: Callable[[Segment, bytes], object],
    *,
    compression: Compression,
    after: Mapping[int, After] = MappingProxyType({}),
    told: Callable[[float], object] = lambda _: None,
) -> Manifest:
    """Copy all events that are archived now; the system may be at work, but no month is dropped meanwhile.

    Where months were dropped before, a partition's chain begins with the link of its cut.

    Args:
        connection: to the archive's database, in no transaction.
        add: takes each segment, and its bytes. At most one of them is in memory.
        compression: of the segments.
        after: partition → the event that is had already; those that aren't named are copied from their beginning.
        told: hears how much was copied, as a ratio, again and again.

    Raises:
        BadSegment: this database has no archive, or doesn't go on after what is had.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        deployment = await held_still(connection)
        whole: int = await connection.fetchval(sql("shared.readmodel", "statements/archived_count.sql"))
        segments: list[Segment] = []
        copied = 0

        def keep(segment: Segment, data: bytes) -> None:
            nonlocal copied
            add(segment, data)
            segments.append(segment)
            copied += segment.count
            told(min(1.0, copied / max(1, whole)))

        for partition in range(deployment.partitions):
            await _copy(connection, partition, after.get(partition), compression, keep)
    return Manifest(
        partitions=deployment.partitions,
        prefix=deployment.prefix,
        compression=compression,
        segments=tuple(segments),
    )


async def held_still(connection: Connection) -> Deployment:
    """The deployment whose archive this is, of which no month is dropped until the transaction ends.

    Raises:
        BadSegment: this database has no archive.
    """
    try:
        await cuts.hold_still(connection)
        deployment = await find_deployment(connection)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        deployment = None
    if deployment is None:
        raise BadSegment("this database has no deployment of Daybook, and so no archive")
    return deployment


async def events(
    connection: Connection, partition: int, after: int = 0
) -> AsyncIterator[tuple[Event, bytes]]:
    """A partition's archived events after a position, as the chain goes over them, each with its link."""
    rows = connection.cursor(
        sql("shared.readmodel", "statements/cold_events.sql"), partition, after, prefetch=AT_ONCE
    )
    async for row in rows:
        yield (*row[:9], ids.to_ms(row["at"]), *row[10:15]), row["chain"]


async def _copy(
    connection: Connection,
    partition: int,
    after: After | None,
    compression: Compression,
    keep: Callable[[Segment, bytes], object],
) -> None:
    chain = Chain(await _before(connection, partition, after))
    writer = SegmentWriter(partition, chain, compression)
    async for event, link in events(connection, partition, 0 if after is None else after.pos):
        writer.add(event, link)
        if writer.is_full:
            keep(*writer.finish())
            writer = SegmentWriter(partition, chain, compression)
    if not writer.is_empty:
        keep(*writer.finish())


async def _before(connection: Connection, partition: int, after: After | None) -> bytes | None:
    """The link of the event before a copy's first; None if nobody knows.

    Raises:
        BadSegment: the archive hasn't the event, or another.
    """
    cut = await cuts.cut_of(connection, partition)
    if after is None or after.pos == 0:
        return None if cut is None else cut.chain
    found = await cuts.link_at(connection, partition, after.pos)
    if found is None:
        begins = "" if cut is None else f", which begins after {cut.pos}"
        raise BadSegment(f"the archive has no event at position {after.pos} of partition {partition}{begins}")
    if after.chain is not None and after.chain != found:
        raise BadSegment(
            f"the archive contradicts the copy: at position {after.pos} of partition {partition} it has another link"
        )
    return found
