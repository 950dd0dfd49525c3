"""How a job or a run became what it is: its state after each of its events, by the folds of this build."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shared.domain import kinds
from shared.readmodel import cuts
from shared.readmodel.database import sql
from shared.recovery.brought_forward import brought_forward_of
from shared.recovery.rows import recorded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.domain.kinds import Aggregate
    from shared.eventlog.envelope import Recorded
    from shared.eventlog.position import Position
    from shared.readmodel.archive import Connection


class Step(NamedTuple):
    """An event, and the state after it; no event: what was brought forward, as older ones were dropped."""

    at: Position
    event: Recorded | None
    state: Aggregate


async def steps(connection: Connection, ref: str, *, until: int | None = None) -> AsyncIterator[Step]:
    """All events that have advanced `job:<id>` or `run:<id>`, in order, as of one moment.

    Args:
        connection: to the archive's database, in no transaction.
        ref: of the aggregate.
        until: the last position that counts, in the partition of the aggregate.

    Raises:
        UnknownEvent: a newer Daybook wrote one of them.
    """
    kind, _, identifier = ref.partition(":")
    evolve = kinds.of_ref(ref).evolve
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await cuts.hold_still(connection)
        state = None
        if (brought := (await brought_forward_of(connection, [ref])).get(ref)) is not None:
            state = brought.state
            yield Step(brought.version, None, state)
        rows = connection.cursor(
            sql("shared.recovery", "statements/steps_of.sql"),
            f"{kind}/{identifier}",
            identifier if kind == "job" else None,
            until,
        )
        async for row in rows:
            event = recorded(row)
            state = evolve(state, event.change())
            yield Step(event.position, event, state)
