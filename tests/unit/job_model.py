"""A job and its runs as DESIGN §6 tells them, written from its sentences: the judge of the domain's decisions.

It shares no code with the domain. Occurrences come from the oracle, which looks at the clock minute by minute; a
decision is one occurrence and what becomes of it, however events put several together.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from . import oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.domain.schedule import Schedule
    from shared.domain.spec import JobSpec

DAY = timedelta(days=1)
TICK = timedelta(milliseconds=1)
LOOKED_AT = 70  # days: every cron expression of the tests fires within them
CATCH_UP = 1_000  # late ones in a row that misfire `all` runs


class Decision(NamedTuple):
    """What becomes of an occurrence: `run`, or the reason why not; `by`: the run that stood in the way."""

    at: datetime
    outcome: str
    by: str | None = None


class Refusal(Exception):  # noqa: N818 - an answer
    """The command is to be refused; the argument is the name of the refusal."""


def name_of(at: datetime) -> str:
    """What a job calls the run of an occurrence, whose id is none of its business."""
    return at.isoformat()


@cache
def _of_day(expression: str, zone: str, gap: str, overlap: str, day: datetime) -> list[datetime]:
    return oracle.occurrences(expression, zone, day - TICK, day + DAY - TICK, gap=gap, overlap=overlap)


def after(schedule: Schedule, anchor: datetime, moment: datetime) -> Iterator[datetime]:
    """The occurrences after `moment`, one by one."""
    if schedule.start_at is not None:
        moment = max(moment, schedule.start_at - TICK)
    for at in _unbounded(schedule, anchor, moment):
        if schedule.end_at is not None and at > schedule.end_at:
            return
        yield at


def _unbounded(schedule: Schedule, anchor: datetime, moment: datetime) -> Iterator[datetime]:
    if schedule.run_at is not None:
        yield from (at for at in [schedule.run_at] if at > moment)
    elif schedule.interval_seconds is not None:
        step = timedelta(seconds=schedule.interval_seconds)
        first = schedule.start_at or anchor + step
        number = max(0, (moment - first) // step + 1)
        while True:
            yield first + number * step
            number += 1
    elif schedule.cron_expression is not None:
        yield from _cron(schedule, moment)


def _cron(schedule: Schedule, moment: datetime) -> Iterator[datetime]:
    several = schedule.cron_expression
    expressions = (several,) if isinstance(several, str) else several
    policy = schedule.dst_policy
    rules = (policy.gap, policy.overlap) if policy else ("auto", "auto")
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    quiet = 0
    while quiet < LOOKED_AT:
        found = sorted({at for each in expressions for at in _of_day(each, schedule.timezone, *rules, day)})
        for at in found:
            if at > moment:
                quiet = 0
                yield at
        day += DAY
        quiet += 1


@dataclass(kw_only=True)
class RunModel:
    """A run, under the name that its job has for it: what has become of it."""

    name: str
    follows: bool
    spec: JobSpec
    start_by: datetime | None
    status: str = "queued"
    attempt: int = 0
    failures: int = 0
    lost: int = 0
    wake_at: datetime | None = None
    cancelling: bool = False

    @property
    def ended(self) -> bool:
        return self.status in {"succeeded", "failed", "cancelled", "expired"}

    def _overdue(self, now: datetime) -> bool:
        return self.attempt == 0 and self.start_by is not None and self.start_by <= now

    def start(self, now: datetime) -> None:
        if self.status != "queued":
            raise Refusal("IllegalTransition")
        if self._overdue(now):
            self.status = "expired"
            return
        self.status, self.attempt = "running", self.attempt + 1

    def succeed(self) -> None:
        self.status = "succeeded"

    def fail(self, now: datetime) -> None:
        retry = self.spec.retry
        if self.cancelling:
            self.status = "cancelled"
        elif self.failures >= retry.max_retries:
            self.status = "failed"
        else:
            delay_s = min(retry.initial_seconds * retry.multiplier**self.failures, retry.max_seconds)
            self.status, self.wake_at = "retrying", now + timedelta(seconds=delay_s)
            self.failures += 1

    def interrupt(self) -> None:
        self.status = "cancelled" if self.cancelling else "queued"

    def cancel(self) -> None:
        if self.ended:
            raise Refusal("IllegalTransition")
        if self.status == "running":
            self.cancelling = True
        else:
            self.status = "cancelled"

    def wake(self, now: datetime) -> None:
        """The time in the due index has come: of a running one, that its lease is out."""
        if self.status == "running":
            self.lost += 1
            poison = "failed" if self.lost >= self.spec.max_lost else "queued"
            self.status = "cancelled" if self.cancelling else poison
        elif self.status == "retrying" and self.wake_at is not None and self.wake_at <= now:
            self.status, self.wake_at = "queued", None
        elif self.status == "queued" and self._overdue(now):
            self.status = "expired"


@dataclass(kw_only=True)
class JobModel:
    """A job: its schedule, how far that is decided, and the runs it follows."""

    spec: JobSpec
    anchor: datetime
    status: str = "pending"
    next_for: datetime | None = None
    newest: datetime | None = None  # of the occurrences that were decided
    active: list[str] = field(default_factory=list)
    runs: int = 0
    late_runs: int = 0
    failures: int = 0
    revision: int = 1

    @classmethod
    def create(cls, spec: JobSpec, now: datetime) -> JobModel:
        made = cls(spec=spec, anchor=now)
        made.next_for = made._first(now)
        return made

    def copy(self) -> JobModel:
        return replace(self, active=list(self.active))

    @property
    def follows(self) -> bool:
        return self.spec.overlap_policy != "allow" or self.spec.pause_after_failures is not None

    def settle(self, now: datetime, *, in_pause: bool) -> Iterator[Decision]:
        """Decide what is due, one by one; what was left out is decided when this is iterated no further.

        `in_pause`: whether the command decides what fell due in a pause.
        """
        if self.status != "pending" and not (self.status == "paused" and in_pause):
            return
        due = self._due(now)
        paused = self.status == "paused"
        kept = set(due) if paused else self._kept(due, now)
        for at in due:
            if self._used_up:
                break
            yield self._decide(at, now, kept=at in kept, paused=paused)
        if due and self.next_for is None:
            self.status = "completed"

    def _due(self, now: datetime) -> list[datetime]:
        if self.next_for is None or self.next_for > now:
            return []
        due = [self.next_for]
        for at in after(self.spec.schedule, self.anchor, self.next_for):
            if at > now:
                break
            due.append(at)
        return due

    def _is_late(self, at: datetime, now: datetime) -> bool:
        return now - at > timedelta(seconds=self.spec.misfire_grace_seconds)

    def _kept(self, due: list[datetime], now: datetime) -> set[datetime]:
        """What the misfire policy lets run."""
        fresh = [at for at in due if not self._is_late(at, now)]
        match self.spec.misfire_policy:
            case "all":
                return set(due)
            case "latest":
                return set(fresh or due[-1:])
            case _:
                return set(fresh)

    def _decide(self, at: datetime, now: datetime, *, kept: bool, paused: bool) -> Decision:
        late = self._is_late(at, now)
        decision = Decision(at, "run")
        if paused:
            decision = Decision(at, "paused")
        elif not kept or (late and self.spec.misfire_policy == "all" and self.late_runs >= CATCH_UP):
            decision = Decision(at, "misfire")
        elif self.spec.overlap_policy == "skip" and self.active:
            decision = Decision(at, "overlap", self.active[0])
        else:
            self.runs += 1
            self.late_runs = self.late_runs + 1 if late else 0
            if self.follows:
                self.active.append(name_of(at))
        self.newest = at
        self.next_for = None if self._used_up else next(after(self.spec.schedule, self.anchor, at), None)
        return decision

    @property
    def _used_up(self) -> bool:
        most = self.spec.schedule.max_runs
        return most is not None and self.runs >= most

    def must_be_there(self) -> None:
        if self.status == "deleted":
            raise Refusal("NoSuchJob")

    def pause(self) -> bool:
        """Whether anything changes, as of all that follow."""
        if self.status == "completed":
            raise Refusal("IllegalTransition")
        changes = self.status == "pending"
        self.status = "paused"
        return changes

    def resume(self) -> bool:
        if self.status != "paused":
            return False
        self.status, self.failures = "pending", 0
        return True

    def delete(self) -> None:
        self.status, self.next_for = "deleted", None

    def trigger(self, overlap: str | None) -> None:
        if (overlap or self.spec.overlap_policy) == "skip" and self.active:
            raise Refusal("Overlaps")

    def edit(self, spec: JobSpec, now: datetime) -> bool:
        if spec == self.spec:
            return False
        old, new = self.spec.schedule, spec.schedule
        self.spec = spec
        self.revision += 1
        if new == old or (new.run_at is not None and new.run_at == old.run_at):
            return True
        if new.interval_seconds is None or new.interval_seconds != old.interval_seconds:
            self.anchor = now
        self.next_for = self._first(now)
        if self.status == "completed":
            self.status = "pending"
        return True

    def _first(self, now: datetime) -> datetime | None:
        schedule = self.spec.schedule
        if schedule.cron_expression is None and schedule.interval_seconds is None and schedule.run_at is None:
            return None
        since = now
        if schedule.run_at is not None:  # just gone by still counts
            since = now - timedelta(seconds=self.spec.misfire_grace_seconds)
            since = since if self.newest is None else max(since, self.newest)
        first = next(after(schedule, self.anchor, since), None)
        if first is None or self._used_up:
            raise Refusal("NeverFires")
        return first

    def ended(self, run: RunModel) -> bool:
        """A run that the job follows has ended; return whether that pauses the job."""
        self.active.remove(run.name)
        if run.status == "succeeded":
            self.failures = 0
        elif run.status == "failed":
            self.failures += 1
        most = self.spec.pause_after_failures
        if most is None or self.failures < most or self.status != "pending":
            return False
        self.status = "paused"
        return True
