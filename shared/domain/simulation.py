"""What a job would have decided, and would decide, under another specification.

The job's own rules decide, `deciding` and `following`, on a copy that nobody else sees: woken when the real one was,
told what it was told, its runs ending when they ended. Where the copy runs what the real job hasn't, or at another
time, a run is thought to take as long as the job's runs usually do; what hangs on that is marked as a guess.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from shared.domain import deciding, following
from shared.domain.calendars import NONE
from shared.domain.commands import CreateJob, JobCommand, UpdateJob, Wake
from shared.domain.decided import DECIDED_MAX, Decided, TooMany, run_of, skipped
from shared.domain.events import (
    TERMINAL,
    Change,
    Event,
    JobPaused,
    OccurrencesSkipped,
    RunCancelRequested,
    RunQueued,
    RunRequested,
)
from shared.domain.job import evolve
from shared.domain.refusals import Refused
from shared.domain.underway import Underway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from shared.domain.calendars import Seen
    from shared.domain.happened import Fact, Happened
    from shared.domain.job import Job
    from shared.domain.spec import JobSpec
    from shared.domain.tries import Story


class Refusal(NamedTuple):
    """What somebody did, and couldn't have."""

    at: datetime
    what: str
    why: str


class Paused(NamedTuple):
    """That failures would have paused the job."""

    at: datetime
    reason: str


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
        self._happened = happened
        self._edit, self._calendars = edit, calendars
        self._runs = Underway(None if happened is None else happened.runs, usual=usual, end_of_record=now)
        self._began = now

    def begin(self, stories: Mapping[str, Story] = MappingProxyType({})) -> None:
        """Edit the copy now, and take over the runs that it follows; `stories`: what is known of these.

        Raises:
            Refused: the job can't be edited so.
        """
        job = self.job
        if job is None:
            return
        self._runs.adopt(job, stories, self.now)
        if (spec := self._edit(job.spec).pinned(job.id)) != job.spec:
            self._carry_out(UpdateJob(spec=spec), self.now)

    def steps(self, facts: Iterable[Fact], until: datetime, *, most: int = DECIDED_MAX) -> Iterator[None]:
        """Go on until then, through these facts; a little at each step.

        Args:
            facts: in order.
            until: see there.
            most: of occurrences that come after the beginning: then that is enough.

        Raises:
            TooMany: see there.
        """
        self._runs.end_of_record = until
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
        end, wake_at = self._runs.next_end(), self._wakes_at()
        if end is not None and end.at < before and (wake_at is None or end.at <= wake_at):
            self._runs.take_end()
            self.now = max(self.now, end.at)
            self._end(end.run_id, end.event)
            return True
        if wake_at is not None and wake_at < before:
            self.now = wake_at
            self._carry_out(Wake(), wake_at)
            return True
        return False

    def _wakes_at(self) -> datetime | None:
        due = None if self.job is None else self.job.due_at
        if due is None or self._happened is None:
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
            released = self._runs[next_id] if next_id else None
            changes += following.consequences(job, changes, released, now)
        for change in changes:
            before, job_ref = self.job, f"job:{change.job or change.subject.removeprefix('job:')}"
            if job_ref in change.advances:
                self.job = evolve(before, change)
            self._note(before, change, now)

    def _note(self, before: Job | None, change: Change, now: datetime) -> None:
        run_id = change.subject.removeprefix("run:")
        match change.event:
            case RunRequested() as event:
                self._requested(run_id, event)
                self._runs.requested(run_id, change, event, now)
            case OccurrencesSkipped() as event:
                assert before is not None  # noqa: S101 - it was made before anything was skipped
                beside = self._runs.beside()
                guessed = self._runs.is_guess(event.by or beside)
                self._decide(skipped(before, event, now, beside=beside, guessed=guessed))
            case RunQueued():
                self._runs.activate(run_id, now)
            case RunCancelRequested():
                self._runs.stop(run_id, now)
            case JobPaused(by=following.BY, reason=reason):
                self.paused.append(Paused(now, reason))
            case event if isinstance(event, TERMINAL):
                self._runs.forget(run_id)

    def _requested(self, run_id: str, event: RunRequested) -> None:
        if event.trigger == "schedule":
            beside = self._runs.beside()
            self._decide([run_of(run_id, event, beside=beside, guessed=self._runs.is_guess(beside))])

    def _ended(self, run_id: str, event: Event) -> None:
        """The real run has ended."""
        if self.job is None:
            return
        if self._runs.ends_too(run_id, event, self.now, is_stopped=run_id in self.job.stopping):
            self._end(run_id, event)

    def _end(self, run_id: str, event: Event) -> None:
        assert self.job is not None  # noqa: S101 - it has runs
        follows = self._runs[run_id].follows
        change = Change(subject=f"run:{run_id}", event=event, job=self.job.id, both=follows)
        self._take((change,), self.now)

    def _decide(self, some: Iterable[Decided]) -> None:
        known = len(self.decided)
        self.decided += islice(some, DECIDED_MAX - known + 1)
        self.ahead += sum(each.at > self._began for each in self.decided[known:])
        if len(self.decided) > DECIDED_MAX:
            raise TooMany
