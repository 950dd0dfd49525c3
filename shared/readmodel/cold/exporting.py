"""Copies an archive, as it is at one moment, into segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain import ids
from shared.readmodel.archive import find_deployment
from shared.readmodel.cold.manifest import BadSegment, Manifest
from shared.readmodel.cold.segments import Chain, SegmentWriter
from shared.readmodel.database import sql

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from shared.compression import Compression
    from shared.readmodel.cold.manifest import Segment

AT_ONCE = 1_000  # rows a round trip


async def export(
    connection: asyncpg.Connection,
    add: Callable[[str, bytes], object],
    *,
    compression: Compression,
    told: Callable[[int], object] = lambda _: None,
) -> Manifest:
    """Copy all events that are archived now; the system may be at work.

    Args:
        connection: to the archive's database, in no transaction.
        add: takes each segment: its name and its bytes. At most one of them is in memory.
        compression: of the segments.
        told: hears how many events were copied, again and again.

    Raises:
        BadSegment: this database has no archive.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        deployment = await find_deployment(connection)
        if deployment is None:
            raise BadSegment("this database has no deployment of Daybook, and so no archive")
        segments: list[Segment] = []
        for partition in range(deployment.partitions):
            segments += await _copied(connection, partition, add, compression, told)
    return Manifest(
        partitions=deployment.partitions,
        prefix=deployment.prefix,
        compression=compression,
        segments=tuple(segments),
    )


async def archived(connection: asyncpg.Connection) -> int:
    """How many events there are, at most: older ones may have been dropped."""
    count: int = await connection.fetchval(sql("shared.readmodel", "statements/archived_count.sql"))
    return count


async def _copied(
    connection: asyncpg.Connection,
    partition: int,
    add: Callable[[str, bytes], object],
    compression: Compression,
    told: Callable[[int], object],
) -> list[Segment]:
    segments: list[Segment] = []
    chain = Chain()

    def finish(writer: SegmentWriter) -> None:
        segment, data = writer.finish()
        add(segment.name, data)
        segments.append(segment)
        told(segment.count)

    writer = SegmentWriter(partition, chain, compression)
    async for row in connection.cursor(
        sql("shared.readmodel", "statements/cold_events.sql"), partition, prefetch=AT_ONCE
    ):
        event = (*row[:9], ids.to_ms(row["at"]), *row[10:15])
        writer.add(event, row["chain"])
        if writer.is_full:
            finish(writer)
            writer = SegmentWriter(partition, chain, compression)
    if not writer.is_empty:
        finish(writer)
    return segments
