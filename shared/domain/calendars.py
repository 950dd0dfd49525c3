"""What the calendars that a job names exclude: looked at when the job is woken, as they are then.

```
 announced ─▶ its time comes ─▶ excluded by one of them?  yes: skipped, and which one said so   no: up to the policies
```
A name under which there is no calendar (any more) excludes nothing: who has deleted it wanted its days to be like
others. What runs tells which calendars let it pass.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from shared.domain.calendar import Calendar, ref_of
from shared.domain.commands import CreateJob, SuspendJob, UpdateJob
from shared.domain.exclude import Span, excluded_until
from shared.domain.refusals import UnknownCalendars
from shared.domain.schedule import Schedule
from shared.domain.weekdays import WEEKDAYS
from shared.domain.zones import zone_named

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from shared.domain.commands import JobCommand
    from shared.domain.job import Job

NAMES_MAX = 10  # of one job: each is read whenever something is decided about it


class Seen(NamedTuple):
    """A calendar as it was when it was looked at.

    Attributes:
        calendar: None: there is none of that name.
        place: `<partition>:<position>` of its last event; '' if there is none.
    """

    calendar: Calendar | None
    place: str


NONE: Mapping[str, Seen] = MappingProxyType({})


def named(job: Job | None, command: JobCommand) -> tuple[str, ...]:
    """Refs of the calendars that a decision about a job looks at: those it names, and those that it is to name."""
    names: tuple[str, ...] = ()
    if job is not None and not isinstance(command, SuspendJob):
        names = job.spec.schedule.exclude_calendars
    if isinstance(command, CreateJob | UpdateJob):
        names += command.spec.schedule.exclude_calendars
    whose = command if isinstance(command, CreateJob) else job
    if not names or whose is None:
        return ()
    return tuple(ref_of(whose.tenant, name) for name in dict.fromkeys(names))


def seen(others: Mapping[str, Calendar | None], places: Mapping[str, str]) -> Mapping[str, Seen]:
    """By name, what was seen under the refs that `named` gave."""
    if not others:
        return NONE
    return {
        ref.rpartition(":")[2]: Seen(calendar, places.get(ref, ""))
        for ref, calendar in others.items()
        if calendar is None or isinstance(calendar, Calendar)
    }


def refuse_unknown(schedule: Schedule, calendars: Mapping[str, Seen], before: Schedule | None = None) -> None:
    """A job may not begin to name what isn't there.

    Raises:
        UnknownCalendars: it does.
    """
    known = () if before is None else before.exclude_calendars
    missing = tuple(
        (index, name)
        for index, name in enumerate(schedule.exclude_calendars)
        if name not in known and _there(calendars.get(name)) is None
    )
    if missing:
        raise UnknownCalendars(missing)


class Excluding:
    """What the calendars of one schedule exclude, each date asked for once; `excluding` makes it.

    Attributes:
        passed: those that are looked at, as `by` tells them; of one that isn't there `<name>@none`.

    Args:
        schedule: that names them, and has the zone of those that have none.
        calendars: as they were seen; one that is missing here excludes nothing.
    """

    def __init__(self, schedule: Schedule, calendars: Mapping[str, Seen]) -> None:
        self._timezone = schedule.timezone
        self._named = [
            (name, calendars.get(name, Seen(None, ""))) for name in dict.fromkeys(schedule.exclude_calendars)
        ]
        self._asked: dict[tuple[str, date], bool] = {}
        self.passed = tuple(
            f"{name}@{held.place if _there(held) is not None else 'none'}" for name, held in self._named
        )

    def by(self, at: datetime) -> str | None:
        """The first calendar that excludes the instant, `<name>@<place>`; None: none does."""
        for name, held in self._named:
            if (calendar := _there(held)) is None:
                continue
            day = at.astimezone(_zone(calendar, self._timezone)).date()
            is_excluded = self._asked.get((name, day))
            if is_excluded is None:
                is_excluded = self._asked[name, day] = _has(calendar, day)
            if is_excluded:
                return f"{name}@{held.place}"
        return None

    def until(self, at: datetime) -> datetime:
        """The end of what one of the calendars excludes, with `at`, which one does: there another may go on."""
        there = [calendar for _, held in self._named if (calendar := _there(held)) is not None]
        return max(end for each in there if (end := until(each, at, self._timezone)) is not None)


_NOTHING = Excluding(Schedule(), NONE)


def excluding(schedule: Schedule, calendars: Mapping[str, Seen]) -> Excluding:
    """What is excluded from a schedule; nearly all name no calendar, and share one answer."""
    return Excluding(schedule, calendars) if schedule.exclude_calendars else _NOTHING


def until(calendar: Calendar, at: datetime, timezone: str) -> datetime | None:
    """None if a calendar doesn't exclude the instant; else a later one up to which it excludes all.

    Args:
        calendar: as it stands.
        at: the instant.
        timezone: of the job, for a calendar that has none.
    """
    if calendar.deleted:
        return None
    zone = _zone(calendar, timezone)
    end: datetime | None = None
    while _has(calendar, day := (end or at).astimezone(zone).date()):
        span = max((each for each in calendar.dates if each.from_ <= day <= each.to), key=_to, default=None)
        days = Span(from_=day, to=day if span is None else span.to)
        end = excluded_until((days,), zone, end or at)
        assert end is not None  # noqa: S101 - the day is among the days
    return end


def _there(held: Seen | None) -> Calendar | None:
    return None if held is None or held.calendar is None or held.calendar.deleted else held.calendar


def _zone(calendar: Calendar, timezone: str) -> ZoneInfo:
    return zone_named(calendar.timezone or timezone)


def _has(calendar: Calendar, day: date) -> bool:
    if WEEKDAYS[day.weekday()] in calendar.weekdays:
        return True
    return any(span.from_ <= day <= span.to for span in calendar.dates)


def _to(span: Span) -> date:
    return span.to
