"""A database into a payload: by pg_dump where one is here that knows the server, else by `copying`.

pg_dump's custom format stands in the payload as it is, cut into `dump/000001` and so on, uncompressed, as the backup is
compressed itself. The manifest says how it was made (`method`), and how many tables there are.
"""

from __future__ import annotations

import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Any

import asyncpg

from shared.backup import copying
from shared.backup.postgres_tools import CONNECT_S, SESSION, Tool, address, dying_with_us, newest
from shared.readmodel.database import sql

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.backup.payload import Payload

_READ_BYTES = 1024 * 1024
_SAID_MAX = 1_000  # characters of what pg_dump complained of
_END_S = 30.0


class DumpFailed(RuntimeError):  # noqa: N818 - its name is what people read as the failure's class
    """pg_dump ended with an error; the message is its own."""


async def dump(
    url: str, payload: Payload, told: Callable[[float], object], *, by_copy: bool = False
) -> dict[str, Any]:
    """Add a database; returns what the manifest says of it.

    Args:
        url: `postgresql://…`.
        payload: where to.
        told: hears how much is done, as a ratio that is a guess, again and again.
        by_copy: even if there is a pg_dump.

    Raises:
        DumpFailed: see there.
        copying.NeedsPgDump: likewise.
        OSError: the server doesn't answer.
    """
    connection = await asyncpg.connect(url, timeout=CONNECT_S, server_settings=SESSION)
    try:
        size = int(await connection.fetchval(sql("shared.backup", "statements/size.sql")))
        progress = _Progress(size, told)
        tool = None if by_copy else newest("pg_dump")
        version = connection.get_server_version().major
        if tool is None or tool.version < version:
            return {"method": "copy", "server": version, **await copying.dump(connection, payload, progress)}
        tables = await connection.fetch(sql("shared.backup", "statements/tables.sql"))
    finally:
        await connection.close()
    _dumped(tool, url, payload, progress)
    return {"method": "pg_dump", "server": version, "pg_dump": tool.version, "tables": len(tables)}


class _Progress:
    def __init__(self, size: int, told: Callable[[float], object]) -> None:
        self._size = max(1, size)
        self._told = told
        self._seen = 0

    def __call__(self, size: int) -> None:
        self._seen += size
        self._told(min(1.0, self._seen / self._size))


def _dumped(tool: Tool, url: str, payload: Payload, progress: Callable[[int], object]) -> None:
    bare, environ = address(url)
    command = dying_with_us(
        [tool.path, "--format=custom", "--compress=0", "--no-password", f"--dbname={bare}"]
    )
    parts = payload.parts("dump")
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(  # noqa: S603 - a program of the operator's PATH, no shell
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, env=environ
        ) as process,
    ):
        try:
            output = process.stdout
            assert output is not None  # noqa: S101 - it was asked for
            while data := output.read(_READ_BYTES):
                parts.write(data)
                progress(len(data))
            status = process.wait(_END_S)
        finally:
            process.kill()
        if status != 0:
            raise DumpFailed(f"pg_dump ended with {status}: {complaint(said)}")
    parts.finish()


def complaint(said: IO[bytes]) -> str:
    """The end of what a program wrote to its stderr."""
    said.seek(0)
    return said.read().decode(errors="replace").strip()[-_SAID_MAX:]
