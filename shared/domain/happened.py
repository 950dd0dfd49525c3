"""What happened to a job, as facts that something else could have come of: commands, ends of runs, a late timer.

Read from recorded events, in order. What followed from them by the job's rules (its decisions, and what these led
to) is kept apart, as what was decided: `simulation` decides it anew, by other rules, from the same facts.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import groupby, islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

from shared.domain import settling
from shared.domain.commands import JobCommand, Wake
from shared.domain.decided import DECIDED_MAX, Decided, TooMany, run_of, skipped
from shared.domain.events import (
    TERMINAL,
    Change,
    Event,
    JobCreated,
    JobPaused,
    JobResumed,
    JobUpdated,
    OccurrenceExcluded,
    OccurrenceIncluded,
    OccurrencesSkipped,
    RunQueued,
    RunRequested,
)
from shared.domain.job import evolve
from shared.domain.tries import Story
from shared.domain.wishes import command_of, is_replaced

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from datetime import datetime

    from shared.domain.job import Job


class Told(NamedTuple):
    """A recorded event: when it was committed, and where it stands."""

    change: Change
    at: datetime
    place: str


class Fact(NamedTuple):
    """What somebody did, or the world: a command on the job, or the end of one of its runs.

    Attributes:
        left: of a wake: what the real job was due for after it.
    """

    at: datetime
    what: JobCommand | Event
    run_id: str = ""
    left: datetime | None = None


@dataclass(kw_only=True)
class Happened:
    """A span of a job's story.

    Attributes:
        job: at its beginning, None: it wasn't made yet; while it is read, as far as it is read.
        facts: in order.
        decided: about occurrences, in order.
        runs: id → what became of it, of those that were asked for in the span or ended in it.
    """

    job: Job | None
    facts: list[Fact] = field(default_factory=list)
    decided: list[Decided] = field(default_factory=list)
    runs: dict[str, Story] = field(default_factory=dict)
    _active: dict[str, None] = field(default_factory=dict)
    _late_from: list[datetime] = field(default_factory=list)  # spans in which it was due, and not woken
    _late_to: list[datetime] = field(default_factory=list)
    _due_from: datetime | None = None

    def __post_init__(self) -> None:
        if self.job is not None:
            self._active = dict.fromkeys(self.job.active)
            self._due_from = self.job.due_at

    def steps(self, told: Iterable[Told]) -> Iterator[None]:
        """Read these events of the job and its runs, all that there are, in order; a little at each step.

        Raises:
            TooMany: see there.
        """
        for at, unit in groupby(told, key=lambda each: each.at):
            self._unit(at, list(unit))
            yield

    def woken_at(self, due: datetime) -> datetime | None:
        """When a timer came to what was due at a time; None: it hasn't yet. Where nothing tells, it was in time."""
        place = bisect_right(self._late_from, due) - 1
        if place >= 0 and due < (woken := self._late_to[place]):
            return woken
        if self._due_from is not None and due >= self._due_from:
            return None
        return due

    def _unit(self, at: datetime, told: list[Told]) -> None:
        """Events that were written together."""
        now = next((when for each in told if (when := _decided_at(each.change.event))), at)
        events = [each.change.event for each in told]
        replaced = frozenset(event.reason for event in events if is_replaced(event))
        decides = any(map(_is_decision, events))
        if decides and self._due_from is not None and now > self._due_from:
            self._late_from.append(self._due_from)
            self._late_to.append(now)
        facts: list[Fact] = []
        for each in told:
            facts += self._facts(each.change, now, replaced)
            self._take(each, now)
        if decides and not any(isinstance(fact.what, JobCommand) for fact in facts):
            before = sum(1 for _ in takewhile(lambda event: not _is_decision(event), events))
            ends = sum(isinstance(event, TERMINAL) for event in events[:before])
            left = None if self.job is None else self.job.due_at
            facts.insert(min(ends, len(facts)), Fact(now, Wake(), left=left))
        self.facts += facts

    def _facts(self, change: Change, now: datetime, replaced: Collection[str]) -> list[Fact]:
        """The command that an event has come of, or the end of a run that has come of none."""
        run_id = change.subject.removeprefix("run:")
        if isinstance(change.event, TERMINAL):
            waited = is_replaced(change.event) and self.job is not None and run_id not in self.job.stopping
            return [] if waited else [Fact(now, change.event, run_id)]
        command = command_of(self.job, change, replaced=replaced)
        return [] if command is None else [Fact(now, command)]

    def _take(self, told: Told, now: datetime) -> None:
        change, before = told.change, self.job
        event, run_id = change.event, change.subject.removeprefix("run:")
        if isinstance(event, RunRequested):
            self._requested(told, run_id, event, now)
        elif isinstance(event, OccurrencesSkipped) and before is not None:
            beside = next(iter(self._active), None)
            self._decide(skipped(before, event, now, place=told.place, beside=beside))
        elif change.subject.startswith("run:"):
            self.runs.setdefault(run_id, Story()).take(event, now, told.place)
            if isinstance(event, RunQueued) and event.reason == "released":
                self._active[run_id] = None
            elif isinstance(event, TERMINAL):
                self._active.pop(run_id, None)
        if before is None and not isinstance(event, JobCreated):
            return
        if before is None or f"job:{before.id}" in change.advances:
            self.job = evolve(before, change)
            due = self.job.due_at
            if before is None or due != before.due_at:
                self._due_from = None if due is None else max(due, now)

    def _requested(self, told: Told, run_id: str, event: RunRequested, now: datetime) -> None:
        self.runs[run_id] = Story.requested(event, now, told.place)
        if event.trigger == "schedule":
            self._decide([run_of(run_id, event, place=told.place, beside=next(iter(self._active), None))])
        if event.trigger != "backfill" and not event.held:
            self._active[run_id] = None

    def _decide(self, some: Iterable[Decided]) -> None:
        self.decided += islice(some, DECIDED_MAX - len(self.decided) + 1)
        if len(self.decided) > DECIDED_MAX:
            raise TooMany


def _is_decision(event: Event) -> bool:
    """Whether the schedule has decided it: by itself, or before a command."""
    match event:
        case RunRequested(trigger="schedule") | OccurrencesSkipped():
            return True
        case JobResumed(by=by):
            return by == settling.BY
        case _:
            return False


def _decided_at(event: Event) -> datetime | None:
    """When it was decided, a moment before it was committed, if the event tells."""
    match event:
        case RunRequested(requested_at=at) | JobUpdated(updated_at=at) | JobPaused(paused_at=at):
            return at
        case (
            JobCreated(created_at=at)
            | OccurrenceExcluded(excluded_at=at)
            | OccurrenceIncluded(included_at=at)
        ):
            return at
        case JobResumed(resumed_at=at, by=by) if by != settling.BY:
            return at
        case _:
            return None
