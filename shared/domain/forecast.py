"""How much is to run, and when: occurrences of many jobs, counted in buckets of time.

Jobs of one schedule share one walk through it, however many they are. Nothing is known here of what will happen to an
occurrence: it counts as one run that takes as long as those before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from shared.domain import ids
from shared.domain.calendars import NONE, Excluding
from shared.domain.schedule import TICK, next_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from shared.domain.calendars import Seen
    from shared.domain.schedule import Schedule

COST_MAX = 60_000  # occurrences searched for, some 50 µs each
_SCHEDULE_COST = 5  # to read one
_TICK_COST = 0.1  # the next of an interval
_COUNTS_A_COST = 50  # of ticks or buckets of an interval, which are only added up
_NONE: Mapping[str | None, Mapping[str, Seen]] = MappingProxyType({})


class TooMuch(Exception):  # noqa: N818 - an answer to a client, like a refusal
    """More has to be looked for than one forecast may cost."""


class Alike(NamedTuple):
    """Jobs with the same occurrences to come.

    Attributes:
        next_for: the first undecided occurrence of each.
        left: how many runs `max_runs` leaves to each; None: any number.
        work_s: what an occurrence takes, of all of them together.
        tenant: whose calendars exclude some; None: none does.
    """

    schedule: Schedule
    next_for: datetime
    left: int | None
    jobs: int
    work_s: float
    tenant: str | None = None


class Forecast:
    """Counts of occurrences in [begin, end), by buckets of which the last may be shorter.

    Args:
        begin: aware.
        end: after that.
        bucket: at least a millisecond.
        calendars: by tenant and name, those that schedules name.

    Attributes:
        occurrences: in each bucket.
        work_s: what they take, in seconds.
    """

    def __init__(
        self,
        begin: datetime,
        end: datetime,
        bucket: timedelta,
        calendars: Mapping[str | None, Mapping[str, Seen]] = _NONE,
    ) -> None:
        self._calendars = calendars
        self._begin, self._end = ids.to_ms(begin), ids.to_ms(end)
        self._until = end
        self._bucket = ids.to_ms(begin + bucket) - self._begin
        self._cost = 0.0
        count = -(-(self._end - self._begin) // self._bucket)
        self.occurrences = [0] * count
        self.work_s = [0.0] * count

    def steps(self, groups: Iterable[Alike]) -> Iterator[None]:
        """Count these, a little at each step.

        Raises:
            TooMuch: it would cost more than COST_MAX.
            BadCron, UnknownZone: an expression or zone isn't known (any more).
        """
        walked: dict[tuple[Schedule, str | None], list[Alike]] = defaultdict(list)
        for group in groups:
            if (seconds := group.schedule.interval_seconds) is None:
                walked[group.schedule, group.tenant].append(group)
            elif group.schedule.exclude or group.schedule.exclude_calendars:  # its phase is its own
                anchor_at = group.next_for - timedelta(seconds=seconds)
                yield from self._walk(group.schedule, [group], anchor_at)
            else:
                self._tick(group, seconds)
                yield
        for (schedule, _), alike in walked.items():
            self._spend(_SCHEDULE_COST)
            yield from self._walk(schedule, alike, alike[0].next_for)

    def _walk(self, schedule: Schedule, alike: Sequence[Alike], anchor_at: datetime) -> Iterator[None]:
        """One walk over the occurrences of a schedule, for all jobs that have it."""
        # What max_runs leaves is counted from the next occurrence on, wherever the forecast begins.
        begins = [max(each.next_for, self._from(each)) for each in alike]
        excluding = Excluding(schedule, self._calendars.get(alike[0].tenant, NONE))
        found: list[datetime] = []
        at = next_after(schedule, min(begins) - TICK, anchor_at=anchor_at)
        while at is not None and at < self._until:
            self._spend(1 if schedule.expressions else _TICK_COST)
            if excluding.by(at) is None:
                found.append(at)
            at = next_after(schedule, at, anchor_at=anchor_at)
            yield
        for begin, each in zip(begins, alike, strict=True):
            first = bisect_left(found, begin)
            last = len(found) if each.left is None else min(len(found), first + each.left)
            self._spend((last - first) / _COUNTS_A_COST)
            for index in range(first, last):
                self._add(ids.to_ms(found[index]), each.jobs, each.work_s)
                yield

    def _from(self, group: Alike) -> datetime:
        return group.next_for if group.left is not None else ids.from_ms(self._begin)

    def _tick(self, group: Alike, seconds: int) -> None:
        """The occurrences of an interval: as many as fit, without looking for each."""
        step, first, end = seconds * 1000, ids.to_ms(group.next_for), self._end
        if group.schedule.end_at is not None:
            end = min(end, ids.to_ms(group.schedule.end_at) + 1)
        most = (1 << 62) if group.left is None else group.left

        def before(at: int) -> int:
            """How many of its occurrences lie before `at`."""
            return min(most, max(0, -((first - min(at, end)) // step)))

        if step >= self._bucket:
            ticks = range(before(self._begin), before(self._end))
            self._spend(len(ticks) / _COUNTS_A_COST)
            for number in ticks:
                self._add(first + number * step, group.jobs, group.work_s)
            return
        self._spend(len(self.occurrences) / _COUNTS_A_COST)
        passed = before(self._begin)
        for index in range(len(self.occurrences)):
            by = before(min(self._end, self._begin + (index + 1) * self._bucket))
            self._count(index, (by - passed) * group.jobs, (by - passed) * group.work_s)
            passed = by

    def _add(self, at: int, jobs: int, work_s: float) -> None:
        if at >= self._begin:
            self._count((at - self._begin) // self._bucket, jobs, work_s)

    def _count(self, index: int, jobs: int, work_s: float) -> None:
        self.occurrences[index] += jobs
        self.work_s[index] += work_s

    def _spend(self, cost: float) -> None:
        self._cost += cost
        if self._cost > COST_MAX:
            raise TooMuch
