"""The run: one execution of a job, from its request to its one terminal event.

```
 requested ─▶ queued ──start──▶ running ─▶ succeeded
               ▲  ▲              │ │  └──▶ failed (dead letter)
               │  └─ RunLost, ───┘ │
               │     RunInterrupted│
               └──── retrying ◀────┘
```
`held`, `cancelled` and `expired` join with the issues that hold, cancel and expire runs. What an executor reports
is guarded by the fence: the position of the RunStarted it answers (DESIGN §6.2).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec.structs import replace

from shared.domain.commands import FailRun, InterruptRun, RunCommand, StartRun, SucceedRun, Wake
from shared.domain.events import (
    TERMINAL,
    Change,
    Decision,
    Event,
    Failure,
    RunFailed,
    RunInterrupted,
    RunLost,
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

LOST_MAX = 3  # a run that loses this many workers is poison: it is failed, not handed to a fourth


class Status(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


ENDED = frozenset({Status.SUCCEEDED, Status.FAILED})


class Run(Value, frozen=True, kw_only=True):
    """The fold of a run's events.

    Attributes:
        attempt: number of starts so far.
        failures: how many of them failed; the retry policy counts these.
        lost: how many of them lost their worker.
        wake_at: when the next attempt is due (retrying only).
        follows: whether its job advances with its end.
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

    @property
    def ended(self) -> bool:
        """Whether its terminal event has been written."""
        return self.status in ENDED


def due_at(run: Run, *, now: datetime, lease: timedelta) -> datetime | None:
    """When to wake a run that has just come into its state: the end of its lease, or its next attempt."""
    match run.status:
        case Status.RUNNING:
            return now + lease
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
    tell = _Teller(run)
    match command:
        case StartRun(worker=worker) if run.status is Status.QUEUED:
            return tell(RunStarted(attempt=run.attempt + 1, worker=worker))
        case StartRun():
            raise IllegalTransition(f"run {run.id} is {run.status}, not queued", current=run.status)
        case Wake():
            return _woken(run, now, tell)
    if run.status is not Status.RUNNING or command.fence != fence:
        raise LostLease(current=run.status)
    match command:
        case SucceedRun(result=result):
            return tell(RunSucceeded(attempt=run.attempt, result=result))
        case FailRun():
            return tell(_failed(run, command, now))
        case InterruptRun():
            handed_back = RunInterrupted(attempt=run.attempt, worker=run.worker)
            return tell(handed_back, _queued(run, "interrupted"))


def _woken(run: Run, now: datetime, tell: _Teller) -> Decision:
    """The lease ran out, or the back-off has passed: the commit checks that the due entry is still the one seen."""
    match run.status:
        case Status.RUNNING if run.lost + 1 >= LOST_MAX:
            error = Failure(class_="WorkerLost", message=f"{LOST_MAX} workers were lost while running it")
            return tell(
                RunLost(attempt=run.attempt, worker=run.worker), RunFailed(attempt=run.attempt, error=error)
            )
        case Status.RUNNING:
            return tell(RunLost(attempt=run.attempt, worker=run.worker), _queued(run, "lost"))
        case Status.RETRYING if run.wake_at is not None and run.wake_at <= now:
            return tell(_queued(run, "retry"))
        case _:
            return Decision()


def _failed(run: Run, command: FailRun, now: datetime) -> RunFailed | RunRetryPlanned:
    delay_s = backoff_s(
        run.spec.retry, attempt=run.failures + 1, error_names=command.names, draw=command.draw
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


def _queued(run: Run, reason: str) -> RunQueued:
    return RunQueued(queue=run.spec.queue, priority=run.spec.priority, reason=reason)  # type: ignore[arg-type]


class _Teller:
    """Makes a decision of events about one run; its end advances the job too, if that follows its runs."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __call__(self, *events: Event) -> Decision:
        run = self._run
        return Decision(
            changes=tuple(
                Change(
                    subject=f"run:{run.id}",
                    event=event,
                    job=run.job_id,
                    both=run.follows and isinstance(event, TERMINAL),
                )
                for event in events
            )
        )


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
        status=Status.QUEUED,
        trigger=event.trigger,
        scheduled_for=event.scheduled_for,
        revision=event.revision,
        follows=event.follows,
        correlation_id=event.correlation_id,
    )


def _on_queued(run: Run, _: RunQueued) -> Run:
    return replace(run, status=Status.QUEUED, wake_at=None, worker="")


def _on_started(run: Run, event: RunStarted) -> Run:
    return replace(run, status=Status.RUNNING, attempt=event.attempt, worker=event.worker)


def _on_succeeded(run: Run, _: RunSucceeded) -> Run:
    return replace(run, status=Status.SUCCEEDED)


def _on_failed(run: Run, _: RunFailed) -> Run:
    return replace(run, status=Status.FAILED)


def _on_retry_planned(run: Run, event: RunRetryPlanned) -> Run:
    return replace(run, status=Status.RETRYING, failures=run.failures + 1, wake_at=event.wake_at, worker="")


def _on_lost(run: Run, _: RunLost) -> Run:
    return replace(run, lost=run.lost + 1)


_STEPS: dict[type[Event], Callable[..., Run]] = {
    RunQueued: _on_queued,
    RunStarted: _on_started,
    RunSucceeded: _on_succeeded,
    RunFailed: _on_failed,
    RunRetryPlanned: _on_retry_planned,
    RunLost: _on_lost,
}
