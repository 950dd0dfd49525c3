"""A batch: events that follow a checkpoint, and the one transaction in which they become rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from services.projector.rows import (
    REFUSED,
    Refusal,
    ledgers,
    put,
    put_what_is_taken,
    snapshots,
    statement,
    waypoints,
)
from shared.domain import ids
from shared.readmodel.archive import Checkpoint
from shared.readmodel.chain import link
from shared.readmodel.database import changed, columns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

    from services.projector.projections import Folded
    from shared.eventlog.envelope import Recorded
    from shared.readmodel.archive import Connection

    Destroy = Callable[[Connection, Collection[str]], Awaitable[None]]

    class Executed(Protocol):
        """What takes a statement."""

        async def execute(self, query: str, *args: Any) -> str: ...  # noqa: D102 - as of a connection


COPY_FROM = 50  # events; below, one insert is quicker than COPY's two round trips
ARCHIVED = (
    "partition", "epoch", "pos", "id", "type", "v", "subject", "job", "advances", "at",
    "actor", "cause", "corr", "trace", "data", "chain",
)  # fmt: skip


class Overtaken(Exception):  # noqa: N818 - a finding
    """The checkpoint isn't where it was: somebody else projects this partition, or its log was reopened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events, what they come to, and the checkpoints before and after them."""

    before: Checkpoint
    after: Checkpoint
    events: Sequence[Recorded]
    archived: Sequence[tuple[Any, ...]]
    folded: Folded


def batch_of(before: Checkpoint, events: Sequence[Recorded], folded: Folded) -> Batch:
    """The batch of `events`, which follow `before` without a gap."""
    archived = list(_linked(before.chain, events))
    last = events[-1]
    after = Checkpoint(
        partition=before.partition,
        epoch=last.position.epoch,
        pos=last.position.pos,
        id=last.id,
        at=ids.from_ms(last.at),
        chain=archived[-1][-1],
        fence=before.fence,
        ledgers=before.ledgers,
    )
    return Batch(before=before, after=after, events=events, archived=archived, folded=folded)


async def commit(connection: Connection, batch: Batch, destroy: Destroy) -> list[Refusal]:
    """Write the batch, and return what the ledgers refused: `book.projection_errors` has it instead.

    Args:
        connection: not in a transaction.
        batch: see there.
        destroy: takes the keys of jobs whose personal data was erased, within the transaction: what tells of an erasure
            isn't archived before, nor without that.

    Raises:
        Overtaken: nothing was written, and what is known of jobs and runs may be old.
        asyncpg.PostgresError: nothing was written. One of REFUSED: the archive itself takes it not.
    """
    if batch.folded.unreadable:
        return await _commit(connection, batch, destroy, carefully=True)
    try:
        return await _commit(connection, batch, destroy, carefully=False)
    except REFUSED:
        return await _commit(connection, batch, destroy, carefully=True)


async def _commit(
    connection: Connection, batch: Batch, destroy: Destroy, *, carefully: bool
) -> list[Refusal]:
    async with connection.transaction():
        await _move(connection, batch.before, batch.after)
        if batch.folded.erased:
            await destroy(connection, sorted(batch.folded.erased))
        await _archive(connection, batch.archived)
        if states := snapshots(batch.folded, batch.before.partition):
            await connection.execute(statement("save_snapshots"), *columns(states))
        if passed := waypoints(batch.folded, batch.before.partition):
            await connection.execute(statement("save_waypoints"), *columns(passed))
        tables = ledgers(batch.folded, batch.before.partition, batch.events[-1].position)
        if not carefully:
            for table in tables:
                await put(connection, table)
            return []
        refused = list(unreadable(batch.folded))
        for table in tables:
            refused += await put_what_is_taken(connection, table)
        await record(connection, batch.before.partition, batch.events, refused)
        return refused


async def _move(connection: Connection, before: Checkpoint, after: Checkpoint) -> None:
    status = await connection.execute(
        statement("move_checkpoint"),
        before.partition,
        before.fence,
        before.ledgers,
        before.epoch,
        before.pos,
        after.epoch,
        after.pos,
        after.id,
        after.at,
        after.chain,
    )
    if changed(status) == 0:
        raise Overtaken(f"partition {before.partition} is no longer at {before.epoch}-{before.pos}")


async def _archive(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    if len(rows) < COPY_FROM:
        await connection.execute(statement("archive_few"), *columns(list(rows)))
        return
    await connection.copy_records_to_table("events", schema_name="book", columns=ARCHIVED, records=rows)


def _linked(chain: bytes, events: Sequence[Recorded]) -> Iterator[tuple[Any, ...]]:
    for event in events:
        before_at = (
            event.partition, *event.position, event.id, event.type, event.v, event.subject, event.job,
            event.advances,
        )  # fmt: skip
        after_at = (event.actor, event.cause, event.corr, event.trace, event.data)
        chain = link(chain, (*before_at, event.at, *after_at))
        yield (*before_at, ids.from_ms(event.at), *after_at, chain)


def unreadable(folded: Folded) -> Iterator[Refusal]:
    """The events that could not be folded, as rows of `book.projection_errors`."""
    for each in folded.unreadable:
        yield Refusal(
            model="event",
            key=each.recorded.id,
            position=each.recorded.position,
            sqlstate="",
            message=each.message[:1000],
        )


async def record(
    connection: Executed, partition: int, events: Sequence[Recorded], refused: Sequence[Refusal]
) -> None:
    """Note in `book.projection_errors` what of these events no ledger took."""
    if not refused:
        return
    at = {event.position: ids.from_ms(event.at) for event in events}
    rows = [
        (partition, *each.position, each.model, each.key, each.sqlstate, each.message, at[each.position])
        for each in refused
    ]
    await connection.execute(statement("record_errors"), *columns(rows))
