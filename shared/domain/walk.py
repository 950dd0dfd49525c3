"""The way of one cron expression through one zone: its occurrences as instants, and what was done where clocks change.

croniter walks wall-clock time (`cron.py`); the way from there to instants is here. Put forward, a wall clock leaves
times of day out (a *gap*); put back, it shows some twice (an *overlap*). What becomes of an occurrence there is up to
the policy, which is by default: a fixed-time expression fires at the first valid instant after a gap, once however
many of its times were lost, and the first time in an overlap; an interval-like one doesn't fire in a gap, and twice
in an overlap. All rules go by UTC offsets alone, so negative DST, half hours and missing days are no special case.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Self

from shared.domain.cron import YEARS_SEARCHED, Cron, parse
from shared.domain.value import Value
from shared.domain.zones import SECOND, change_around, instant_at, offset_at, zone_named

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

WALKS_KEPT = 1_024  # of expression, zone and policy; with SPANS_KEPT at most 16 MB
SPANS_KEPT = 1_024  # occurrences remembered of each

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SEARCH_MAX = timedelta(days=366 * (YEARS_SEARCHED + 1))

Gap = Literal["auto", "next_valid", "skip"]
Overlap = Literal["auto", "first", "last", "both"]
ClockRule = Literal["gap_next_valid", "gap_skip", "overlap_first", "overlap_last"]


class DstPolicy(Value, frozen=True, kw_only=True):
    """What becomes of times of day that a clock leaves out (gap) or shows twice (overlap); `auto`: see above."""

    gap: Gap = "auto"
    overlap: Overlap = "auto"


class ClockNote(Value, frozen=True, kw_only=True):
    """What was done about an occurrence where clocks change.

    Attributes:
        rule: `gap_next_valid`: moved to the end of the gap. `gap_skip`: dropped, as are all others in the same gap.
            `overlap_first`: the second time was dropped. `overlap_last`: the first time.
        local_time: what the expression names, `2026-03-29T02:30:00`; of several in one gap or overlap the first.
        at: the instant of the change, or of what was dropped.
    """

    rule: ClockRule
    local_time: str
    at: datetime


class Found(NamedTuple):
    """What a search found: the occurrence, and what was done on the way to it."""

    at: datetime | None
    notes: tuple[ClockNote, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rules:
    """A policy, decided: whether what falls into a gap is moved, and which passes of an overlap count."""

    moves: bool
    first: bool
    last: bool

    @classmethod
    def of(cls, policy: DstPolicy, *, fixed_time: bool) -> Self:
        moves = fixed_time if policy.gap == "auto" else policy.gap == "next_valid"
        passes = ("first" if fixed_time else "both") if policy.overlap == "auto" else policy.overlap
        return cls(moves=moves, first=passes != "last", last=passes != "first")


class Walk:
    """The way, and what is remembered of it.

    Every `after` in [previous, next) has the same next. So it is spans that are remembered, not arguments,
    and jobs made at different instants share one search for each occurrence.
    """

    searches: ClassVar[int] = 0

    def __init__(self, cron: Cron, zone: ZoneInfo, policy: DstPolicy | None = None) -> None:
        self._cron = cron
        self._zone = zone
        self._rules = _Rules.of(policy or DstPolicy(), fixed_time=cron.fixed_time)
        self._spans = array("q")  # start, next, start, next, …: ascending seconds since 1970
        self._notes: dict[int, tuple[ClockNote, ...]] = {}  # by the `next` that they were made on the way to
        self._lock = (
            Lock()
        )  # what is remembered, and the croniters inside `cron`, are for one thread at a time

    @classmethod
    def of(cls, expression: str, timezone: str, policy: DstPolicy | None = None) -> Self:
        """A way about which nothing is known yet.

        Raises:
            BadCron, UnknownZone: expression or zone isn't known.
        """
        return cls(parse(expression), zone_named(timezone), policy)

    def next_after(self, after: datetime) -> datetime | None:
        """The first occurrence strictly after `after`, searched for only if no known span holds `after`."""
        return self._next(after).at

    def notes(self, after: datetime, until: datetime) -> tuple[ClockNote, ...]:
        """What was done on the way from `after` to the next occurrence, as far as `until`."""
        return tuple(note for note in self._next(after).notes if after < note.at <= until)

    def _next(self, after: datetime) -> Found:
        second = (after - _EPOCH) // SECOND  # occurrences fall on whole seconds
        with self._lock:
            place = bisect_right(self._spans, second)
            if place % 2 == 0:  # it lies behind a `next`, before a `start`
                Walk.searches += 1
                found = self.search(after)
                if found.at is not None:  # what is older than all that is kept is forgotten at once
                    self._remember(place, second, (found.at - _EPOCH) // SECOND, found.notes)
                return found
            end = self._spans[place]
            return Found(_EPOCH + end * SECOND, self._notes.get(end, ()))

    def _remember(self, place: int, start: int, end: int, notes: tuple[ClockNote, ...]) -> None:
        if notes:
            self._notes[end] = notes  # what began earlier has seen all that a later one has
        if place < len(self._spans) and self._spans[place + 1] == end:
            self._spans[place] = start  # the span after it began earlier than was known
            return
        self._spans[place:place] = array("q", (start, end))
        if len(self._spans) > 2 * SPANS_KEPT:
            self._notes.pop(self._spans[1], None)
            del self._spans[:2]

    def search(self, after: datetime) -> Found:
        """The first occurrence strictly after `after`; `at` is None if the next eight years have none."""
        local = after.astimezone(self._zone)
        wall = local.replace(tzinfo=None, fold=0, microsecond=0)
        overlap = change_around(self._zone, wall)
        notes: list[ClockNote] = []
        if overlap is None:
            return self._first_after(wall, notes)
        if local.fold == 0:
            if found := self._matched(wall, overlap.wall_before):
                if self._rules.first:
                    return Found(instant_at(found, overlap.before))
                notes.append(_note("overlap_last", found, overlap.before))
            wall = overlap.wall_after - SECOND
        if found := self._matched(wall, overlap.wall_before):
            if self._rules.last:
                return Found(instant_at(found, overlap.after), tuple(notes))
            notes.append(_note("overlap_first", found, overlap.after))
        return self._first_after(overlap.wall_before - SECOND, notes)

    def _matched(self, wall: datetime, end: datetime) -> datetime | None:
        """The first matching wall-clock time in (wall, end)."""
        found = self._cron.next_wall(wall)
        return found if found is not None and found < end else None

    def _first_after(self, wall: datetime, notes: list[ClockNote]) -> Found:
        """The first occurrence at a wall-clock time later than `wall`, which is in no overlap."""
        limit = wall + _SEARCH_MAX
        while (found := self._cron.next_wall(wall)) is not None and found < limit:
            change = change_around(self._zone, found)
            if change is None:
                return Found(instant_at(found, offset_at(self._zone, found, fold=0)), tuple(notes))
            if not change.is_gap:
                if self._rules.first:
                    return Found(instant_at(found, change.before), tuple(notes))
                first = _note("overlap_last", found, change.before)
                return Found(instant_at(found, change.after), (*notes, first))
            rule: ClockRule = "gap_next_valid" if self._rules.moves else "gap_skip"
            notes.append(ClockNote(rule=rule, local_time=found.isoformat(), at=change.at))
            if self._rules.moves:
                return Found(change.at, tuple(notes))
            wall = change.wall_after - SECOND
        return Found(None)


def _note(rule: ClockRule, wall: datetime, offset: timedelta) -> ClockNote:
    return ClockNote(rule=rule, local_time=wall.isoformat(), at=instant_at(wall, offset))


@lru_cache(maxsize=WALKS_KEPT)
def walk_of(expression: str, timezone: str, policy: DstPolicy | None) -> Walk:
    """The one that all jobs of this process share.

    Raises:
        BadCron, UnknownZone: expression or zone isn't known (any more).
    """
    return Walk.of(expression, timezone, policy)
