"""A database into a payload without pg_dump: each table by COPY, all in one snapshot, and the statements around them.

```
 schema/before.sql.json     statements that make schemas, types, functions, sequences and tables
 tables/00001/table.json    the first table's schema, name and columns
 tables/00001/000001 …      its rows as COPY's text, cut anywhere
 schema/after.sql.json      values of sequences, constraints, indexes, foreign keys, views, triggers
```
The manifest has a row for each table: schema, name, count of rows. Owners, privileges and comments are not
carried; a database with what this can't carry (see `statements/unportable.sql`) is refused rather than half copied.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from shared.backup.sealing import BadBackup
from shared.readmodel.database import changed, sql

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from shared.backup.payload import Payload

BEFORE, AFTER = "schema/before.sql.json", "schema/after.sql.json"
TABLE = "table.json"


class NeedsPgDump(BadBackup):
    """The database holds what only pg_dump can carry, and there is none here that is as new as the server."""


async def dump(
    connection: asyncpg.Connection, payload: Payload, told: Callable[[int], object]
) -> dict[str, Any]:
    """Add a database, as it is at one moment; returns what the manifest says of it.

    Args:
        connection: to it, in no transaction.
        payload: where to.
        told: hears how many bytes were copied, again and again.

    Raises:
        NeedsPgDump: see there.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute("set local search_path = ''")
        if unportable := await connection.fetch(_statement("unportable")):
            what = ", ".join(row["what"] for row in unportable)
            raise NeedsPgDump(
                f"Only pg_dump can carry {what}: install one of version "
                f"{connection.get_server_version().major} or newer where the executor runs."
            )
        payload.add(BEFORE, await _statements(connection, "before"))
        tables = [
            await _copied(connection, payload, told, number, row)
            for number, row in enumerate(await connection.fetch(_statement("tables")), start=1)
        ]
        payload.add(AFTER, await _statements(connection, "after"))
    return {"tables": tables, "rows": sum(table["rows"] for table in tables)}


async def _copied(
    connection: asyncpg.Connection,
    payload: Payload,
    told: Callable[[int], object],
    number: int,
    table: asyncpg.Record,
) -> dict[str, Any]:
    space, name, columns = table["space"], table["name"], list(table["columns"])
    await connection.execute(await connection.fetchval(_statement("lock_table"), space, name))
    folder = f"tables/{number:05}"
    described = {"schema": space, "name": name, "columns": columns}
    payload.add(f"{folder}/{TABLE}", json.dumps(described, ensure_ascii=False).encode())
    parts = payload.parts(folder)

    async def take(data: bytes) -> None:
        parts.write(data)
        told(len(data))

    status = await connection.copy_from_table(
        name, schema_name=space, columns=columns, output=take, format="text"
    )
    parts.finish()
    return {"schema": space, "name": name, "rows": changed(status)}


async def _statements(connection: asyncpg.Connection, name: str) -> bytes:
    rows = await connection.fetch(_statement(name))
    return json.dumps([row["statement"] for row in rows], ensure_ascii=False, indent=1).encode()


def _statement(name: str) -> str:
    return sql("shared.backup", f"statements/{name}.sql")
