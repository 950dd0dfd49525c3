"""What a job would have decided, and would decide, under another specification.

The job's own rules decide, `deciding` and `following`, on a copy that nobody else sees: woken when the real one was,
told what it was told, its runs ending when they ended. Where the copy runs what the real job hasn't, or at another
time, a run is thought to take as long as the job's runs usually do; what hangs on that is marked as a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count, islice
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from shared.domain import deciding, following, tries
from shared.domain import run as running
from shared.domain.calendars import NONE
from shared.domain.commands import CreateJob, JobCommand, UpdateJob, Wake
from shared.domain.decided import DECIDED_MAX, Decided, TooMany, run_of, skipped
from shared.domain.events import (
    TERMINAL,
    Change,
    Event,
    JobPaused,
    OccurrencesSkipped,
    RunCancelled,
    RunCancelRequested,
    RunExpired,
    RunQueued,
    RunRequested,
)
from shared.domain.happened import Happened
from shared.domain.job import evolve
from shared.domain.refusals import Refused
from shared.domain.spec import run_spec
from shared.domain.tries import Story
from shared.domain.wishes import is_replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from shared.domain.calendars import Seen
    from shared.domain.happened import Fact
    from shared.domain.job import Job
    from shared.domain.run import Run
    from shared.domain.spec import JobSpec

STOPS = timedelta(seconds=1)  # in which a handler that is to end is thought to


class Refusal(NamedTuple):
    """What somebody did, and couldn't have."""

    at: datetime
    what: str
    why: str


class Paused(NamedTuple):
    """That failures would have paused the job."""

    at: datetime
    reason: str


@dataclass(slots=True, kw_only=True)
class _Running:
    """An unfinished run of the copy.

    Attributes:
        active_at: since when it doesn't wait; None: it does.
        as_recorded: whether it goes as the real one did: then that one's end is its own.
        plan: number of the end that it is to have; an older one is void.
        guessed: whether that end is an estimate.
    """

    run: Run
    active_at: datetime | None = None
    as_recorded: bool = False
    plan: int = -1
    guessed: bool = False


class Simulation:
    """The copy of a job, from some moment on.

    Args:
        job: as it is then; None: it is made later.
        now: that moment.
        happened: what has happened since; nothing, where that is still to come.
        edit: the specification of the copy, from each that the real job had.
        usual: what its runs usually take.
        calendars: as they were at a time; for a command that edits, also those that are there by now.

    Attributes:
        job: the copy.
        now: how far it has come.
        decided: about occurrences, in order.
        ahead: how many of these came after the beginning.
        refused: what couldn't have been done.
        paused: by failures.
    """

    def __init__(
        self,
        job: Job | None,
        now: datetime,
        *,
        happened: Happened | None = None,
        edit: Callable[[JobSpec], JobSpec] = lambda spec: spec,
        usual: timedelta = timedelta(),
        calendars: Callable[[datetime, JobCommand], Mapping[str, Seen]] = lambda *_: NONE,
    ) -> None:
        self.job = job
        self.now = now
        self.decided: list[Decided] = []
        self.ahead = 0
        self.refused: list[Refusal] = []
        self.paused: list[Paused] = []
        self._happened = happened or Happened(job=job)
        self._is_past = happened is not None
        self._edit, self._usual, self._calendars = edit, usual, calendars
        self._ends: list[tuple[datetime, int, str, Event]] = []
        self._plans = count()
        self._runs: dict[str, _Running] = {}
        self._began = self._end_of_record = now

    def begin(self, stories: Mapping[str, Story] = MappingProxyType({})) -> None:
        """Edit the copy now, and take over the runs that it follows; `stories`: what is known of these.

        Raises:
            Refused: the job can't be edited so.
        """
        job = self.job
        if job is None:
            return
        for run_id in job.active + job.waiting:
            story = stories.get(run_id, Story())
            run = _stand_in(job, run_id, story)
            self._runs[run_id] = _Running(run=run, as_recorded=self._is_past)
            if run_id in job.active:
                began_at = self._runs[run_id].active_at = story.active_at or self.now
                self._ahead(run_id, max(self.now, began_at + self._usual), None)
            elif run.start_by is not None:
                self._ahead(run_id, run.start_by, RunExpired(start_by=run.start_by))
        if (spec := self._edit(job.spec).pinned(job.id)) != job.spec:
            self._carry_out(UpdateJob(spec=spec), self.now)

    def _ahead(self, run_id: str, at: datetime, end: Event | None) -> None:
        """What is still to come can only be planned."""
        if not self._is_past:
            self._plan(run_id, at, end, guessed=end is None)

    def steps(self, facts: Iterable[Fact], until: datetime, *, most: int = DECIDED_MAX) -> Iterator[None]:
        """Go on until then, through these facts; a little at each step.

        Args:
            facts: in order.
            until: see there.
            most: of occurrences that come after the beginning: then that is enough.

        Raises:
            TooMany: see there.
        """
        self._end_of_record = until
        for fact in facts:
            while self._step(before=fact.at):
                yield
            self.now = max(self.now, fact.at)
            self._meet(fact)
            yield
        while self.ahead < most and self._step(before=until + timedelta(microseconds=1)):
            yield
        self.now = max(self.now, until)

    def _step(self, *, before: datetime) -> bool:
        """What comes next, if that is before a time: the end of a run, or a wake."""
        while self._ends and not self._stands(self._ends[0]):
            heappop(self._ends)
        end_at = self._ends[0][0] if self._ends else None
        wake_at = self._wakes_at()
        if end_at is not None and end_at < before and (wake_at is None or end_at <= wake_at):
            _, _, run_id, event = heappop(self._ends)
            self.now = max(self.now, end_at)
            self._end(run_id, event)
            return True
        if wake_at is not None and wake_at < before:
            self.now = wake_at
            self._carry_out(Wake(), wake_at)
            return True
        return False

    def _stands(self, planned: tuple[datetime, int, str, Event]) -> bool:
        """Whether an end is still to come: its run has none, and no other plan."""
        held = self._runs.get(planned[2])
        return held is not None and held.plan == planned[1]

    def _wakes_at(self) -> datetime | None:
        due = None if self.job is None else self.job.due_at
        if due is None or not self._is_past:
            return due and max(due, self.now)
        return self._happened.woken_at(max(due, self.now))

    # What is done to it.

    def _meet(self, fact: Fact) -> None:
        match fact.what:
            case Wake():
                self._catch_up(fact)
            case CreateJob() as made:
                self._try(replace(made, spec=self._edit(made.spec)), fact.at)
            case UpdateJob(spec=spec):
                self._try(UpdateJob(spec=self._edit(spec)), fact.at)
            case Event() as event:
                self._ended(fact.run_id, event)
            case command:
                self._try(command, fact.at)

    def _catch_up(self, wake: Fact) -> None:
        """Let it be woken until it has come as far as the real one did, which may have taken several units."""
        while self.job is not None and self.job.due_at is not None and self.job.due_at <= wake.at:
            self._carry_out(Wake(), wake.at)
            due = self.job.due_at
            if wake.left is not None and due is not None and wake.left <= min(due, wake.at):
                return

    def _try(self, command: JobCommand, now: datetime) -> None:
        try:
            self._carry_out(command, now)
        except Refused as refusal:
            self.refused.append(Refusal(now, type(command).__name__, refusal.detail))

    def _carry_out(self, command: JobCommand, now: datetime) -> None:
        """As the decider does."""
        calendars = self._calendars(now, command)
        is_settled = False
        while not is_settled:
            decision = deciding.decide(self.job, command, now, calendars=calendars)
            self._take(decision.changes, now)
            is_settled = decision.settled

    def _take(self, changes: tuple[Change, ...], now: datetime) -> None:
        if self.job is not None and following.has_followed(changes):
            job = following.after(self.job, changes)
            next_id = following.next_to_run(job)
            released = self._runs[next_id].run if next_id else None
            changes += following.consequences(job, changes, released, now)
        for change in changes:
            before, job_ref = self.job, f"job:{change.job or change.subject.removeprefix('job:')}"
            if job_ref in change.advances:
                self.job = evolve(before, change)
            self._note(before, change, now)

    def _note(self, before: Job | None, change: Change, now: datetime) -> None:
        run_id = change.subject.removeprefix("run:")
        match change.event:
            case RunRequested():
                self._requested(run_id, change, now)
            case OccurrencesSkipped() as event:
                assert before is not None  # noqa: S101 - it was made before anything was skipped
                beside = self._beside()
                guessed = self._is_guess(event.by or beside)
                self._decide(skipped(before, event, now, beside=beside, guessed=guessed))
            case RunQueued():
                self._activate(run_id, now)
            case RunCancelRequested():
                self._stop(run_id, now)
            case JobPaused(by=following.BY, reason=reason):
                self.paused.append(Paused(now, reason))
            case event if isinstance(event, TERMINAL):
                self._runs.pop(run_id, None)

    def _requested(self, run_id: str, change: Change, now: datetime) -> None:
        event = change.event
        assert isinstance(event, RunRequested)  # noqa: S101 - the caller has looked
        if event.trigger == "schedule":
            beside = self._beside()
            some = run_of(run_id, event, beside=beside, guessed=beside is not None and self._is_guess(beside))
            self._decide([some])
        told = self._happened.runs.get(run_id)
        held = _Running(run=running.evolve(None, change))
        held.as_recorded = (
            told is not None
            and told.spec is not None
            and (told.requested_at, told.held) == (event.requested_at, event.held)
            and tries.same_terms(told.spec, event.spec)
        )
        self._runs[run_id] = held
        if not event.held:
            self._activate(run_id, now)
        elif held.run.start_by is not None and not held.as_recorded:
            self._plan(run_id, held.run.start_by, RunExpired(start_by=held.run.start_by), guessed=False)

    def _activate(self, run_id: str, now: datetime) -> None:
        """Nobody keeps it waiting any more."""
        held = self._runs[run_id]
        told = self._happened.runs.get(run_id)
        held.active_at = now
        if held.as_recorded and told is not None and told.active_at == now:
            return  # it ends when the real one did
        held.as_recorded = False
        run = held.run
        if run.status is running.Status.HELD:
            queued = RunQueued(queue=run.spec.queue, priority=run.spec.priority, reason="released")
            run = held.run = running.evolve(run, Change(subject=f"run:{run_id}", event=queued))
        end = tries.course(run, told, now, usual=self._usual, now=self._end_of_record)
        self._plan(run_id, end.at, end.end, guessed=end.guessed)

    def _ended(self, run_id: str, event: Event) -> None:
        """The real run has ended."""
        if (held := self._runs.get(run_id)) is None or self.job is None:
            return
        is_stopped = run_id in self.job.stopping
        if held.as_recorded and is_replaced(event) and not is_stopped and held.active_at is not None:
            held.as_recorded = False  # nothing has replaced this one: it would have gone on
            ends_at = max(self.now, held.active_at + self._usual)
            self._plan(run_id, ends_at, None, guessed=True)
        elif held.as_recorded or (isinstance(event, RunCancelled) and not is_replaced(event)):
            self._end(run_id, event)

    def _stop(self, run_id: str, now: datetime) -> None:
        """It is to end for the sake of another."""
        if (held := self._runs.get(run_id)) is None:
            return
        told = self._happened.runs.get(run_id)
        if held.as_recorded and told is not None and told.stopped_at == now:
            return
        held.as_recorded = False
        planned = min(
            (each[0] for each in self._ends if self._stands(each) and each[2] == run_id), default=None
        )
        if planned is None or planned > now + STOPS:
            end = RunCancelled(attempt=held.run.attempt, by=following.BY, reason="replaced", cancelled_at=now)
            self._plan(run_id, now + STOPS, end, guessed=True)

    def _end(self, run_id: str, event: Event) -> None:
        assert self.job is not None  # noqa: S101 - it has runs
        follows = self._runs[run_id].run.follows
        change = Change(subject=f"run:{run_id}", event=event, job=self.job.id, both=follows)
        self._take((change,), self.now)

    def _plan(self, run_id: str, at: datetime, end: Event | None, *, guessed: bool) -> None:
        held = self._runs[run_id]
        held.plan, held.guessed = next(self._plans), guessed
        event = end or tries.succeeded(held.run)
        heappush(self._ends, (at, held.plan, run_id, event))

    # What it is told by.

    def _beside(self) -> str | None:
        """The run that is active and was asked for first."""
        return next((run_id for run_id, held in self._runs.items() if held.active_at is not None), None)

    def _is_guess(self, run_id: str | None) -> bool:
        held = self._runs.get(run_id or "")
        return held is not None and held.guessed

    def _decide(self, some: Iterable[Decided]) -> None:
        known = len(self.decided)
        self.decided += islice(some, DECIDED_MAX - known + 1)
        self.ahead += sum(each.at > self._began for each in self.decided[known:])
        if len(self.decided) > DECIDED_MAX:
            raise TooMany


def _stand_in(job: Job, run_id: str, story: Story) -> Run:
    """A run that was asked for before; as its job would ask for it now, where nothing is known of it."""
    at = story.fires_at or job.updated_at
    event = RunRequested(
        job_id=job.id,
        scheduled_for=at,
        fires_at=at,
        trigger="schedule",
        revision=job.revision,
        spec=story.spec or replace(run_spec(job.spec, tenant=job.tenant), start_deadline_seconds=None),
        held=run_id in job.waiting,
        follows=True,
        correlation_id=run_id,
        requested_at=story.requested_at or at,
    )
    return running.evolve(None, Change(subject=f"run:{run_id}", event=event, job=job.id, both=True))
