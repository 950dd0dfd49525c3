"""The blueprint: how the live schema is made, as statements that make another like it.

It is read from Postgres's catalogue, so it is what all migrations have made, partitions of months and an operator's
grants with it. Indexes and triggers come apart: rows are written quicker without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.projector.replay.names import LIVE, NEXT, beside, statement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import asyncpg

    from shared.readmodel.archive import Connection


class Index(NamedTuple):
    """An index: its name, its definition, the table with its rows, and the index of all months that it belongs to."""

    name: str
    definition: str
    table: str
    parent: str | None
    is_partitioned: bool


class Blueprint(NamedTuple):
    """What the schema consists of.

    Attributes:
        tables: statements that make its tables with their keys, empty.
        functions: definitions, as they are in the live schema.
        triggers: statements that make the triggers.
        indexes: all that aren't of keys, those of all months before those of one.
        rights: statements that give others what they may.
    """

    tables: Sequence[str]
    functions: Sequence[str]
    triggers: Sequence[str]
    indexes: Sequence[Index]
    rights: Sequence[str]


async def read(connection: Connection) -> Blueprint:
    """Read how `ledger` is made; statements are about `ledger_next`, but for `functions`."""

    async def asked(name: str) -> list[asyncpg.Record]:
        return await connection.fetch(statement(f"blueprint_{name}"), LIVE)

    return Blueprint(
        tables=[
            *map(_table, await asked("tables")),
            *(
                beside(f"alter table {row[0]} add constraint {row[1]} {row[2]}")
                for row in await asked("keys")
            ),
        ],
        functions=[row[0] for row in await asked("functions")],
        triggers=[beside(row[0]) for row in await asked("triggers")],
        indexes=[
            Index(name, beside(definition), beside(table), parent, is_partitioned)
            for name, definition, table, parent, is_partitioned in await asked("indexes")
        ],
        rights=list(_rights(await asked("rights"))),
    )


async def dependents(connection: Connection) -> list[str]:
    """What others have made of the live tables, such as views: it is bound to them, whatever they are called."""
    return [row[0] for row in await connection.fetch(statement("blueprint_dependents"), LIVE)]


def _table(row: asyncpg.Record) -> str:
    name, parent, bound, key, options = row
    stored = f"with ({', '.join(options)})" if options else ""
    if parent is not None:
        made = statement("make_month").replace("{parent}", parent).replace("{range}", bound)
    else:
        made = statement("make_table").replace("{by}", f"partition by {key}" if key else "")
    return made.replace("{name}", name).replace("{options}", stored)


def _rights(rows: Sequence[asyncpg.Record]) -> Iterator[str]:
    for kind, name, owner, grantee, privilege, grantable in rows:
        thing = f"{kind} {NEXT}" if name is None else f"{kind} {NEXT}.{name}"
        if owner is not None:
            yield f"alter {thing} owner to {owner}"
        else:
            yield f"grant {privilege} on {thing} to {grantee}{' with grant option' if grantable else ''}"
