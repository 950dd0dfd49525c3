"""The run: one execution of a job, from its request to its one terminal event.

```
 requested ─▶ queued ──start──▶ running ─▶ succeeded
     │         ▲  ▲              │ │ │ ├─▶ failed (dead letter)
     ▼         │  └─ RunLost, ───┘ │ │ └─▶ cancelled
    held ──────┤     RunInterrupted│ │         ▲
      released │                   │ └─ RunCancelRequested, then the end of its handler
               └──── retrying ◀────┘
          a cancel ends held, queued and retrying at once; held or queued past its start deadline: expired

 queued ──RunHeld: a limit refuses its start──▶ held ──RunQueued: somebody makes room, or `until` has come──▶ queued
```
A RunCancelRequested of a run that isn't running (its job has another that replaces it, and doesn't know how it stands)
takes it out of its work stream and makes it due at once: its wake ends it, or whoever was about to start it.

What an executor reports is guarded by the fence: the position of the RunStarted it answers. A cancel moves the
version, not the fence: a result of the same start still stands (DESIGN §6.2).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec.structs import replace

from shared.domain import ids, relay
from shared.domain.commands import (
    CancelRun,
    FailRun,
    HoldRun,
    InterruptRun,
    ReleaseRun,
    Report,
    RunCommand,
    StartRun,
    SucceedRun,
    Wake,
)
from shared.domain.events import (
    TERMINAL,
    Change,
    Decision,
    Event,
    Failure,
    HoldReason,
    RunCancelled,
    RunCancelRequested,
    RunExpired,
    RunFailed,
    RunHeld,
    RunInterrupted,
    RunLost,
    RunOutput,
    RunQueued,
    RunRequested,
    RunRetryPlanned,
    RunStarted,
    RunSucceeded,
    Trigger,
)
from shared.domain.refusals import IllegalTransition, LostLease, NoSuchRun
from shared.domain.retry import backoff_s
from shared.domain.spec import RunSpec  # noqa: TC001 - the snapshot's codec reads the annotation
from shared.domain.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable


class Status(StrEnum):
    """Where a run stands."""

    HELD = "held"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ENDED = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.EXPIRED})


class Cancel(Value, frozen=True, kw_only=True):
    """Who wanted a run ended, when and why."""

    by: str
    reason: str
    at: datetime


class Hold(Value, frozen=True, kw_only=True):
    """The limit that a run waits for; see RunHeld."""

    reason: HoldReason
    key: str
    until: datetime
    since: datetime


class Run(Value, frozen=True, kw_only=True, omit_defaults=True):
    """The fold of a run's events.

    Attributes:
        attempt: number of starts so far.
        failures: how many of them failed; the retry policy counts these.
        lost: how many of them lost their worker.
        wake_at: when the next attempt is due (retrying only).
        fires_at: when it was to start, where that isn't `scheduled_for`: jitter is no delay, nor is a retry's past.
        start_by: when it expires, unless it has started once by then.
        cancel: the cancel that its handler has still to heed, or that ended it.
        hold: the limit that holds it, or did before it was queued; None once it has started, or if none did.
        follows: whether its job advances with its end.
        backfill: id of the backfill that asked for it, which advances with its end.
        depth: how many runs of other jobs led to it.
    """

    id: str
    job_id: str
    spec: RunSpec
    status: Status
    trigger: Trigger
    scheduled_for: datetime
    revision: int
    follows: bool
    correlation_id: str
    attempt: int = 0
    failures: int = 0
    lost: int = 0
    worker: str = ""
    wake_at: datetime | None = None
    start_by: datetime | None = None
    depth: int = 0
    cancel: Cancel | None = None
    fires_at: datetime | None = None
    backfill: str | None = None
    hold: Hold | None = None

    @property
    def wanted_at(self) -> datetime:
        """When it was to start: what is later is a delay."""
        return self.fires_at or self.scheduled_for

    @property
    def ended(self) -> bool:
        """Whether its terminal event has been written."""
        return self.status in ENDED

    @property
    def over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.ended

    @property
    def offered(self) -> bool:
        """Whether it stands in a work stream, for an executor to take; its version is its entry's id then."""
        return self.status is Status.QUEUED and self.cancel is None

    @property
    def dropped(self) -> bool:
        """Whether it is to end, and no handler is at work that would have to be stopped first."""
        return self.cancel is not None and self.status is not Status.RUNNING and not self.ended


def due_at(run: Run, *, now: datetime, lease: timedelta) -> datetime | None:
    """When to wake a run that has just come into its state: its lease's end, its next attempt, its start deadline."""
    if run.dropped and run.cancel is not None:
        return run.cancel.at
    match run.status:
        case Status.RUNNING:
            return now + lease
        case Status.HELD if run.hold is not None:
            deadline = run.start_by if run.attempt == 0 else None
            return run.hold.until if deadline is None else min(run.hold.until, deadline)
        case Status.QUEUED | Status.HELD if run.attempt == 0:
            return run.start_by
        case Status.RETRYING:
            return run.wake_at
        case _:
            return None


# Deciding.


def decide(run: Run | None, command: RunCommand, now: datetime, *, fence: str) -> Decision:
    """The events that `command` leads to at `now`; `fence` is that of the run's latest start.

    Raises:
        Refused: nothing is to be written. LostLease: the reporting worker no longer holds the run.
    """
    if run is None:
        raise NoSuchRun
    tell = _Teller(run, now)
    match command:
        case StartRun() | HoldRun() if run.status is not Status.QUEUED:
            raise IllegalTransition(f"run {run.id} is {run.status}, not queued", current=run.status)
        case StartRun() | HoldRun() if (end := _end_instead(run, now)) is not None:
            return tell(end)
        case StartRun(worker=worker):
            return tell(RunStarted(attempt=run.attempt + 1, worker=worker))
        case HoldRun(reason=reason, key=key, until=until):
            since = now if run.hold is None else run.hold.since
            return tell(RunHeld(reason=reason, key=key, until=_whole_ms(until), since=since))
        case ReleaseRun():
            return tell(*_released(run, now))
        case CancelRun():
            return tell(*_cancelled(run, command, now))
        case Wake():
            return tell(*_woken(run, now))
    if run.status is not Status.RUNNING or command.fence != fence:
        raise LostLease(current=run.status)
    return tell(*_output(run, command), *_reported(run, command, now))


def _cancelled(run: Run, command: CancelRun, now: datetime) -> tuple[Event, ...]:
    if run.ended:
        raise IllegalTransition(f"run {run.id} has ended already: it is {run.status}", current=run.status)
    if run.status is not Status.RUNNING:
        return (_end_of(run, Cancel(by=command.by, reason=command.reason, at=now)),)
    if run.cancel is not None:
        return ()
    return (RunCancelRequested(by=command.by, reason=command.reason, requested_at=now),)


def _woken(run: Run, now: datetime) -> tuple[Event, ...]:
    """The lease ran out, or a time has come: the commit checks that the due entry is still the one seen."""
    if run.dropped and run.cancel is not None:
        return (_end_of(run, run.cancel),)
    match run.status:
        case Status.RUNNING:
            return (RunLost(attempt=run.attempt, worker=run.worker), _after_loss(run))
        case Status.RETRYING if run.wake_at is not None and run.wake_at <= now:
            return (_queued(run, "retry"),)
        case Status.QUEUED | Status.HELD if _is_overdue(run, now):
            return (_expired(run),)
        case Status.HELD if run.hold is not None and run.hold.until <= now:
            return _released(run, now)
        case _:
            return ()


def _whole_ms(at: datetime) -> datetime:
    """Not before `at`, in what the due index counts by: who is woken a fraction early finds nothing to do."""
    return ids.from_ms(ids.to_ms(at + timedelta(microseconds=999)))


def _released(run: Run, now: datetime) -> tuple[Event, ...]:
    if run.status is not Status.HELD or run.hold is None:  # what an overlap holds is its job's to release
        return ()
    return (_end_instead(run, now) or _queued(run, "released"),)


def _end_instead(run: Run, now: datetime) -> Event | None:
    """The end of what was to go on, if that is wished, or comes too late."""
    if run.cancel is not None:
        return _end_of(run, run.cancel)
    return _expired(run) if _is_overdue(run, now) else None


def _after_loss(run: Run) -> Event:
    if run.cancel is not None:
        return _end_of(run, run.cancel)
    if run.lost + 1 < run.spec.max_lost:
        return _queued(run, "lost")
    count = run.spec.max_lost
    said = "its worker was lost" if count == 1 else f"{count} workers were lost"
    error = Failure(class_="WorkerLost", message=f"{said} while running it")
    return RunFailed(attempt=run.attempt, error=error)


def _reported(run: Run, report: Report, now: datetime) -> tuple[Event, ...]:
    """What the worker's report comes to; with a cancel requested, only a success is more than the cancel."""
    match report:
        case SucceedRun(result=result):
            return (RunSucceeded(attempt=run.attempt, result=result),)
        case _ if run.cancel is not None:
            return (_end_of(run, run.cancel),)
        case FailRun():
            return (_failed(run, report, now),)
        case InterruptRun():
            return (RunInterrupted(attempt=run.attempt, worker=run.worker), _queued(run, "interrupted"))


def _output(run: Run, report: Report) -> tuple[Event, ...]:
    if report.output is None:
        return ()
    return (RunOutput(attempt=run.attempt, text=report.output.text, dropped=report.output.dropped),)


def _failed(run: Run, command: FailRun, now: datetime) -> RunFailed | RunRetryPlanned:
    delay_s = None
    if not command.give_up:
        delay_s = backoff_s(
            run.spec.retry,
            attempt=run.failures + 1,
            error_names=command.names,
            draw=command.draw,
            asked_s=command.retry_in_s,
        )
    if delay_s is None:
        return RunFailed(attempt=run.attempt, error=command.error)
    delay_ms = round(delay_s * 1000)
    return RunRetryPlanned(
        attempt=run.attempt,
        error=command.error,
        delay_seconds=delay_ms / 1000,
        wake_at=now + timedelta(milliseconds=delay_ms),
    )


def _is_overdue(run: Run, now: datetime) -> bool:
    return run.attempt == 0 and run.start_by is not None and run.start_by <= now


def _expired(run: Run) -> RunExpired:
    assert run.start_by is not None  # noqa: S101 - it is overdue
    return RunExpired(start_by=run.start_by)


def _end_of(run: Run, cancel: Cancel) -> RunCancelled:
    return RunCancelled(attempt=run.attempt, by=cancel.by, reason=cancel.reason, cancelled_at=cancel.at)


def _queued(run: Run, reason: str) -> RunQueued:
    return RunQueued(queue=run.spec.queue, priority=run.spec.priority, reason=reason)  # type: ignore[arg-type]


class _Teller:
    """Makes a decision of events about one run.

    Its end advances the job too, if that follows its runs, and is handed on to the jobs that follow on it.
    """

    def __init__(self, run: Run, now: datetime) -> None:
        self._run = run
        self._now = now

    def __call__(self, *events: Event) -> Decision:
        run = self._run
        changes = [
            Change(
                subject=f"run:{run.id}",
                event=event,
                job=run.job_id,
                both=run.follows and isinstance(event, TERMINAL),
            )
            for event in events
        ]
        if events and run.spec.chain is not None:
            asked = relay.handed_on(run, events[-1], self._now)
            changes += [] if asked is None else [asked]
        return Decision(changes=tuple(changes))


# Evolving.


def evolve(run: Run | None, change: Change) -> Run:
    """The run after `change`; total: what doesn't concern it leaves it as it is.

    Raises:
        ValueError: the first event of a run is not its RunRequested (a log that is no log of ours).
    """
    event = change.event
    if isinstance(event, RunRequested):
        return _requested(change.subject.removeprefix("run:"), event)
    if run is None:
        raise ValueError(f"{type(event).__name__} on {change.subject} before any RunRequested")
    step = _STEPS.get(type(event))
    return step(run, event) if step else run


def _requested(run_id: str, event: RunRequested) -> Run:
    return Run(
        id=run_id,
        job_id=event.job_id,
        spec=event.spec,
        status=Status.HELD if event.held else Status.QUEUED,
        trigger=event.trigger,
        scheduled_for=event.scheduled_for,
        revision=event.revision,
        follows=event.follows,
        correlation_id=event.correlation_id,
        start_by=_start_by(event),
        backfill=event.backfill,
        fires_at=None if event.fires_at == event.scheduled_for else event.fires_at,
        depth=event.depth,
    )


def _start_by(event: RunRequested) -> datetime | None:
    seconds = event.spec.start_deadline_seconds
    return None if seconds is None else event.fires_at + timedelta(seconds=seconds)


def _on_queued(run: Run, _: RunQueued) -> Run:
    return replace(run, status=Status.QUEUED, wake_at=None, worker="")


def _on_held(run: Run, event: RunHeld) -> Run:
    hold = Hold(reason=event.reason, key=event.key, until=event.until, since=event.since)
    return replace(run, status=Status.HELD, hold=hold)


def _on_started(run: Run, event: RunStarted) -> Run:
    return replace(run, status=Status.RUNNING, attempt=event.attempt, worker=event.worker, hold=None)


def _on_succeeded(run: Run, _: RunSucceeded) -> Run:
    return replace(run, status=Status.SUCCEEDED)


def _on_failed(run: Run, _: RunFailed) -> Run:
    return replace(run, status=Status.FAILED)


def _on_retry_planned(run: Run, event: RunRetryPlanned) -> Run:
    return replace(run, status=Status.RETRYING, failures=run.failures + 1, wake_at=event.wake_at, worker="")


def _on_lost(run: Run, _: RunLost) -> Run:
    return replace(run, lost=run.lost + 1)


def _on_cancel_requested(run: Run, event: RunCancelRequested) -> Run:
    return replace(run, cancel=run.cancel or Cancel(by=event.by, reason=event.reason, at=event.requested_at))


def _on_cancelled(run: Run, event: RunCancelled) -> Run:
    cancel = Cancel(by=event.by, reason=event.reason, at=event.cancelled_at)
    return replace(run, status=Status.CANCELLED, cancel=cancel, wake_at=None)


def _on_expired(run: Run, _: RunExpired) -> Run:
    return replace(run, status=Status.EXPIRED)


_STEPS: dict[type[Event], Callable[..., Run]] = {
    RunQueued: _on_queued,
    RunHeld: _on_held,
    RunStarted: _on_started,
    RunSucceeded: _on_succeeded,
    RunFailed: _on_failed,
    RunRetryPlanned: _on_retry_planned,
    RunLost: _on_lost,
    RunCancelRequested: _on_cancel_requested,
    RunCancelled: _on_cancelled,
    RunExpired: _on_expired,
}
