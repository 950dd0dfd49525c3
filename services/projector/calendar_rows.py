"""The ledger of calendars. Each event of one tells all of it, so a row needs nothing that was before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from shared.domain import calendar
from shared.eventlog.envelope import json_text

if TYPE_CHECKING:
    from shared.domain.calendar import Calendar
    from shared.domain.events import Change
    from shared.eventlog.envelope import Recorded
    from shared.eventlog.position import Position


class CalendarRow(NamedTuple):
    """A calendar after the last event that was folded in, and the position of that."""

    state: Calendar
    position: Position


def fold(recorded: Recorded, change: Change) -> CalendarRow:
    """The row after an event of a calendar."""
    return CalendarRow(calendar.evolve(None, change), recorded.position)


def stored(state: Calendar, position: Position, partition: int) -> tuple[Any, ...]:
    """The row of `ledger.calendars`, in the order of its columns."""
    return (
        state.tenant,
        state.name,
        partition,
        state.revision,
        state.description,
        json_text(state.dates),
        json_text(state.weekdays),
        state.timezone,
        state.created_at,
        state.updated_at,
        state.by,
        state.deleted,
        *position,
    )
