"""A job as DESIGN §6 tells it, written from its sentences: the judge of the domain's decisions on jobs.

It shares no code with the domain, but for the draws of jitter, which it is handed. Occurrences come from the oracle,
which looks at the clock minute by minute; a step is one occurrence and what becomes of it, or another event, however
events put several together.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace as changed

from .run_model import Refusal, RunModel
from .timeline import TICK, after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.domain.schedule import Schedule
    from shared.domain.spec import JobSpec

CATCH_UP = 1_000  # late ones in a row that misfire `all` runs, and of a pause that catches up `all`
WAITING = 1_000
A_UNIT = 1_000  # so many occurrences are looked at in one


class Step(NamedTuple):
    """What the domain says next: `run` or why not, of an occurrence; or the name of another event.

    `by`: the run that stood in the way or that it is about, or who wanted the occurrence skipped.
    """

    what: str
    at: datetime | None = None
    by: str | None = None


def name_of(at: datetime) -> str:
    """What a job calls the run of an occurrence, whose id is none of its business."""
    return at.isoformat()


@dataclass(kw_only=True)
class JobModel:
    """A job: its schedule, how far that is decided, and the runs it follows."""

    spec: JobSpec
    anchor: datetime
    draw: Callable[
        [Schedule, datetime, datetime | None], datetime
    ]  # when an occurrence fires, before the next
    status: str = "pending"
    next_for: datetime | None = None
    next_fires: datetime | None = None
    newest: datetime | None = None  # of the occurrences that were decided
    active: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    stopping: set[str] = field(default_factory=set)
    skipped: dict[datetime, str] = field(default_factory=dict)  # by whom
    runs: int = 0
    late_runs: int = 0
    failures: int = 0
    revision: int = 1
    until: datetime | None = None
    catch_up: str = "skip"
    switch: str | None = None
    catching: tuple[str, datetime] | None = None  # of a pause that has ended: how, and what fell due by then
    left: int = 0  # of these, how many may run

    @classmethod
    def create(cls, spec: JobSpec, now: datetime, draw: Callable[..., datetime]) -> JobModel:
        made = cls(spec=spec, anchor=now, draw=draw)
        made._announce(made._first(now))
        return made

    def copy(self) -> JobModel:
        return replace(
            self,
            active=[*self.active],
            waiting=[*self.waiting],
            stopping={*self.stopping},
            skipped={**self.skipped},
        )

    @property
    def follows(self) -> bool:
        return self.spec.overlap_policy != "allow" or self.spec.pause_after_failures is not None

    @property
    def due_at(self) -> datetime | None:
        if self.status == "paused":
            return self.until
        return self.next_fires if self.status == "pending" else None

    @property
    def next_run_time(self) -> datetime | None:
        if self.status != "pending" or self.next_for is None:
            return None
        if self.next_for not in self.skipped:
            return self.next_fires
        later = after(self.spec.schedule, self.anchor, self.next_for)
        return next((self._fires(at) for at in later if at not in self.skipped), None)

    def must_be_there(self) -> None:
        if self.status == "deleted":
            raise Refusal("NoSuchJob")

    # What is due.

    def settle(self, now: datetime, *, in_pause: bool) -> Iterator[Step]:
        """Decide what is due, one by one; what was left out is decided when this is iterated no further.

        `in_pause`: whether the command decides what fell due in a pause that goes on.
        """
        if self.status == "paused" and self.until is not None and self.until <= now:
            ended, catch_up = self.until, self.catch_up
            if catch_up == "skip":
                yield from self._all_paused(ended)
            if self.status == "paused":
                self._resume(ended, catch_up)
                yield Step("JobResumed")
                yield from self._completed()
        if self.status == "paused" and in_pause:
            yield from self._all_paused(now)
        if self.status == "pending" and self.catching is not None:
            policy, ended = self.catching
            yield from self._caught_up(self._due(ended), policy, now)
        if self.status == "pending":
            yield from self._on_time(self._due(now), now)

    def _all_paused(self, by: datetime) -> Iterator[Step]:
        for at in self._due(by):
            yield from self._decided(at, Step("paused", at))

    def _caught_up(self, due: list[datetime], policy: str, now: datetime) -> Iterator[Step]:
        """What a pause that has ended left: however late, the policy alone counts."""
        if self.spec.overlap_policy == "replace" and policy == "all":
            yield from self._by_units(due, now, caught_up=True)
            return
        wanted = [at for at in due if at not in self.skipped]
        for at in due:
            if self.status != "pending":
                return
            if at in self.skipped:
                yield from self._decided(at, Step("excluded", at, self.skipped[at]))
            elif (policy == "latest" and at != wanted[-1]) or self.left <= 0:
                yield from self._decided(at, Step("paused", at))
            else:
                yield from self._meets_others(at, now, caught_up=True)

    def _on_time(self, due: list[datetime], now: datetime) -> Iterator[Step]:
        if self.spec.overlap_policy == "replace":
            yield from self._by_units(due, now, caught_up=False)
        else:
            yield from self._in_order(due, now)

    def _by_units(self, due: list[datetime], now: datetime, *, caught_up: bool) -> Iterator[Step]:
        """What is decided at once replaces itself: of what may run in a unit, the newest alone does."""
        while due and self.status == "pending":
            unit = self._unit(due, now, caught_up=caught_up)
            yield from self._replacing(unit, due, now, caught_up=caught_up)
            due = due[len(unit) :]

    def _unit(self, due: list[datetime], now: datetime, *, caught_up: bool) -> list[datetime]:
        """So much of it: what is late comes first, if all of that runs."""
        unit = due[:A_UNIT]
        late = [at for at in unit if at not in self.skipped and (caught_up or self._is_late(at, now))]
        left = self.left if caught_up else CATCH_UP - self.late_runs
        everything = caught_up or self.spec.misfire_policy == "all"
        if late and left > 0 and everything:
            return unit[: unit.index(late[:left][-1]) + 1]
        return unit

    def _replacing(
        self, unit: list[datetime], due: list[datetime], now: datetime, *, caught_up: bool
    ) -> Iterator[Step]:
        wanted = [at for at in due if at not in self.skipped]
        late = set(wanted) if caught_up else {at for at in wanted if self._is_late(at, now)}
        kept = [
            at for at in unit if at in wanted and (at not in late or self._may(at, wanted, late, caught_up))
        ]
        for at in unit:
            if self.status != "pending":
                return
            if at in self.skipped:
                yield from self._decided(at, Step("excluded", at, self.skipped[at]))
            elif at not in kept:
                yield from self._decided(at, Step("paused" if caught_up else "misfire", at))
            elif at != kept[-1]:
                yield from self._decided(at, Step("overlap", at, name_of(kept[-1])))
            else:
                yield from self._meets_others(at, now, caught_up=caught_up)

    def _may(self, at: datetime, wanted: list[datetime], late: set[datetime], caught_up: bool) -> bool:  # noqa: FBT001
        return self.left > 0 if caught_up else self._runs_late(at, wanted, late)

    def _in_order(self, due: list[datetime], now: datetime) -> Iterator[Step]:
        wanted = [at for at in due if at not in self.skipped]
        late = {at for at in wanted if self._is_late(at, now)}
        for at in due:
            if self.status != "pending":  # max_runs: those after it are no occurrences
                return
            if at in self.skipped:
                yield from self._decided(at, Step("excluded", at, self.skipped[at]))
            elif at in late and not self._runs_late(at, wanted, late):
                yield from self._decided(at, Step("misfire", at))
            else:
                yield from self._meets_others(at, now, caught_up=False)

    def _runs_late(self, at: datetime, wanted: list[datetime], late: set[datetime]) -> bool:
        match self.spec.misfire_policy:
            case "all":
                return self.late_runs < CATCH_UP
            case "latest":
                return at == wanted[-1] and late == set(wanted)
            case _:
                return False

    def _meets_others(self, at: datetime, now: datetime, *, caught_up: bool) -> Iterator[Step]:
        if (by := self._in_the_way(self.spec.overlap_policy)) is not None:
            yield from self._decided(at, Step("overlap", at, by))
            return
        if self.spec.overlap_policy == "replace":
            yield from self._make_way()
        if not caught_up:
            self.late_runs = self.late_runs + 1 if self._is_late(at, now) else 0
        self.left -= caught_up
        self.runs += 1
        self._takes(name_of(at), self.spec.overlap_policy)
        yield from self._decided(at, Step("run", at))

    def _make_way(self) -> Iterator[Step]:
        """All that is there is to end."""
        while self.waiting:
            yield Step("RunCancelled", None, self.waiting.pop(0))
        for each in [run for run in self.active if run not in self.stopping]:
            self.stopping.add(each)
            yield Step("RunCancelRequested", None, each)

    def _in_the_way(self, policy: str) -> str | None:
        if not self.active:
            return None
        most = {"skip": -1, "queue_one": 0, "queue_all": WAITING - 1}.get(policy)
        if most is None or len(self.waiting) <= most:
            return None
        return self.active[0] if policy == "skip" else self.waiting[0]

    def _takes(self, run: str, policy: str) -> bool:
        """A run joins the others; return whether it waits."""
        waits = bool(self.active) and policy not in {"skip", "allow"}
        if waits:
            self.waiting.append(run)
        elif self.follows:
            self.active.append(run)
        return waits

    def _decided(self, at: datetime, step: Step) -> Iterator[Step]:
        self.newest = at
        following = next(after(self.spec.schedule, self.anchor, at), None)
        self._announce(None if self._used_up else following)
        self.skipped = {each: by for each, by in self.skipped.items() if each > at}
        self._stop_catching()
        yield step
        yield from self._completed()

    def _completed(self) -> list[Step]:
        """What has nothing ahead is completed, unless it is paused: then once it goes on."""
        schedule = self.spec.schedule
        never = not (schedule.cron_expression or schedule.interval_seconds or schedule.run_at)
        if self.status != "pending" or self.next_for is not None or never:
            return []
        self.status, self.skipped = "completed", {}
        return [Step("JobCompleted")]

    def _stop_catching(self) -> None:
        if self.catching and (self.next_fires is None or self.next_fires > self.catching[1]):
            self.catching = None

    def _announce(self, at: datetime | None) -> None:
        self.next_for, self.next_fires = at, None
        self.next_fires = None if at is None else self._fires(at)

    def _fires(self, at: datetime) -> datetime:
        if at == self.next_for and self.next_fires is not None:
            return self.next_fires
        if not self.spec.schedule.jitter_seconds:
            return at
        following = next(after(self.spec.schedule, self.anchor, at), None)
        return self.draw(self.spec.schedule, at, following)

    def _due(self, by: datetime) -> list[datetime]:
        if self.next_for is None or self.next_fires is None or self.next_fires > by:
            return []
        due = [self.next_for]
        for at in after(self.spec.schedule, self.anchor, self.next_for):
            if at > by or self._fires(at) > by:
                break
            due.append(at)
        return due

    def _is_late(self, at: datetime, now: datetime) -> bool:
        return now - self._fires(at) > timedelta(seconds=self.spec.misfire_grace_seconds)

    @property
    def _used_up(self) -> bool:
        most = self.spec.schedule.max_runs
        return most is not None and self.runs >= most

    # What commands make of it, once all that is due is settled.

    def pause(self, until: object, catch_up: object, switch: str | None) -> list[Step]:
        """What is UNSET is as the pause has it that there is, if it is the same switch's."""
        if self.status == "completed":
            raise Refusal("IllegalTransition")
        paused = self.status == "paused"
        if paused and switch not in {None, self.switch}:
            return []
        goes_on = paused and switch == self.switch
        had = (self.until, self.catch_up) if goes_on else (None, "skip")
        wished = (had[0] if until is UNSET else until, had[1] if catch_up is UNSET else catch_up)
        if goes_on and wished == had:
            return []
        self._pause(*wished, switch)
        return [Step("JobPaused")]

    def _pause(self, until: datetime | None, catch_up: str, switch: str | None) -> None:
        self.status, self.catching = "paused", None
        self.until, self.catch_up, self.switch = until, catch_up, switch

    def means(self, switch: str | None) -> bool:
        return switch is None or switch == self.switch

    def skips_what_fell_due(self, catch_up: str | None, switch: str | None) -> bool:
        """Whether a resume, before it ends a pause, drops all that fell due in it."""
        if self.status != "paused":
            return True
        return self.means(switch) and (catch_up or self.catch_up) == "skip"

    def resume(self, now: datetime, catch_up: str | None, switch: str | None) -> list[Step]:
        if self.status != "paused" or not self.means(switch):
            return []
        self._resume(now, catch_up or self.catch_up)
        return [Step("JobResumed"), *self._completed()]

    def _resume(self, ended: datetime, catch_up: str) -> None:
        self.status, self.failures = "pending", 0
        self.until, self.catch_up, self.switch = None, "skip", None
        if catch_up != "skip":
            self.catching, self.left = (catch_up, ended), CATCH_UP
            self._stop_catching()

    def suspend(self) -> list[Step]:
        """The timer gives it up; nothing is settled."""
        if self.status != "pending" and not (self.status == "paused" and self.until is not None):
            return []
        self._pause(None, "skip", None)
        return [Step("JobPaused")]

    def delete(self, now: datetime) -> list[Step]:
        steps = [
            *self._drop_begun(now, "deleted"),
            *(Step("RunCancelled", None, run) for run in self.waiting),
        ]
        self.waiting, self.skipped = [], {}
        self.status, self.next_for, self.next_fires = "deleted", None, None
        return [*steps, Step("JobDeleted")]

    def _drop_begun(self, now: datetime, reason: str) -> list[Step]:
        """What jitter still holds back, though its time has come."""
        if self.next_for is None or self.next_for > now:
            return []
        at, self.newest = self.next_for, self.next_for
        self.skipped = {each: by for each, by in self.skipped.items() if each > at}
        return [Step("paused" if self.status == "paused" else reason, at)]

    def trigger(self, run: str, overlap: str | None) -> list[Step]:
        policy = overlap or self.spec.overlap_policy
        if policy != "allow" and not self.follows:
            raise Refusal("KeepsNoList")
        if self._in_the_way(policy) is not None:
            raise Refusal("Overlaps" if policy == "skip" else "WaitingIsFull")
        steps = [*self._make_way()] if policy == "replace" else []
        self._takes(run, policy)
        return [*steps, Step("RunRequested", None, run)]

    def some_occurrence(self, which: int) -> datetime | None:
        """The undecided occurrence of this number, from 0; -1: the newest one that was decided."""
        if which < 0 or self.next_for is None:
            return self.newest
        later = after(self.spec.schedule, self.anchor, self.next_for)
        return [self.next_for, *islice(later, which)][-1]

    def skip(self, at: datetime, by: str) -> list[Step]:
        if at in self.skipped:
            return []
        self._must_be_ahead(at)
        self.skipped[at] = by
        return [Step("OccurrenceExcluded", at)]

    def unskip(self, at: datetime) -> list[Step]:
        if at in self.skipped:
            del self.skipped[at]
            return [Step("OccurrenceIncluded", at)]
        self._must_be_ahead(at)
        return []

    def _must_be_ahead(self, at: datetime) -> None:
        if self.status == "completed":
            raise Refusal("IllegalTransition")
        if self.next_for is not None and (at == self.next_for or (at > self.next_for and self._is_one(at))):
            return
        decided = self.next_for is not None and self.newest is not None and at <= self.newest
        was_one = decided and (at == self.newest or self._is_one(at))
        raise Refusal("IllegalTransition" if was_one else "NoSuchOccurrence")

    def _is_one(self, at: datetime) -> bool:
        return next(after(self.spec.schedule, self.anchor, at - TICK), None) == at

    def fires_alike(self, spec: JobSpec) -> bool:
        """Whether an edit leaves what was announced, and so what a pause has to catch up."""
        new, old = spec.schedule, self.spec.schedule
        return _same_times(new, old) and new.jitter_seconds == old.jitter_seconds

    def edit(self, spec: JobSpec, now: datetime) -> list[Step]:
        if spec == self.spec:
            return []
        old, self.spec = self.spec.schedule, spec
        new, steps = spec.schedule, []
        self.revision += 1
        if not _same_times(new, old):
            if new.interval_seconds is None or new.interval_seconds != old.interval_seconds:
                self.anchor = now
            begun = self.next_for is not None and self.next_for <= now and self._is_one(self.next_for)
            if not begun:
                steps = self._drop_begun(now, "edited")
            self._announce_anew(self.next_for if begun else None, now)
        elif new.jitter_seconds != old.jitter_seconds:
            self._announce_anew(self.next_for, now)
        return [*steps, Step("JobUpdated")]

    def _announce_anew(self, begun: datetime | None, now: datetime) -> None:
        """A schedule of other times or other jitter begins now; what had begun before fires from now on."""
        kept, self.next_fires = self.next_for, None
        first = self._first(now) if begun is None else begun
        if begun is not None and self._used_up:
            raise Refusal("NeverFires")
        self._announce(first)
        if first is not None and first == kept and first <= now:
            self.next_fires = max(self.next_fires, now)
        if self.status == "completed":
            self.status = "pending"

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

    def ended(self, run: RunModel) -> list[Step]:
        """A run that the job follows has ended."""
        for several in (self.active, self.waiting):
            if run.name in several:
                several.remove(run.name)
        self.stopping.discard(run.name)
        if run.status == "succeeded":
            self.failures = 0
        elif run.status == "failed":
            self.failures += 1
        return [*self._released(), *self._paused_by_failures()]

    def _released(self) -> list[Step]:
        if self.active or not self.waiting:
            return []
        self.active.append(self.waiting.pop(0))
        return [Step("RunQueued", None, self.active[0])]

    def _paused_by_failures(self) -> list[Step]:
        most = self.spec.pause_after_failures
        if most is None or self.failures < most or self.status != "pending":
            return []
        self._pause(None, "skip", None)
        return [Step("JobPaused")]


def _same_times(new: Schedule, old: Schedule) -> bool:
    """Whether both have the same occurrences, whatever jitter makes of them."""
    if new.run_at is not None:
        return new.run_at == old.run_at
    return changed(new, jitter_seconds=0) == changed(old, jitter_seconds=0)
