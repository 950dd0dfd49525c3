"""Copies an archive, as it is at one moment, into segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from shared.domain import ids
from shared.readmodel import cuts
from shared.readmodel.archive import find_deployment
from shared.readmodel.cold.manifest import BadSegment, Manifest
from shared.readmodel.cold.segments import Chain, SegmentWriter
from shared.readmodel.database import sql

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.compression import Compression
    from shared.readmodel.archive import Deployment
    from shared.readmodel.cold.manifest import Segment

AT_ONCE = 1_000  # rows a round trip


async def export(
    connection: asyncpg.Connection,
    add: Callable[[str, bytes], object],
    *,
    compression: Compression,
    told: Callable[[float], object] = lambda _: None,
) -> Manifest:
    """Copy all events that are archived now; the system may be at work, but no month is dropped meanwhile.

    Where months were dropped before, a partition's chain begins with the link of its cut.

    Args:
        connection: to the archive's database, in no transaction.
        add: takes each segment: its name and its bytes. At most one of them is in memory.
        compression: of the segments.
        told: hears how much was copied, as a ratio, again and again.

    Raises:
        BadSegment: this database has no archive.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        deployment = await _deployment(connection)
        whole: int = await connection.fetchval(sql("shared.readmodel", "statements/archived_count.sql"))
        segments: list[Segment] = []
        copied = 0

        def keep(segment: Segment, data: bytes) -> None:
            nonlocal copied
            add(segment.name, data)
            segments.append(segment)
            copied += segment.count
            told(min(1.0, copied / max(1, whole)))

        for partition in range(deployment.partitions):
            await _copy(connection, partition, compression, keep)
    return Manifest(
        partitions=deployment.partitions,
        prefix=deployment.prefix,
        compression=compression,
        segments=tuple(segments),
    )


async def _deployment(connection: asyncpg.Connection) -> Deployment:
    try:
        await cuts.hold_still(connection)
        deployment = await find_deployment(connection)
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        deployment = None
    if deployment is None:
        raise BadSegment("this database has no deployment of Daybook, and so no archive")
    return deployment


async def _copy(
    connection: asyncpg.Connection,
    partition: int,
    compression: Compression,
    keep: Callable[[Segment, bytes], object],
) -> None:
    cut = await cuts.cut_of(connection, partition)
    chain = Chain(None if cut is None else cut.chain)
    writer = SegmentWriter(partition, chain, compression)
    async for row in connection.cursor(
        sql("shared.readmodel", "statements/cold_events.sql"), partition, prefetch=AT_ONCE
    ):
        event = (*row[:9], ids.to_ms(row["at"]), *row[10:15])
        writer.add(event, row["chain"])
        if writer.is_full:
            keep(*writer.finish())
            writer = SegmentWriter(partition, chain, compression)
    if not writer.is_empty:
        keep(*writer.finish())
