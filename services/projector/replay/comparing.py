"""Comparing: each table of the live ledgers with its like beside it, by counts and a hash of each row."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple

from services.projector.replay.names import LIVE, NEXT, statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.readmodel.archive import Connection

EXAMPLES = 10  # rows of a table that are named
AT_ONCE = 200_000  # rows of a table whose hashes are held against each other at a time
VALUE_LENGTH_MAX = 80
_Hashes = dict[str, int]


class Compared(NamedTuple):
    """What has come of a table.

    Attributes:
        live: its rows in the live ledger.
        made: in the one made anew.
        differ: keys whose rows differ, or that only one of them has.
        examples: some of those, and how.
    """

    table: str
    live: int
    made: int
    differ: int
    examples: tuple[str, ...]


class _Table(NamedTuple):
    name: str
    key: str

    def ask(self, name: str, schema: str) -> str:
        """A question about the table in one of the schemas."""
        text = statement(f"compare_{name}")
        return text.replace("{table}", f"{schema}.{self.name}").replace("{key}", self.key)


async def compare(live: Connection, made: Connection) -> list[Compared]:
    """Compare all tables.

    Args:
        live: a connection that sees the live ledgers as of one moment.
        made: one that sees those made anew as of the same.
    """
    tables = [_Table(row["name"], row["key"]) for row in await live.fetch(statement("tables"), LIVE)]
    return [await _compare(live, made, each) for each in tables]


async def _compare(live: Connection, made: Connection, table: _Table) -> Compared:
    one, another = await asyncio.gather(
        _buckets(live, table.ask("buckets", LIVE)), _buckets(made, table.ask("buckets", NEXT))
    )
    counts = [sum(rows for rows, _ in side.values()) for side in (one, another)]
    suspect = sorted(bucket for bucket in {*one, *another} if one.get(bucket) != another.get(bucket))
    differ, named = 0, list[str]()
    for some in _some(suspect, max(counts, default=0)):
        keys = await _keys(live, made, table, some)
        differ += len(keys)
        named += keys[: EXAMPLES - len(named)]
    examples = await _examples(live, made, table, named)
    return Compared(table.name, counts[0], counts[1], differ, examples)


async def _buckets(side: Connection, text: str) -> dict[int, tuple[int, int]]:
    return {bucket: (rows, hashed) for bucket, rows, hashed in await side.fetch(text)}


def _some(buckets: Sequence[int], rows: int) -> Sequence[Sequence[int]]:
    """Parts of the buckets in which there are AT_ONCE rows, about."""
    size = max(1, AT_ONCE * 1024 // max(rows, 1))
    return [buckets[first : first + size] for first in range(0, len(buckets), size)]


async def _keys(live: Connection, made: Connection, table: _Table, buckets: Sequence[int]) -> list[str]:
    one, another = await asyncio.gather(
        _hashes(live, table.ask("rows", LIVE), buckets), _hashes(made, table.ask("rows", NEXT), buckets)
    )
    return sorted(key for key in {**one, **another} if one.get(key) != another.get(key))


async def _hashes(side: Connection, text: str, buckets: Sequence[int]) -> _Hashes:
    return dict(map(tuple, await side.fetch(text, list(buckets))))


async def _examples(live: Connection, made: Connection, table: _Table, keys: list[str]) -> tuple[str, ...]:
    if not keys:
        return ()
    sides = [
        {key: json.loads(row) for key, row in await side.fetch(table.ask("examples", schema), keys)}
        for side, schema in ((live, LIVE), (made, NEXT))
    ]
    return tuple(f"{key.strip('()')}: {_difference(*(side.get(key) for side in sides))}" for key in keys)


def _difference(live: dict[str, Any] | None, made: dict[str, Any] | None) -> str:
    """How a row of the live ledger differs from what it comes to."""
    if live is None:
        return "is missing"
    if made is None:
        return "no event tells of it"
    return "; ".join(
        f"{name} is {_short(live[name])}, and comes to {_short(made.get(name))}"
        for name in live
        if live[name] != made.get(name)
    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_LENGTH_MAX else f"{text[:VALUE_LENGTH_MAX]}…"
