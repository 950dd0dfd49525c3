"""Findings: what was found, as a code and as a sentence, with the events that it is told from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.domain import ids
from shared.domain.zones import UnknownZone, zone_named

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.api.explaining.codes import Code
    from shared.eventlog.envelope import Recorded

IN_LINE = 300  # characters; the whole of it stands in the event


class Finding(NamedTuple):
    """One thing that was found.

    Attributes:
        sentence: for people, without a capital or a full stop: several are put side by side.
        at: when it was so.
        events: that it is told from, in order; none where what is told stands in no event (any more).
        details: what the sentence says, for programs.
    """

    code: Code
    sentence: str
    at: datetime
    events: tuple[Recorded, ...] = ()
    details: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it


def of_event(recorded: Recorded, code: Code, sentence: str, **details: Any) -> Finding:
    """A finding that one event tells, when it was committed."""
    return Finding(code, sentence, at_of(recorded), (recorded,), details)


class Explanation(NamedTuple):
    """What was found of one question, in the order in which it happened; `summary` is one sentence."""

    summary: str
    findings: list[Finding]
    timezone: str


class Words:
    """Times as sentences have them: in a job's zone, with the date where it is another day's.

    Args:
        timezone: of the job; one that isn't known (any more) stands for UTC.
        near: whose day is the one that needs no date.
    """

    def __init__(self, timezone: str, near: datetime) -> None:
        self.timezone = timezone
        try:
            self._zone = zone_named(timezone)
        except UnknownZone:
            self.timezone, self._zone = "UTC", zone_named("UTC")
        self._day = near.astimezone(self._zone).date()

    def local(self, at: datetime) -> str:
        """Its wall-clock time with the offset: ISO 8601."""
        local = at.astimezone(self._zone)
        return local.isoformat(timespec="milliseconds" if local.microsecond else "seconds")

    def brief(self, at: datetime) -> str:
        """`03:00:00.012`, with the date if it is another day's."""
        local = at.astimezone(self._zone)
        clock = _clock(local)
        return clock if local.date() == self._day else f"{local.date()} {clock}"

    def whole(self, at: datetime) -> str:
        """`2026-03-29 03:00 Europe/Berlin (01:00 UTC)`."""
        local, universal = at.astimezone(self._zone), at.astimezone(UTC)
        if self.timezone == "UTC":
            return f"{local.date()} {_clock(local)} UTC"
        day = "" if local.date() == universal.date() else f"{universal.date()} "
        return f"{local.date()} {_clock(local)} {self.timezone} ({day}{_clock(universal)} UTC)"


def at_of(recorded: Recorded) -> datetime:
    """When an event was committed."""
    return ids.from_ms(recorded.at)


def sentence_of(parts: Iterable[str]) -> str:
    """The parts as one sentence."""
    text = "; ".join(part for part in parts if part)
    return text[:1].upper() + text[1:] + "."


def quoted(reason: str) -> str:
    """A reason that somebody gave, as the end of a phrase; nothing if there was none."""
    return f' "{in_line(reason)}"' if reason else ""


def in_line(text: str) -> str:
    """What somebody or something wrote, as a part of a sentence: on one line, and no longer than that bears."""
    line = " ".join(text.split())
    return line if len(line) <= IN_LINE else f"{line[: IN_LINE - 1]}…"


def counted(count: int, noun: str) -> str:
    """`1 run`, `14 runs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def lasting(seconds: float) -> str:
    """`0.4 s`, `72 s`, `1 h 12 min`."""
    minute, hour, day = 60, 3600, 86_400
    if seconds < 10:  # noqa: PLR2004 - where tenths matter
        return f"{seconds:.3g} s"
    if seconds < 2 * minute:
        return f"{seconds:.0f} s"
    if seconds < hour:
        return f"{seconds / minute:.0f} min"
    if seconds < day:
        return f"{seconds // hour:.0f} h {seconds % hour // minute:.0f} min"
    return f"{seconds // day:.0f} d {seconds % day // hour:.0f} h"


def _clock(at: datetime) -> str:
    if at.microsecond:
        return at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}"
    return at.strftime("%H:%M:%S" if at.second else "%H:%M")
