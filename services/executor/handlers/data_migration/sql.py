"""How the statements of a migration are found, and filled with names that come from a database.

Names are quoted; types and expressions are as Postgres itself spells them. A statement that has such parts is sent by
the extended protocol, which takes one statement at a time: a part that pretended to be more would be an error.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

NOTES_SCHEMA = "daybook_migration"


def statement(name: str, **parts: str) -> str:
    """The text of `statements/<name>.sql`, with `parts` in their places."""
    text = _read(name)
    return text.format(**parts) if parts else text


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    if not name or "\0" in name:
        raise ValueError(f"{name!r} is no name")
    return '"' + name.replace('"', '""') + '"'


def listed(parts: Iterable[str]) -> str:
    """Parts with commas between them."""
    return ", ".join(parts)


async def execute(connection: asyncpg.Connection, text: str, *values: Any) -> str:
    """Run exactly one statement; returns its tag, such as `INSERT 0 7`."""
    prepared = await connection.prepare(text)
    await prepared.fetch(*values)
    return prepared.get_statusmsg() or ""


def counted(tag: str) -> int:
    """The number of rows in a statement's tag."""
    return int(tag.rpartition(" ")[2])


@cache
def _read(name: str) -> str:
    path = resources.files("services.executor.handlers.data_migration").joinpath(f"statements/{name}.sql")
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("--"))  # a name in it could end a comment
