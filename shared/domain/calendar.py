"""The calendar: days on which jobs don't run, kept once under a name for all jobs of a tenant that name it.

```
 change ─▶ there ── delete ─▶ deleted ── change ─▶ there
```
It applies at the wake of a job (`calendars`): nothing is announced anew when it changes. A deleted one stays, empty:
its revision counts on, so that no edit that was made up from it fits what is made under its name later.
"""

from __future__ import annotations

import hashlib
from datetime import datetime  # noqa: TC003 - the codec reads these annotations
from typing import TYPE_CHECKING

from shared.domain.commands import CalendarCommand, ChangeCalendar, DeleteCalendar
from shared.domain.events import CalendarChanged, CalendarDeleted, Change, Decision
from shared.domain.exclude import Span  # noqa: TC001 - likewise
from shared.domain.refusals import NoSuchCalendar, StaleRevision
from shared.domain.value import Value
from shared.domain.weekdays import Weekday  # noqa: TC001 - likewise

if TYPE_CHECKING:
    from shared.domain.commands import CalendarContent

NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"  # in paths: neither . nor ..
DATES_MAX = 1_000  # and ranges: with a tenant's name, some 50 KB of an event
STALE = (
    "The calendar was made, changed or deleted meanwhile: read it again, look at what changed, and send its new ETag "
    "in If-Match."
)
_HEX = 16


class Calendar(Value, frozen=True, kw_only=True):
    """The fold of a calendar's events.

    Attributes:
        revision: counts changes and deletions.
        dates: days that are excluded, as dates in `timezone`.
        weekdays: that are excluded every week.
        timezone: None: that of the job.
        by: whoever changed it last.
        deleted: whether it is there no more.
    """

    name: str
    tenant: str
    revision: int
    description: str
    dates: tuple[Span, ...]
    weekdays: tuple[Weekday, ...]
    timezone: str | None
    created_at: datetime
    updated_at: datetime
    by: str
    deleted: bool = False

    @property
    def over(self) -> bool:
        """Whether its snapshot may leave Redis: never, as its name may be taken up again."""
        return False


def ref_of(tenant: str, name: str) -> str:
    """Where a tenant's calendar of a name is found; neither of the two has a colon."""
    return f"calendar:{tenant}:{name}"


def partition_of(identifier: str, partitions: int) -> int:
    """Where it stands: nothing but its name is known when it is read."""
    return int(hashlib.sha256(identifier.encode()).hexdigest()[:8], _HEX) % partitions


def decide(calendar: Calendar | None, command: CalendarCommand, now: datetime) -> Decision:
    """The events that `command` leads to at `now`.

    Raises:
        Refused: the command doesn't fit; nothing is to be written.
    """
    there = None if calendar is None or calendar.deleted else calendar
    _refuse_stale(there, command)
    match command:
        case ChangeCalendar(content=content) if there is not None and _has(there, content):
            return Decision()
        case ChangeCalendar():
            return _decided(_changed(calendar, command, now))
        case DeleteCalendar() if there is None:
            raise NoSuchCalendar
        case DeleteCalendar(by=by):
            return _decided(
                CalendarDeleted(
                    name=there.name,
                    tenant=there.tenant,
                    revision=there.revision + 1,
                    by=by,
                    created_at=there.created_at,
                    deleted_at=now,
                )
            )


def evolve(calendar: Calendar | None, change: Change) -> Calendar:
    """The calendar after an event of it, which each tell all of it.

    Raises:
        ValueError: its first event is none of a calendar.
    """
    match change.event:
        case CalendarChanged() as event:
            told = {name: getattr(event, name) for name in event.__struct_fields__ if name != "changed_at"}
            return Calendar(**told, updated_at=event.changed_at)
        case CalendarDeleted() as event:
            return Calendar(
                name=event.name,
                tenant=event.tenant,
                revision=event.revision,
                description="",
                dates=(),
                weekdays=(),
                timezone=None,
                created_at=event.created_at,
                updated_at=event.deleted_at,
                by=event.by,
                deleted=True,
            )
        case _ if calendar is not None:
            return calendar
        case _:
            raise ValueError(f"{change.subject} has an event before its CalendarChanged")


def _changed(calendar: Calendar | None, command: ChangeCalendar, now: datetime) -> CalendarChanged:
    content = command.content
    return CalendarChanged(
        name=command.name,
        tenant=command.tenant,
        revision=1 if calendar is None else calendar.revision + 1,
        description=content.description,
        dates=content.dates,
        weekdays=content.weekdays,
        timezone=content.timezone,
        by=command.by,
        created_at=now if calendar is None or calendar.deleted else calendar.created_at,
        changed_at=now,
    )


def _refuse_stale(there: Calendar | None, command: CalendarCommand) -> None:
    """What was made up from a revision is for that one only, and that there is none may be wished for too."""
    revision = None if there is None else there.revision
    if command.if_there is not None and command.if_there is not (revision is not None):
        raise StaleRevision(STALE, current=None if revision is None else str(revision))
    if command.if_revision is not None and revision not in command.if_revision:
        raise StaleRevision(STALE, current=None if revision is None else str(revision))


def _has(calendar: Calendar, content: CalendarContent) -> bool:
    return all(getattr(calendar, name) == getattr(content, name) for name in content.__struct_fields__)


def _decided(event: CalendarChanged | CalendarDeleted) -> Decision:
    return Decision(changes=(Change(subject=ref_of(event.tenant, event.name), event=event),))
