"""The kinds of aggregates: what the log, its recovery and its audit must know of each, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.domain import apikey, backfill, backfilling, calendar, calendars, deciding, ids, job, relay, run
from shared.domain.apikey import ApiKey
from shared.domain.backfill import Backfill
from shared.domain.calendar import Calendar
from shared.domain.events import (
    ApiKeyIssued,
    ApiKeyRevoked,
    BackfillAdvanced,
    BackfillCancelled,
    BackfillCompleted,
    BackfillRequested,
    CalendarChanged,
    CalendarDeleted,
    ChainRequested,
    ChainTriggered,
)
from shared.domain.job import Job
from shared.domain.refusals import NoSuchApiKey, NoSuchBackfill, NoSuchCalendar, NoSuchJob, NoSuchRun
from shared.domain.relay import Relay
from shared.domain.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from shared.domain.events import Change, Decision, Event
    from shared.domain.refusals import Refused

_HOUR_MS = 3600 * 1000
_DAY_MS = 24 * _HOUR_MS


Aggregate = (
    Job | Run | Backfill | ApiKey | Calendar | Relay
)  # each tells by `over` that its snapshot may leave Redis


def _of_its_id(identifier: str, partitions: int) -> int:
    """Where an aggregate stands whose id routes itself.

    Raises:
        ids.BadId: the id names a partition that there isn't.
    """
    partition = ids.partition_of(identifier)
    if partition >= partitions:
        raise ids.BadId(f"{identifier} names partition {partition}; there are {partitions}")
    return partition


class Seen(NamedTuple):
    """What a decision goes by beside the aggregate's own state.

    Attributes:
        fence: of a run, that of its latest start.
        others: ref → state of the aggregates that `Kind.reads` named, as they were a moment ago; None: there is none.
            Nothing guards them: a decision must be right also if they have changed since, and says what it saw.
        places: ref → `<partition>:<position>` of the last event of each of those; '' if there is none.
    """

    fence: str
    others: Mapping[str, Any]
    places: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind.

    Attributes:
        name: what its refs begin with, `job` of `job:<id>`.
        state: the class of its fold.
        shape: of that, as snapshots carry it: raised with each change of the class.
        decide: (state or None, command, now, what else it goes by) → events.
        reads: (state or None, command) → refs of others that `decide` must see.
        evolve: (state or None, change) → state.
        due_at: when its state is to be woken, for all but runs, whose lease nobody here knows.
        kept_ms: how long its snapshot stays once it is `over`.
        unknown: the refusal of what isn't there, or is another tenant's.
        partition_of: (id, number of partitions) → where it stands.
        has_spec: whether its specification stands apart from the rest in Redis.
        events: those that it is the subject of; what rebuilds it from the archive reads no others. Jobs and runs, which
            are found by their rows, name none.
    """

    name: str
    state: type[Any]
    shape: int
    decide: Callable[[Any, Any, datetime, Seen], Decision]
    reads: Callable[[Any, Any], tuple[str, ...]] = lambda *_: ()
    evolve: Callable[[Any, Change], Any]
    due_at: Callable[[Any], datetime | None] = lambda _: None
    kept_ms: int
    unknown: type[Refused]
    partition_of: Callable[[str, int], int] = _of_its_id
    has_spec: bool = False
    events: tuple[type[Event], ...] = ()


JOB = Kind(
    name="job",
    state=Job,
    shape=5,
    decide=lambda state, command, now, seen: deciding.decide(
        state, command, now, calendars=calendars.seen(seen.others, seen.places)
    ),
    reads=calendars.named,
    evolve=job.evolve,
    due_at=lambda state: state.due_at,
    kept_ms=_DAY_MS,
    unknown=NoSuchJob,
    has_spec=True,
)
RUN = Kind(
    name="run",
    state=Run,
    shape=3,
    decide=lambda state, command, now, seen: run.decide(state, command, now, fence=seen.fence),
    evolve=run.evolve,
    kept_ms=60_000,  # long enough for a late reporter to be told what became of it
    unknown=NoSuchRun,
    has_spec=True,
)
BACKFILL = Kind(
    name="backfill",
    state=Backfill,
    shape=1,
    decide=lambda state, command, now, _: backfilling.decide(state, command, now),
    evolve=backfill.evolve,
    due_at=lambda state: state.due_at,
    kept_ms=_HOUR_MS,
    unknown=NoSuchBackfill,
    has_spec=True,
    events=(BackfillRequested, BackfillAdvanced, BackfillCompleted, BackfillCancelled),
)
API_KEY = Kind(
    name="apikey",
    state=ApiKey,
    shape=1,
    decide=lambda state, command, now, _: apikey.decide(state, command, now),
    evolve=apikey.evolve,
    kept_ms=_DAY_MS,  # what isn't there opens nothing either
    unknown=NoSuchApiKey,
    partition_of=apikey.partition_of,
    events=(ApiKeyIssued, ApiKeyRevoked),
)
CALENDAR = Kind(
    name="calendar",
    state=Calendar,
    shape=1,
    decide=lambda state, command, now, _: calendar.decide(state, command, now),
    evolve=calendar.evolve,
    kept_ms=_DAY_MS,
    unknown=NoSuchCalendar,
    partition_of=calendar.partition_of,
    events=(CalendarChanged, CalendarDeleted),
)

RELAY = Kind(
    name="relay",
    state=Relay,
    shape=1,
    decide=lambda state, command, *_: relay.decide(state, command),
    evolve=relay.evolve,
    due_at=lambda state: state.due_at,
    kept_ms=60_000,
    unknown=NoSuchRun,
    events=(ChainRequested, ChainTriggered),
)

ALL = (JOB, RUN, BACKFILL, API_KEY, CALENDAR, RELAY)
BESIDE = tuple(kind for kind in ALL if kind.events)  # neither jobs nor runs
_BY_NAME = {kind.name: kind for kind in ALL}
_BY_STATE = {kind.state: kind for kind in ALL}


def of_ref(ref: str) -> Kind:
    """The kind of `job:<id>`, `run:<id>` and all others."""
    return _BY_NAME[ref.partition(":")[0]]


def of_state(state: object) -> Kind:
    """The kind whose state this is."""
    return _BY_STATE[type(state)]
