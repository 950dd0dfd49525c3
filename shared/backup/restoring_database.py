"""A database out of a payload, in one transaction: what fails, leaves it as it was.

What is restored runs as whoever the URL names: a backup that isn't encrypted can bring any statement that somebody has
put there who could write to its place.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import asyncpg

from shared.backup import copying
from shared.backup.dumping import complaint
from shared.backup.payload import PART_BYTES
from shared.backup.postgres_tools import CONNECT_S, SESSION, Tool, address, newest
from shared.backup.sealing import BadBackup, Damaged
from shared.readmodel.database import changed, sql

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from shared.backup.payload import Contents, Member

STATEMENTS_MAX = 64 * 1024 * 1024  # bytes


class TargetNotEmpty(Exception):  # noqa: N818 - it is read aloud
    """There is something where a backup is to be restored, and nobody has said that it may go."""


class RestoreFailed(RuntimeError):  # noqa: N818 - it is read aloud
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
    connection = await asyncpg.connect(url, timeout=CONNECT_S, server_settings=SESSION)
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

    def __init__(self, connection: asyncpg.Connection, contents: Contents, members: Iterator[Member]) -> None:
        self._connection = connection
        self._contents = contents
        self._members = members
        self._rows: dict[tuple[str, str], int] = {}

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
        """Make tables, fill them, and do what comes after once the backup has been read to its end."""
        await self._run(_statements(before))
        member = next(self._members, None)
        while member is not None and member.info.name != copying.AFTER:
            member = await self._table(member)
        if member is None:
            raise Damaged("The backup has no statements that come after its tables.")
        after = _statements(member)
        if (more := next(self._members, None)) is not None:
            raise Damaged(f"The backup has {more.info.name[:200]!r} where it must end.")
        self._check_rows()
        await self._run(after)

    async def _run(self, statements: list[str]) -> None:
        for statement in statements:
            await self._connection.execute(statement)

    async def _table(self, described: Member) -> Member | None:
        """Fill one; returns the member after its rows."""
        table = _document(described)
        folder = described.info.name.removesuffix(copying.TABLE)
        ahead: list[Member | None] = []

        async def rows() -> AsyncIterator[bytes]:
            while (member := next(self._members, None)) is not None and _is_part(member, folder):
                while data := member.file.read(PART_BYTES):
                    yield data
            ahead.append(member)

        try:
            status = await self._connection.copy_to_table(
                table["name"],
                schema_name=table["schema"],
                columns=table["columns"],
                source=rows(),
                format="text",
            )
        except (KeyError, TypeError) as error:
            raise Damaged(f"{described.info.name[:200]!r} describes no table.") from error
        self._rows[table["schema"], table["name"]] = changed(status)
        return ahead[0]

    def _check_rows(self) -> None:
        tables = self._contents.manifest.get("tables", ())
        said = {(table["schema"], table["name"]): table["rows"] for table in tables}
        if said != self._rows:
            raise Damaged("The manifest speaks of other tables, or of other counts of rows.")


def _is_part(member: Member, folder: str) -> bool:
    name = member.info.name
    return name.startswith(folder) and name.removeprefix(folder).isdigit()


def _statements(member: Member) -> list[str]:
    statements = _document(member)
    if not isinstance(statements, list) or not all(isinstance(each, str) for each in statements):
        raise Damaged(f"{member.info.name!r} is no list of statements.")
    return statements


def _document(member: Member) -> Any:
    if member.info.size > STATEMENTS_MAX:
        raise BadBackup(f"{member.info.name[:200]!r} has {member.info.size:,} bytes, more than we write.")
    try:
        return json.loads(member.file.read(member.info.size))
    except ValueError as error:
        raise Damaged(f"{member.info.name[:200]!r} is no JSON: {error}.") from None


def _dumped(first: Member | None, members: Iterator[Member], url: str, *, force: bool) -> None:
    """Have pg_restore read a dump; it is put into a file first, as it must be whole before anything is changed."""
    tool = newest("pg_restore")
    if tool is None:
        raise RestoreFailed("The backup was made by pg_dump, and there is no pg_restore here to read it.")
    with tempfile.NamedTemporaryFile(prefix="daybook-restore-") as file:
        member = first
        while member is not None:
            if not member.info.name.startswith("dump/"):
                raise Damaged(f"The backup has {member.info.name[:200]!r} beside a dump.")
            while data := member.file.read(PART_BYTES):
                file.write(data)
            member = next(members, None)
        file.flush()
        _restored(tool, file.name, url, force=force)


def _restored(tool: Tool, path: str, url: str, *, force: bool) -> None:
    bare, environ = address(url)
    command = [tool.path, "--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    command += ["--clean", "--if-exists"] if force else []
    with tempfile.TemporaryFile() as said:
        status = subprocess.run(  # noqa: S603 - a program of the operator's PATH, no shell
            [*command, "--no-password", f"--dbname={bare}", path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=environ,
            check=False,
        ).returncode
        if status != 0:
            raise RestoreFailed(f"pg_restore ended with {status}: {complaint(said)}")


def _statement(name: str) -> str:
    return sql("shared.backup", f"statements/{name}.sql")
