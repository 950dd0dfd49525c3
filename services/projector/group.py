"""A group: batches of several partitions in one statement, so that little ones cost little.

The statement is made of those with which a batch is committed by itself, and is its own transaction: a round
trip instead of eight. All or nothing; who is to blame for a failure isn't asked here: each batch is then
committed by itself, and so finds out.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from services.projector.rows import ledgers, snapshots, statement, waypoints
from shared.readmodel.database import columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.projector.batch import Batch
    from shared.readmodel.archive import Connection

_PARTS = {
    "moved": "move_checkpoints",
    "archived": "archive_few",
    "saved": "save_snapshots",
    "passed": "save_waypoints",
    "jobs": "upsert_jobs",
    "runs": "upsert_runs",
    "run_hourly": "add_hours",
    "backfills": "upsert_backfills",
}  # name → statement, `moved` first: it locks, and ALL asks it
_ALL = "all_moved"
_ARGUMENT = re.compile(r"\$(\d+)")


async def commit_together(connection: Connection, batches: Sequence[Batch]) -> None:
    """Write what each of `batches`, of different partitions, would write by itself; nothing is refused.

    Raises:
        Exception: nothing was written, unless it was the answer that was lost. A DivisionByZeroError says that
            a checkpoint has been moved, or is held by somebody.
    """
    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _PARTS}
    for each in batches:
        rows["moved"].append(_move(each))
        rows["archived"] += each.archived
        rows["saved"] += snapshots(each.folded, each.before.partition)
        rows["passed"] += waypoints(each.folded, each.before.partition)
        for table in ledgers(each.folded, each.before.partition, each.events[-1].position):
            rows[table.model] += [row.values for row in table.rows]
    await connection.execute(_statement(), *_arguments(rows), len(batches))


def _move(batch: Batch) -> tuple[Any, ...]:
    before, after = batch.before, batch.after
    seen = (before.partition, before.fence, before.ledgers, before.epoch, before.pos)
    return (*seen, after.epoch, after.pos, after.id, after.at, after.chain)


def _arguments(rows: dict[str, list[tuple[Any, ...]]]) -> Iterator[Sequence[Any]]:
    for name, file in _PARTS.items():
        yield from columns(rows[name]) or [()] * _width(file)


@cache
def _statement() -> str:
    """All parts as one `with`, their arguments numbered through."""
    offset, parts = 0, []
    for name, file in _PARTS.items():
        parts.append(f"{name} as (\n{_numbered_from(offset, statement(file))}\n)")
        offset += _width(file)
    return f"with {', '.join(parts)}\n{_numbered_from(offset, statement(_ALL))}"


def _numbered_from(offset: int, text: str) -> str:
    return _ARGUMENT.sub(lambda found: f"${int(found[1]) + offset}", text)


@cache
def _width(file: str) -> int:
    """How many arguments a statement takes."""
    return max(int(number) for number in _ARGUMENT.findall(statement(file)))
