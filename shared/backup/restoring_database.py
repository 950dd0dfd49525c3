"""A database out of a payload, in one transaction: what fails, leaves it as it was.

What is restored runs as whoever the URL names: a backup that isn't encrypted can bring any statement that somebody has
put there who could write to its place.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Any

import asyncpg

from shared.backup import copying
from shared.backup.dumping import CONNECT_S, complaint
from shared.backup.payload import PART_BYTES
from shared.backup.postgres_tools import address, newest
from shared.backup.sealing import BadBackup, Damaged
from shared.readmodel.database import changed, sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from shared.backup.payload import Contents, Member

STATEMENTS_MAX = 64 * 1024 * 1024  # bytes


class TargetNotEmpty(Exception):  # noqa: N818 - it is read aloud
    """There is something where a backup is to be restored, and nobody has said that it may go."""


class RestoreFailed(RuntimeError):
    """The database didn't take the backup; it is as it was."""


async def restore(contents: Contents, url: str, *, force: bool) -> dict[str, Any]:
    """Fill a database; returns the manifest.

    Args:
        contents: of a backup of a database, not read yet.
        url: of the database, which must be there.
        force: what is in it goes.

    Raises:
        TargetNotEmpty: see there.
        RestoreFailed: likewise.
        BadBackup: the backup can't be trusted.
        OSError: the server doesn't answer.
    """
    connection = await asyncpg.connect(
        url,
        timeout=CONNECT_S,
        server_settings={"application_name": "daybook restore"},
    )
    try:
        if not force and await connection.fetchval(_statement("occupied")):
            raise TargetNotEmpty(
                "The database isn't empty: restore to another, or say --force, and what is in it goes."
            )
        members = iter(contents)
        first = next(members, None)
        if first is not None and first.info.name == copying.BEFORE:
            await _Copying(connection, contents, members).restore(first, force=force)
            return contents.manifest
    finally:
        await connection.close()
    _dumped(first, members, url, force=force)
    return contents.manifest


class _Copying:
    """What `copying` has written, read back."""

    def __init__(
        self, connection: asyncpg.Connection, contents: Contents, members: Iterator[Member]
    ) -> None:
        self._connection = connection
        self._contents = contents
        self._members = members
        self._rows: dict[str, int] = {}

    async def restore(self, before: Member, *, force: bool) -> None:
        try:
            async with self._connection.transaction():
                await self._connection.execute("set local search_path = ''")
                await self._connection.execute("set local check_function_bodies = off")
                if force:
                    for row in await self._connection.fetch(_statement("drop_all")):
                        await self._connection.execute(row["statement"])
                await self._fill(before)
        except asyncpg.PostgresError as error:
            raise RestoreFailed(f"{type(error).__name__}: {error}") from error

    async def _fill(self, before: Member) -> None:
        """Run what comes before; rows; what comes after."""
        for statement in _listed(before):
            await self._connection.execute(statement)
        after: list[str] = []
        waiting: Member | None = next(self._members, None)
        while waiting is not None:
            if waiting.info.name == copying.AFTER:
                after = _listed(waiting)
                waiting = next(self._members, None)
            else:
                waiting = await self._table(waiting)
        self._check_rows()
        for statement in after:
            await self._connection.execute(statement)
