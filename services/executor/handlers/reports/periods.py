"""Which time a report is about: `date_range` of its job, as instants, by the clocks of the job's zone.

A day begins at its first instant: at midnight, or when clocks are put forward at midnight, at the end of what they
leave out. All is counted from the run's nominal time, so a second attempt, or one that is late, is about the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from shared.domain.zones import zone_named

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from shared.job_types.report_generation import DateRange, Named

DAY = timedelta(days=1)
_LAST_DAYS: dict[Named, int] = {"last_7_days": 7, "last_30_days": 30, "last_90_days": 90}


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A span of time: what is from `start` on and before `end`.

    Attributes:
        start: aware, in the job's zone; None: since ever.
        end: likewise; None: for ever.
        timezone: name of the zone.
        name: what the job called it; "" if it gave dates.
    """

    start: datetime | None
    end: datetime | None
    timezone: str
    name: str = ""

    @property
    def first_day(self) -> date | None:
        """The day that `start` lies in, by the zone's clocks."""
        return None if self.start is None else self.start.date()

    @property
    def last_day(self) -> date | None:
        """The day of the last instant before `end`."""
        if self.end is None:
            return None
        zone = self.end.tzinfo
        return (self.end.astimezone(UTC) - timedelta(microseconds=1)).astimezone(zone).date()

    @property
    def zone(self) -> ZoneInfo:
        """Whose clocks they are."""
        return zone_named(self.timezone)

    @property
    def months(self) -> bool:
        """Whether it lasts long enough to be told in months."""
        return self.start is None or self.end is None or self.end - self.start > 92 * DAY

    def as_json(self) -> dict[str, str | None]:
        """{"from", "to", "timezone"}: ISO 8601 with offset, `to` itself not included; null where it is open."""
        return {
            "from": None if self.start is None else self.start.isoformat(),
            "to": None if self.end is None else self.end.isoformat(),
            "timezone": self.timezone,
        }

    def words(self) -> str:
        """For people."""
        if self.start is None or self.end is None:
            return f"all there is ({self.timezone})"
        if self.start.time() != time() or self.end.time() != time():
            return f"{self.start:%Y-%m-%d %H:%M} to {self.end:%Y-%m-%d %H:%M} ({self.timezone})"
        if self.first_day == self.last_day:
            return f"{self.first_day} ({self.timezone})"
        return f"{self.first_day} to {self.last_day} ({self.timezone})"


def resolve(wanted: DateRange, scheduled_for: datetime, timezone: str) -> Period:
    """The period that `wanted` means for a run of this nominal time.

    Args:
        wanted: a name, or dates of which both belong to it.
        scheduled_for: aware.
        timezone: IANA name of the job's zone.
    """
    zone = zone_named(timezone)
    if not isinstance(wanted, str):
        first, last = date.fromisoformat(wanted.from_), date.fromisoformat(wanted.to)
        return Period(start=_begin(first, zone), end=_begin(last + DAY, zone), timezone=timezone)
    start, end = _named(wanted, scheduled_for.astimezone(zone), zone)
    return Period(start=start, end=end, timezone=timezone, name=wanted)


def days_of(period: Period) -> list[tuple[date, datetime]]:
    """Each day of a closed period, and the first instant of it that is in the period."""
    assert period.start is not None  # noqa: S101 - the caller's promise
    assert period.first_day is not None  # noqa: S101 - follows
    assert period.last_day is not None  # noqa: S101 - likewise
    days = [(period.first_day, period.start)]
    while (day := days[-1][0] + DAY) <= period.last_day:
        days.append((day, _begin(day, period.zone)))
    return days


def _named(name: Named, now: datetime, zone: ZoneInfo) -> tuple[datetime | None, datetime | None]:
    today = now.date()
    match name:
        case "all":
            return None, None
        case "last_24_hours":
            return (now.astimezone(UTC) - DAY).astimezone(zone), now
        case "last_7_days" | "last_30_days" | "last_90_days":
            return _begin(today - _LAST_DAYS[name] * DAY, zone), _begin(today, zone)
        case "today":
            return _begin(today, zone), now
        case "yesterday":
            return _begin(today - DAY, zone), _begin(today, zone)
    unit, this = _unit(name, today)
    if name.startswith("this_"):
        return _begin(this, zone), now
    return _begin(_unit_begin(unit, this - DAY), zone), _begin(this, zone)


def _unit(name: Named, day: date) -> tuple[str, date]:
    unit = name.partition("_")[2]
    return unit, _unit_begin(unit, day)


def _unit_begin(unit: str, day: date) -> date:
    """The first day of the week (Monday), month, quarter or year that `day` lies in."""
    match unit:
        case "week":
            return day - day.weekday() * DAY
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=day.month - (day.month - 1) % 3, day=1)
        case _:
            return day.replace(month=1, day=1)


def _begin(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of `day`; through UTC, so that a midnight that the clocks leave out becomes one that is."""
    return datetime.combine(day, time(), zone).astimezone(UTC).astimezone(zone)
