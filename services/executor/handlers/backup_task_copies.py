"""Tells the archive's database which cold copies there are: retention drops only months that one of them holds."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import asyncpg

from shared.backup.postgres_tools import CONNECT_S, SESSION
from shared.readmodel import cold_copies

if TYPE_CHECKING:
    from shared.readmodel.cold.manifest import Manifest


async def enter(url: str, place: str, run_id: str, manifest: Manifest) -> int:
    """Enter a copy that was read back, in place of what was entered of it before.

    Args:
        url: of the archive's database.
        place: of the copy.
        run_id: the execution that made it.
        manifest: of the copy, as it was read back.

    Returns:
        How many of its segments are left out, as they have broken links.
    """
    whole = [segment for segment in manifest.segments if not segment.broken]
    connection = await _connected(url)
    try:
        async with connection.transaction():
            await cold_copies.strike(connection, place)
            await cold_copies.enter(connection, place, run_id, whole)
    finally:
        await connection.close()
    return len(manifest.segments) - len(whole)


async def strike(url: str, name: str) -> None:
    """Strike out the copy that is called `name`, before it goes.

    Raises:
        OSError, asyncpg.PostgresError: it may still be counted upon, so it must stay.
    """
    connection = await _connected(url)
    try:
        with contextlib.suppress(asyncpg.UndefinedTableError):  # no archive, and so none that is counted upon
            await cold_copies.strike(connection, name)
    finally:
        await connection.close()


async def strike_spare(url: str, name: str) -> cold_copies.Range | None:
    """Strike out the copy that is called `name`, unless it alone holds events that have left the archive: the first.

    Raises:
        OSError, asyncpg.PostgresError: as of `strike`.
    """
    connection = await _connected(url)
    try:
        return await cold_copies.strike_spare(connection, name)
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()


async def _connected(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url, timeout=CONNECT_S, server_settings=SESSION)
