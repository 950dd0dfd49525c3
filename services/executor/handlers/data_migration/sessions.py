"""Sessions with the two databases, in which the same value has the same text, and whose URLs nobody gets to read."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONNECT_S = 15.0
CLOSE_S = 2.0
SETTINGS = {
    "application_name": "daybook data_migration",
    "search_path": "",  # so that Postgres spells every name with its schema
    "standard_conforming_strings": "on",
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "xmloption": "content",
    "lc_monetary": "C",
    "row_security": "off",  # a policy that hides rows is an error, not a smaller table
    "statement_timeout": "0",  # the run has a time-out of its own
    "idle_in_transaction_session_timeout": "0",
    "tcp_keepalives_idle": "30",  # a machine that is gone must not hold a note for hours
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


class SourceUnreachable(ConnectionError):  # noqa: N818 - its name is what people read as the failure's class
    """A configured database doesn't answer, or doesn't let us in."""


@contextlib.asynccontextmanager
async def session(name: str, url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection, closed in the end: at once if anything went wrong, so that what has begun is undone.

    Args:
        name: of the source, for people.
        url: with its password.

    Raises:
        SourceUnreachable: without any part of the URL but the name.
    """
    connection = await _connected(name, url)
    try:
        yield connection
        await connection.close(timeout=CLOSE_S)
    finally:
        connection.terminate()


@contextlib.asynccontextmanager
async def transaction(connection: asyncpg.Connection, begin: str = "begin") -> AsyncIterator[None]:
    """A transaction, committed in the end. If anything goes wrong, the session is cut, and the server undoes it.

    To ask for a rollback could wait for ever: for a server that is gone, or in the middle of a COPY.
    """
    await connection.execute(begin)
    try:
        yield
    except BaseException:
        connection.terminate()
        raise
    await connection.execute("commit")


async def _connected(name: str, url: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(url, timeout=CONNECT_S, server_settings=SETTINGS)
    except (asyncpg.PostgresError, OSError) as error:
        raise SourceUnreachable(f"{name}: {type(error).__name__}: {_shown(error, url)}") from None
    except (asyncpg.InterfaceError, ValueError) as error:  # they quote parts of the URL
        raise SourceUnreachable(f"{name}: its url can't be used ({type(error).__name__})") from None


def _shown(error: BaseException, url: str) -> str:
    text = str(error)
    return "(its message is not shown, as it has the url in it)" if url in text else text
