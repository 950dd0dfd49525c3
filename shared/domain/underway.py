"""The unfinished runs of a simulated job: which of them are active, and when each is to end.

A run that goes as the real one did ends when that did, as its end is told. Any other one ends by a plan, made of what
is known of it and of what the job's runs usually take; a later plan makes an earlier one void.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from shared.domain import following, tries
from shared.domain import run as running
from shared.domain.events import Change, Event, RunCancelled, RunExpired, RunQueued, RunRequested
from shared.domain.spec import run_spec
from shared.domain.tries import Story
from shared.domain.wishes import is_replaced

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.domain.job import Job
    from shared.domain.run import Run

STOPS = timedelta(seconds=1)  # in which a handler that is to end is thought to


class Planned(NamedTuple):
    """An end that is to come; `number`: of the plan."""

    at: datetime
    number: int
    run_id: str
    event: Event


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


class Underway:
    """Those runs.

    Args:
        recorded: what became of the real ones; None: they are still to come.
        usual: what the job's runs usually take.
        end_of_record: up to when the record tells.
    """

    def __init__(
        self, recorded: Mapping[str, Story] | None, *, usual: timedelta, end_of_record: datetime
    ) -> None:
        self.end_of_record = end_of_record
        self._recorded, self._is_past = {} if recorded is None else recorded, recorded is not None
        self._usual = usual
        self._runs: dict[str, _Running] = {}
        self._ends: list[Planned] = []
        self._numbers = count()

    def __getitem__(self, run_id: str) -> Run:
        return self._runs[run_id].run

    def adopt(self, job: Job, stories: Mapping[str, Story], now: datetime) -> None:
        """Take over the runs that a job follows; `stories`: what is known of these."""
        for run_id in job.active + job.waiting:
            story = stories.get(run_id, Story())
            run = _stand_in(job, run_id, story)
            self._runs[run_id] = _Running(run=run, as_recorded=self._is_past)
            if run_id in job.active:
                began_at = self._runs[run_id].active_at = story.active_at or now
                self._ahead(run_id, max(now, began_at + self._usual), None)
            elif run.start_by is not None:
                self._ahead(run_id, run.start_by, RunExpired(start_by=run.start_by))

    def _ahead(self, run_id: str, at: datetime, end: Event | None) -> None:
        """What is still to come can only be planned."""
        if not self._is_past:
            self._plan(run_id, at, end, guessed=end is None)

    def requested(self, run_id: str, change: Change, event: RunRequested, now: datetime) -> None:
        """It is asked for."""
        told = self._recorded.get(run_id)
        held = _Running(run=running.evolve(None, change))
        held.as_recorded = (
            told is not None
            and told.spec is not None
            and (told.requested_at, told.held) == (event.requested_at, event.held)
            and tries.same_terms(told.spec, event.spec)
        )
        self._runs[run_id] = held
        if not event.held:
            self.activate(run_id, now)
        elif held.run.start_by is not None and not held.as_recorded:
            self._plan(run_id, held.run.start_by, RunExpired(start_by=held.run.start_by), guessed=False)

    def activate(self, run_id: str, now: datetime) -> None:
        """Nobody keeps it waiting any more."""
        held = self._runs[run_id]
        told = self._recorded.get(run_id)
        held.active_at = now
        if held.as_recorded and told is not None and told.active_at == now:
            return  # it ends when the real one did
        held.as_recorded = False
        run = held.run
        if run.status is running.Status.HELD:
            queued = RunQueued(queue=run.spec.queue, priority=run.spec.priority, reason="released")
            run = held.run = running.evolve(run, Change(subject=f"run:{run_id}", event=queued))
        end = tries.course(run, told, now, usual=self._usual, now=self.end_of_record)
        self._plan(run_id, end.at, end.end, guessed=end.guessed)

    def ends_too(self, run_id: str, event: Event, now: datetime, *, is_stopped: bool) -> bool:
        """The real run has ended: whether this one does; `is_stopped`: this one is to, for the sake of another."""
        if (held := self._runs.get(run_id)) is None:
            return False
        if held.as_recorded and is_replaced(event) and not is_stopped and held.active_at is not None:
            held.as_recorded = False  # nothing has replaced this one: it would have gone on
            self._plan(run_id, max(now, held.active_at + self._usual), None, guessed=True)
            return False
        return held.as_recorded or (isinstance(event, RunCancelled) and not is_replaced(event))

    def stop(self, run_id: str, now: datetime) -> None:
        """It is to end for the sake of another."""
        if (held := self._runs.get(run_id)) is None:
            return
        told = self._recorded.get(run_id)
        if held.as_recorded and told is not None and told.stopped_at == now:
            return
        held.as_recorded = False
        planned = min(
            (each.at for each in self._ends if self._stands(each) and each.run_id == run_id), default=None
        )
        if planned is None or planned > now + STOPS:
            end = RunCancelled(attempt=held.run.attempt, by=following.BY, reason="replaced", cancelled_at=now)
            self._plan(run_id, now + STOPS, end, guessed=True)

    def forget(self, run_id: str) -> None:
        """It has ended."""
        self._runs.pop(run_id, None)

    # What is to come.

    def next_end(self) -> Planned | None:
        """The end that comes first."""
        while self._ends and not self._stands(self._ends[0]):
            heappop(self._ends)
        return self._ends[0] if self._ends else None

    def take_end(self) -> Planned:
        """That, which comes."""
        return heappop(self._ends)

    def _stands(self, planned: Planned) -> bool:
        """Whether an end is still to come: its run has none, and no other plan."""
        held = self._runs.get(planned.run_id)
        return held is not None and held.plan == planned.number

    def _plan(self, run_id: str, at: datetime, end: Event | None, *, guessed: bool) -> None:
        held = self._runs[run_id]
        held.plan, held.guessed = next(self._numbers), guessed
        heappush(self._ends, Planned(at, held.plan, run_id, end or tries.succeeded(held.run)))

    # What an occurrence is told by.

    def beside(self) -> str | None:
        """The run that is active and was asked for first."""
        return next((run_id for run_id, held in self._runs.items() if held.active_at is not None), None)

    def is_guess(self, run_id: str | None) -> bool:
        """Whether a run is thought to be active only by an estimate."""
        held = self._runs.get(run_id or "")
        return held is not None and held.guessed


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
