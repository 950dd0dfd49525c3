"""How a run went, and how it would have gone under other terms: another retry policy, deadline or timeout.

What its attempts did is a fact, also where they would have been made at other times; how many are made, and when, is
the run's own decision (`run`). An attempt that nobody has made is thought to do what the last one did.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, repeat
from typing import TYPE_CHECKING, NamedTuple, Self

from shared.domain import run as running
from shared.domain.commands import FailRun, InterruptRun, StartRun, SucceedRun, Wake
from shared.domain.events import (
    TERMINAL,
    Change,
    Event,
    Failure,
    RunCancelRequested,
    RunExpired,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunQueued,
    RunRequested,
    RunRetryPlanned,
    RunStarted,
    RunSucceeded,
)
from shared.domain.retry import backoff_s

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.domain.commands import RunCommand
    from shared.domain.run import Run
    from shared.domain.spec import RunSpec

ATTEMPTS_MAX = 250  # max_retries and max_lost are 100 at most
_FENCE = "-"
_MIDDLE = 0.5  # of the jitter of a delay that nobody has drawn


class Attempt(NamedTuple):
    """One start of a run's handler.

    Attributes:
        waited: since the run was queued.
        took: to its end.
        end: what that was.
    """

    waited: timedelta
    took: timedelta
    end: Event


class Course(NamedTuple):
    """How a run ends: when, with which event, and whether that is an estimate."""

    at: datetime
    end: Event
    guessed: bool


@dataclass(slots=True, kw_only=True)
class Story:
    """What the record tells of a run.

    Attributes:
        spec: what it was pinned to; None: it was asked for before the record begins.
        requested_at: likewise.
        fires_at: when it was to start; likewise.
        held: whether it had to wait for others.
        active_at: since when it didn't; None: it waits, or has since before the record.
        end: how it has ended, `ended_at`; None: it hasn't.
        status: as far as it has come.
        stopped_at: when somebody wanted it ended.
        places: of the events that asked for it and ended it.
    """

    spec: RunSpec | None = None
    requested_at: datetime | None = None
    fires_at: datetime | None = None
    held: bool = False
    active_at: datetime | None = None
    end: Event | None = None
    ended_at: datetime | None = None
    attempts: list[Attempt] = field(default_factory=list)
    status: str = "queued"
    stopped_at: datetime | None = None
    places: tuple[str, ...] = ()
    _queued_at: datetime | None = None
    _started_at: datetime | None = None

    @classmethod
    def requested(cls, event: RunRequested, now: datetime, place: str) -> Self:
        """A run that was asked for."""
        active_at = None if event.held else now
        return cls(
            spec=event.spec,
            requested_at=event.requested_at,
            fires_at=event.fires_at,
            held=event.held,
            active_at=active_at,
            status="held" if event.held else "queued",
            places=(place,),
            _queued_at=active_at,
        )

    def take(self, event: Event, now: datetime, place: str) -> None:
        """Take in what happened to it next."""
        match event:
            case RunQueued():
                self.active_at, self._queued_at, self.status = self.active_at or now, now, "queued"
            case RunStarted():
                self._started_at, self.status = now, "running"
            case RunRetryPlanned(wake_at=wake_at):
                self._attempted(event, now)
                self._queued_at, self.status = wake_at, "retrying"
            case RunLost() | RunInterrupted():
                self._attempted(event, now)
            case RunCancelRequested(requested_at=at):
                self.stopped_at = at
            case _ if isinstance(event, TERMINAL):
                if self.status == "running":
                    self._attempted(event, now)
                self.end, self.ended_at = event, now
                self.status = _STATUS[type(event).__name__]
                self.places = (*self.places, place)

    def _attempted(self, event: Event, now: datetime) -> None:
        if self._started_at is not None and self._queued_at is not None:
            waited, took = self._started_at - self._queued_at, now - self._started_at
            self.attempts.append(Attempt(max(waited, timedelta()), took, event))


_STATUS = {
    "RunSucceeded": "succeeded",
    "RunFailed": "failed",
    "RunCancelled": "cancelled",
    "RunExpired": "expired",
}


def same_terms(one: RunSpec, another: RunSpec) -> bool:
    """Whether a run goes alike under both."""

    def terms(spec: RunSpec) -> tuple[object, ...]:
        return spec.retry, spec.start_deadline_seconds, spec.timeout_seconds, spec.max_lost

    return terms(one) == terms(another)


def course(run: Run, told: Story | None, active_at: datetime, *, usual: timedelta, now: datetime) -> Course:
    """How a run that nobody keeps waiting any more since `active_at` ends, if it isn't cancelled.

    Args:
        run: queued.
        told: what the record tells of it; None: nobody has run it.
        active_at: see there.
        usual: what the job's runs take.
        now: up to when the record tells: a run that hasn't ended by then takes at least as long.
    """
    if told is None or not told.attempts:
        return _guess(run, told, active_at, usual, now)
    natural = told.end is not None and isinstance(told.end, RunSucceeded | RunFailed)
    if told.spec is not None and same_terms(told.spec, run.spec) and natural:
        assert told.ended_at is not None  # noqa: S101 - with its end
        assert told.end is not None  # noqa: S101 - see above
        since = told.active_at or active_at
        late = _expiry(run, active_at, told.attempts[0].waited)
        return late or Course(active_at + (told.ended_at - since), told.end, guessed=False)
    if not natural and told.attempts and isinstance(told.attempts[-1].end, TERMINAL):
        return _guess(run, told, active_at, usual, now)
    return _redone(run, told, active_at)


def _guess(run: Run, told: Story | None, active_at: datetime, usual: timedelta, now: datetime) -> Course:
    """What is known of it is at most that it hadn't started, or ended, by some time."""
    takes, waits = usual, timedelta()
    if told is not None and told.active_at is not None:
        if told.end is None:
            takes = max(takes, now - told.active_at)
        elif isinstance(told.end, RunExpired) and told.ended_at is not None:
            waits = max(waits, told.ended_at - told.active_at)
    end = Course(active_at + waits + takes, succeeded(run), guessed=True)
    return _expiry(run, active_at, waits) or end


def _expiry(run: Run, queued_at: datetime, waits: timedelta) -> Course | None:
    """Its end, if its first start would come after its deadline."""
    if run.start_by is None or run.start_by > queued_at + waits or run.attempt:
        return None
    return Course(max(run.start_by, queued_at), RunExpired(start_by=run.start_by), guessed=False)


def succeeded(run: Run) -> Event:
    """The end of a run of which nothing says that it ended otherwise."""
    return RunSucceeded(attempt=max(run.attempt, 1))


def _redone(run: Run, told: Story, queued_at: datetime) -> Course:
    """The attempts that were made, made again by the terms of `run`; the last one again and again, if need be."""
    given_up = _gave_up(told)
    known = len(told.attempts)
    attempts: Iterator[Attempt] = chain(told.attempts, repeat(told.attempts[-1]))
    for number in range(ATTEMPTS_MAX):
        attempt = next(attempts)
        at = queued_at + attempt.waited
        if late := _expiry(run, queued_at, attempt.waited):
            return late
        run = _after(run, StartRun(worker="simulated"), at)[0]
        took = min(attempt.took, timedelta(seconds=run.spec.timeout_seconds))
        at += took
        command = _report(attempt, is_cut=took < attempt.took, given_up=given_up and number == known - 1)
        run, events = _after(run, command, at)
        end = next((event for event in events if isinstance(event, TERMINAL)), None)
        if end is not None:
            return Course(at, end, guessed=number >= known or took < attempt.took)
        queued_at = run.wake_at or at
        if run.wake_at is not None:
            run, _ = _after(run, Wake(), run.wake_at)
    raise AssertionError(f"run {run.id} has no end after {ATTEMPTS_MAX} attempts")


def _report(attempt: Attempt, *, is_cut: bool, given_up: bool) -> RunCommand:
    if is_cut:
        return _fail(Failure(class_="TimeoutError", message="it takes longer than it may"), given_up=False)
    match attempt.end:
        case RunSucceeded(result=result):
            return SucceedRun(fence=_FENCE, result=result)
        case RunLost():
            return Wake()
        case RunInterrupted():
            return InterruptRun(fence=_FENCE)
        case RunRetryPlanned(error=error) | RunFailed(error=error):
            return _fail(error, given_up=given_up)
        case _:
            return SucceedRun(fence=_FENCE)


def _fail(error: Failure, *, given_up: bool) -> FailRun:
    names = (error.class_, error.class_.rpartition(".")[2])
    return FailRun(fence=_FENCE, error=error, names=names, draw=_MIDDLE, give_up=given_up)


def _gave_up(told: Story) -> bool:
    """Whether the handler wanted no other attempt: its own terms would have given it one."""
    last, spec = told.attempts[-1].end, told.spec
    if spec is None or not isinstance(last, RunFailed):
        return False
    failures = sum(isinstance(each.end, RunRetryPlanned | RunFailed) for each in told.attempts)
    return (
        backoff_s(spec.retry, attempt=failures, error_names=(last.error.class_,), draw=_MIDDLE) is not None
        and last.error.class_ != "WorkerLost"
    )


def _after(run: Run, command: RunCommand, now: datetime) -> tuple[Run, list[Event]]:
    changes: tuple[Change, ...] = running.decide(run, command, now, fence=_FENCE).changes
    own = [change for change in changes if change.subject == f"run:{run.id}"]
    for change in own:
        run = running.evolve(run, change)
    return run, [change.event for change in own]
