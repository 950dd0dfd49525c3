"""What a database has: the tables to copy, their columns, their keys, and in which order they are copied."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.executor.handlers.data_migration.sql import NOTES_SCHEMA, listed, quoted, statement
from shared.handlers import GiveUp

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

NAMED_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column as the source has it.

    Attributes:
        type: in Postgres' own spelling, with its length.
        plain: the type without it.
        at: the schema in which its operators lie.
        identity: `a` always, `d` by default, or empty; a serial column counts as `d`.
        generated: the expression that computes it, or None; it is not copied then.
        virtual: it is computed when read.
    """

    name: str
    type: str
    plain: str
    at: str
    required: bool
    identity: str
    generated: str | None
    virtual: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of the source.

    Attributes:
        key: the columns of its primary key, in order; empty if it has none.
        whole: it is partitioned, and its partitions are read with it.
        parents: oids of the tables that it refers to.
    """

    oid: int
    schema: str
    name: str
    whole: bool
    parents: frozenset[int]
    columns: tuple[Column, ...]
    key: tuple[Column, ...]

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.schema}.{self.name}"

    @property
    def sql(self) -> str:
        """For statements."""
        return f"{quoted(self.schema)}.{quoted(self.name)}"

    @property
    def copied(self) -> tuple[Column, ...]:
        """The columns that have values of their own."""
        return tuple(column for column in self.columns if column.generated is None)

    @property
    def names(self) -> str:
        """Those, for statements."""
        return listed(quoted(column.name) for column in self.copied)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """What stands under a name already.

    Attributes:
        kind: `pg_class.relkind`.
        uniques: the sets of columns by which its rows are told apart.
    """

    oid: int
    kind: str
    uniques: tuple[frozenset[str], ...]


async def tables_of(connection: asyncpg.Connection, source: str, wanted: str | None) -> list[Table]:
    """The tables to copy, those that others refer to first.

    Args:
        connection: to the source.
        source: its name, for people.
        wanted: one of them, as `name` or `schema.name`; None: all.

    Raises:
        GiveUp: the one that is wanted isn't there, or there are several of that name.
    """
    rows = await connection.fetch(statement("tables"), wanted, NOTES_SCHEMA)
    if wanted is not None and len(rows) != 1:
        await _give_up(connection, source, wanted, found=[f"{row['schema']}.{row['name']}" for row in rows])
    tables = [
        Table(
            oid=row["oid"],
            schema=row["schema"],
            name=row["name"],
            whole=row["partitioned"],
            parents=frozenset(row["parents"]),
            **await _columns(connection, row["oid"]),
        )
        for row in rows
    ]
    return _parents_first(tables)


async def columns_of(connection: asyncpg.Connection, oid: int) -> tuple[Column, ...]:
    """The columns of a table."""
    return tuple(_column(row) for row in await connection.fetch(statement("columns"), oid))


async def relation(connection: asyncpg.Connection, table: Table) -> Relation | None:
    """What a destination has under the table's name."""
    row = await connection.fetchrow(statement("relation"), table.schema, table.name)
    if row is None:
        return None
    uniques = tuple(frozenset(json.loads(each)) for each in row["uniques"])
    return Relation(oid=row["oid"], kind=row["kind"], uniques=uniques)


async def _columns(connection: asyncpg.Connection, oid: int) -> dict[str, tuple[Column, ...]]:
    rows = await connection.fetch(statement("columns"), oid)
    key = sorted((row for row in rows if row["key"] is not None), key=lambda row: row["key"])
    return {
        "columns": tuple(_column(row) for row in rows),
        "key": tuple(_column(row) for row in key),
    }


def _column(row: asyncpg.Record) -> Column:
    return Column(
        name=row["name"],
        type=row["type"],
        plain=row["plain"],
        at=row["at"],
        required=row["required"],
        identity="d" if row["serial"] else row["identity"],
        generated=row["generated"],
        virtual=row["generation"] == "v",
    )


async def _give_up(connection: asyncpg.Connection, source: str, wanted: str, *, found: list[str]) -> None:
    if found:
        raise GiveUp(f"{source} has several tables of the name {wanted!r}: write {_named(found, ' or ')}")
    rows = await connection.fetch(statement("tables"), None, NOTES_SCHEMA)
    there = _named([f"{row['schema']}.{row['name']}" for row in rows], ", ") or "none"
    raise GiveUp(f"{source} has no table {wanted!r}; there are {there}")


def _named(names: list[str], between: str) -> str:
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return between.join(names[:NAMED_MAX]) + more


def _parents_first(tables: Iterable[Table]) -> list[Table]:
    """An order in which no table precedes one that it refers to; where they go round in circles, by name."""
    waiting, placed = {table.oid: table for table in tables}, list[Table]()
    while waiting:
        ready = [table for table in waiting.values() if not table.parents & waiting.keys()]
        for table in ready or [next(iter(waiting.values()))]:
            placed.append(waiting.pop(table.oid))
    return placed
