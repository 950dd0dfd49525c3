"""Which events somebody wants, and which of them they may see: asked of the archive and of what comes live."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from quart import request

from services.api import door
from services.api.principal import present, wall
from services.api.problems import Fault, invalid
from shared.domain import events, ids
from shared.domain.roles import SUBJECT, allows
from shared.eventlog.envelope import event_type

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from shared.eventlog.envelope import Recorded

CHOICE = ("type", "job_id", "execution_id", "actor")
TIMES = ("time[gte]", "time[gt]", "time[lte]", "time[lt]")
REPEATABLE = frozenset({"type"})
ORDERS = ("-time", "time")  # newest first, unless asked
LIST = (*CHOICE, *TIMES, "after", "before", "sort", "cursor", "limit")
BEGIN = ("after", "last_event_id")  # where a stream is to begin; the header of that name goes before them
STREAM = (*CHOICE, *BEGIN)
STREAM_OF_JOB = tuple(name for name in STREAM if name != "job_id")
STREAMED = "text/event-stream"
_KEY = "apikey/"
_NAMES = {
    told: event.__name__ for event in events.ALL for told in (event.__name__, event_type(event.__name__))
}
TYPES = tuple(event_type(event.__name__) for event in events.ALL)
_BULK = frozenset(  # as in the index events_rare
    {"RunRequested", "RunQueued", "RunStarted", "RunSucceeded", "RunOutput", "OccurrencesSkipped"}
)
_ROLES = frozenset({"timer", "executor"})  # as in the index events_of_actor
_MS = timedelta(milliseconds=1)


class Sight(NamedTuple):
    """What somebody may see.

    Attributes:
        tenant: events of its jobs, their runs and its calendars; None: all events, those of the log itself too.
        keys: those of its API keys too.
    """

    tenant: str | None
    keys: bool

    def covers(self, event: Recorded, tenant: str | None) -> bool:
        """Whether an event may be seen; `tenant` is whose it is, None for nobody's."""
        if self.tenant is None:
            return True
        return tenant == self.tenant and (self.keys or not event.subject.startswith(_KEY))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events are wanted; None: any.

    Attributes:
        types: names of the domain, `JobCreated`.
        job_id: whose story they belong to, the job's own and its runs'.
        run_id: that they are about.
        actor: who was behind them.
        sight: who asks. It is found out once, as a stream outlives its request's context.
    """

    types: frozenset[str] | None = None
    job_id: str | None = None
    run_id: str | None = None
    actor: str | None = None
    sight: Sight

    @property
    def subject(self) -> str | None:
        """What they are about, if that is one thing."""
        return None if self.run_id is None else f"run/{self.run_id}"

    @property
    def partition(self) -> int | None:
        """Where they all are, if that is one partition."""
        one = self.job_id or self.run_id
        return None if one is None else ids.partition_of(one)

    @property
    def reach(self) -> str:
        """The condition that an index of the archive fits."""
        if self.run_id is not None:
            return "subject = $7"
        if self.job_id is not None:
            return "about = $6"
        if self.actor is not None and self.actor not in _ROLES:
            return "actor = $5 and actor not in ('timer', 'executor')"
        if self.types is not None and not self.types & _BULK:
            return f"type not in ({_listed(_BULK)})"
        return "true"

    def fits(self, event: Recorded, tenant: str | None) -> bool:
        """Whether this event is wanted, and may be seen."""
        return (
            (self.job_id is None or event.job == self.job_id or event.subject == f"job/{self.job_id}")
            and (self.run_id is None or event.subject == self.subject)
            and (self.types is None or event.type in self.types)
            and (self.actor is None or event.actor == self.actor)
            and self.sight.covers(event, tenant)
        )


def filter_of(given: Mapping[str, str], *, partitions: int, job_id: str | None = None) -> EventFilter:
    """The filter in the query of the present request; `job_id` is that of the path.

    Raises:
        Problem: 422.
    """
    return EventFilter(
        types=_types(request.args.getlist("type")),
        job_id=job_id or door.id_in(given, "job_id", partitions=partitions),
        run_id=door.id_in(given, "execution_id", partitions=partitions),
        actor=_actor(given.get("actor")),
        sight=Sight(wall(), allows(present().role, "admin")),
    )


def times_of(given: Mapping[str, str]) -> tuple[datetime | None, datetime | None]:
    """From when (inclusive) to when (exclusive) the query asks, in whole milliseconds; None: without a bound.

    Raises:
        Problem: 422.
    """
    at = {name: door.moment(given, name) for name in TIMES}
    since = [_whole_ms(at["time[gte]"], later=False), _whole_ms(at["time[gt]"], later=True)]
    until = [_whole_ms(at["time[lt]"], later=False), _whole_ms(at["time[lte]"], later=True)]
    return (
        max((each for each in since if each is not None), default=None),
        min((each for each in until if each is not None), default=None),
    )


def _whole_ms(at: datetime | None, *, later: bool) -> datetime | None:
    """The first whole millisecond that isn't before `at`, or with `later` is after it: commits are told in these."""
    if at is None:
        return None
    floor = at.replace(microsecond=at.microsecond // 1000 * 1000)
    try:
        return floor + _MS if later or floor < at else floor
    except OverflowError:  # the last millisecond of time
        return at


def _types(given: list[str]) -> frozenset[str] | None:
    unknown = [each for each in given if each not in _NAMES]
    if unknown:
        raise invalid(Fault(pointer="?type", detail=f"is one of {', '.join(TYPES)}"))
    return frozenset(_NAMES[each] for each in given) or None


def _actor(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(SUBJECT, text):
        raise invalid(Fault(pointer="?actor", detail="is 1 to 200 visible characters of ASCII"))
    return text


def _listed(names: frozenset[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))
