"""Which trace goes on where an event is acted upon: the one that the event was committed in.

An aggregate's version, and the id of a work stream's entry, are the position of the event that led there; its envelope
tells the trace. Only who traces asks: a round trip of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared import logs
from shared.eventlog.envelope import from_pairs
from shared.eventlog.position import Position
from shared.faults import is_broken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shared.eventlog.log import EventLog

PATIENCE_S = 2.0  # a trace that breaks off is better than a run that waits


class Trails:
    """Finds the traces of events.

    Args:
        log: where nearly all of them still are.
        archived: the `trace` of an event by partition and position, for those that were trimmed or healed; '' if the
            archive hasn't this event.
    """

    def __init__(self, log: EventLog, archived: Callable[[int, Position], Awaitable[str]]) -> None:
        self._log = log
        self._archived = archived
        self._words = logs.get("daybook.traces")

    async def after(self, partition: int, position: str) -> str:
        """The traceparent that goes on after the event at `position`; '' if there is none to be found."""
        if not position:  # of what has left Redis
            return ""
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._found(partition, Position.parse(position))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a trace, the work goes on
            if not is_broken(error):
                self._words.warning(
                    "trace not found", partition=partition, position=position, error=repr(error)
                )
            return ""

    async def _found(self, partition: int, position: Position) -> str:
        # Not through the client's pool: a timer asks for hundreds at once, and each would take a connection.
        place = str(position)
        (rows,) = await self._log.wire.replies(("XRANGE", self._log.keys(partition).log, place, place))
        return from_pairs(partition, *rows[0]).trace if rows else await self._archived(partition, position)
