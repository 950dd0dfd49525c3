"""A run: how it came to be, what it waited for, what became of each attempt, and how it ended or where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from services.api.explaining import occurrence
from services.api.explaining.codes import Code
from services.api.explaining.finding import Finding, at_of, counted, lasting, quoted
from shared.domain import run as runs
from shared.domain.events import (
    TERMINAL,
    ChainRequested,
    ChainTriggered,
    Failure,
    RunCancelled,
    RunCancelRequested,
    RunExpired,
    RunFailed,
    RunHeld,
    RunInterrupted,
    RunLost,
    RunQueued,
    RunRequested,
    RunRetryPlanned,
    RunStarted,
    RunSucceeded,
)
from shared.domain.overlaps import BY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from services.api.explaining.finding import Words
    from shared.domain.run import Run
    from shared.eventlog.envelope import Recorded

NOBODY_S = 5.0  # so long without any event of a queue's executors, and nobody is there; they claim within milliseconds
_POISON = "WorkerLost"


class Wait(NamedTuple):
    """A stay in a work stream.

    Attributes:
        queued: the event that put the run there.
        left: the one that took it out; None: it stands there.
    """

    queued: Recorded
    left: Recorded | None


class Meanwhile(NamedTuple):
    """What executors did for a run's queue while it waited there.

    Attributes:
        starts: how many other runs they started; up to some hundreds are counted.
        signs: how many events of theirs there are, those starts among them.
        shown: the starts that whoever asks may see.
    """

    starts: int = 0
    signs: int = 0
    shown: tuple[Recorded, ...] = ()


class Beside(NamedTuple):
    """What stands beside a run's own events.

    Attributes:
        around: of the decision of the schedule, if that asked for it.
        behind: the runs of its job that it had to wait for.
        origin: the event behind it: the end of the run that it repeats or follows on, the request of its backfill.
        meanwhile: by the pos of the event that put it into a work stream.
        relay: events of the relay that its end was handed to.
        until: up to when the log is known.
    """

    around: occurrence.Around
    behind: tuple[str, ...]
    origin: Recorded | None
    meanwhile: Mapping[int, Meanwhile]
    relay: Sequence[Recorded]
    until: datetime


def waits(events: Sequence[Recorded]) -> list[Wait]:
    """The stays in work streams that the events of a run tell of."""
    found: list[Wait] = []
    for recorded in events:
        kind = recorded.change().event
        if (
            found
            and found[-1].left is None
            and isinstance(kind, RunStarted | RunHeld | RunCancelRequested | TERMINAL)
        ):
            found[-1] = Wait(found[-1].queued, recorded)
        if isinstance(kind, RunQueued) or (isinstance(kind, RunRequested) and not kind.held):
            found.append(Wait(recorded, None))
    return found


def told(events: Sequence[Recorded], beside: Beside, words: Words) -> list[Finding]:
    """The story of a run, from its events in order."""
    state: Run | None = None
    found: list[Finding] = []
    teller = _Teller(beside, words, {each.left.position.pos: each for each in waits(events) if each.left})
    for recorded in events:
        change = recorded.change()
        found += teller.of(recorded, state)
        state = runs.evolve(state, change)
    for recorded in beside.relay:
        found += _handed_on(recorded)
    if state is not None and not state.ended:
        found += teller.present(state, events)
    return found


class _Teller:
    """What each event of a run tells."""

    def __init__(self, beside: Beside, words: Words, left: Mapping[int, Wait]) -> None:
        self._beside = beside
        self._words = words
        self._left = left

    def of(self, recorded: Recorded, run: Run | None) -> Iterator[Finding]:
        """The findings of an event on the run as it was before."""
        event = recorded.change().event
        if (wait := self._left.get(recorded.position.pos)) is not None:
            yield from self._waited(wait, recorded)
        if isinstance(event, RunRequested):
            yield from self._requested(recorded, event)
        elif run is not None and (one := self._told(recorded, event, run)) is not None:
            yield one

    def present(self, run: Run, events: Sequence[Recorded]) -> Iterator[Finding]:
        """Where a run stands that hasn't ended; what a hold or a planned retry means was told with its event."""
        until = self._beside.until
        if run.status is runs.Status.RUNNING:
            started = [each for each in events if each.type == "RunStarted"][-1:]
            said = f"attempt {run.attempt} runs since then, on worker {run.worker}"
            yield Finding(
                Code.RUNNING, said, until, tuple(started), {"attempt": run.attempt, "worker": run.worker}
            )
        if run.offered and (found := waits(events)) and found[-1].left is None:
            yield from self._stands(run, found[-1])

    def _stands(self, run: Run, wait: Wait) -> Iterator[Finding]:
        until, meanwhile = (
            self._beside.until,
            self._beside.meanwhile.get(wait.queued.position.pos, Meanwhile()),
        )
        waited_s = (until - at_of(wait.queued)).total_seconds()
        if meanwhile.signs == 0 and waited_s > NOBODY_S:
            yield self._nobody(wait.queued, run.spec.queue, waited_s)
        said = f"it stands in queue {run.spec.queue}, priority {run.spec.priority}, for {lasting(waited_s)}"
        if meanwhile.starts:
            said += f"; {counted(meanwhile.starts, 'other run')} of it were started meanwhile"
        details = {
            "queue": run.spec.queue,
            "priority": run.spec.priority,
            "seconds": waited_s,
            "started_meanwhile": meanwhile.starts,
        }
        yield Finding(Code.IN_QUEUE, said, until, (wait.queued, *meanwhile.shown), details)

    def _waited(self, wait: Wait, left: Recorded) -> Iterator[Finding]:
        """What it waited for in its queue."""
        meanwhile = self._beside.meanwhile.get(wait.queued.position.pos, Meanwhile())
        waited_s = (left.at - wait.queued.at) / 1000
        queue = _queue(wait.queued)
        if meanwhile.signs == 0 and waited_s > NOBODY_S:
            yield self._nobody(wait.queued, queue, waited_s)
        elif meanwhile.starts:
            said = f"queued behind {counted(meanwhile.starts, 'run')} of queue {queue}, which started first"
            details = {"queue": queue, "runs": meanwhile.starts, "seconds": waited_s}
            yield Finding(
                Code.QUEUED_BEHIND, said, at_of(wait.queued), (wait.queued, *meanwhile.shown), details
            )

    def _nobody(self, queued: Recorded, queue: str, waited_s: float) -> Finding:
        said = f"no executor did anything for queue {queue} for {lasting(waited_s)}: none served it"
        return Finding(
            Code.NO_EXECUTOR, said, at_of(queued), (queued,), {"queue": queue, "seconds": waited_s}
        )

    def _requested(self, recorded: Recorded, event: RunRequested) -> Iterator[Finding]:
        if event.trigger == "schedule":
            yield from occurrence.fired(recorded, event, self._beside.around, self._words)
        else:
            yield self._asked_for(recorded, event)
        if event.held:
            yield self._held(recorded)

    def _asked_for(self, recorded: Recorded, event: RunRequested) -> Finding:
        at, origin = self._words.whole(at_of(recorded)), self._beside.origin
        events = (recorded,) if origin is None else (origin, recorded)
        details: dict[str, Any] = {
            "by": recorded.actor,
            "of": event.of,
            "run_id": recorded.subject.removeprefix("run/"),
        }
        match event.trigger:
            case "manual":
                return Finding(
                    Code.TRIGGERED, f"{recorded.actor} asked for it at {at}", at_of(recorded), events, details
                )
            case "retry":
                said = f"{recorded.actor} had run {event.of} done again at {at}"
                return Finding(Code.RETRIED, said, at_of(recorded), events, details)
            case "chain":
                said = f"it follows on run {event.of} of another job, and was asked for at {at}"
                return Finding(Code.CHAINED, said, at_of(recorded), events, details | {"depth": event.depth})
            case _:
                wanted = None if origin is None else origin.change().event
                by, reason = getattr(wanted, "by", ""), getattr(wanted, "reason", "")
                said = f"backfill {event.backfill} asked for it at {at}"
                said += f", as {by} wanted{quoted(reason)}" if by else ""
                told = details | {"backfill_id": event.backfill, "by": by or recorded.actor}
                return Finding(Code.BACKFILLED, said, at_of(recorded), events, told)

    def _held(self, recorded: Recorded) -> Finding:
        behind = self._beside.behind
        who = f": {counted(len(behind), 'run')}, {behind[0]} first" if behind else ""
        said = f"held until no other run of its job is active (overlap_policy){who}"
        return Finding(Code.HELD_BY_OVERLAP, said, at_of(recorded), (recorded,), {"behind": list(behind)})

    def _told(self, recorded: Recorded, event: object, run: Run) -> Finding | None:
        at, when = at_of(recorded), self._words.brief(at_of(recorded))
        match event:
            case RunQueued(reason=reason, queue=queue):
                return _queued_again(recorded, reason, queue, run, when)
            case RunHeld():
                return self._limited(recorded, event)
            case RunStarted(attempt=attempt, worker=worker):
                said = (
                    f"started {when} by worker {worker}"
                    if attempt == 1
                    else f"attempt {attempt} started {when} by worker {worker}"
                )
                return Finding(Code.STARTED, said, at, (recorded,), {"attempt": attempt, "worker": worker})
            case RunRetryPlanned():
                return self._failed_for_now(recorded, event)
            case RunLost(attempt=attempt, worker=worker):
                said = f"attempt {attempt} lost its worker {worker}: its lease ran out at {when}"
                return Finding(
                    Code.WORKER_LOST, said, at, (recorded,), {"attempt": attempt, "worker": worker}
                )
            case RunInterrupted(attempt=attempt, worker=worker):
                said = f"attempt {attempt} was handed back at {when} by worker {worker}, which was stopping"
                return Finding(
                    Code.INTERRUPTED, said, at, (recorded,), {"attempt": attempt, "worker": worker}
                )
            case RunSucceeded(attempt=attempt):
                said = f"attempt {attempt} succeeded at {when}"
                return Finding(Code.SUCCEEDED, said, at, (recorded,), {"attempt": attempt})
            case RunFailed():
                return _failed(recorded, event, run, when)
            case RunCancelRequested(by=by, reason=reason):
                return _cancelled(recorded, Code.CANCEL_REQUESTED, by, reason, f"wanted it ended at {when}")
            case RunCancelled(by=by, reason=reason):
                return _cancelled(recorded, Code.CANCELLED, by, reason, f"cancelled it at {when}")
            case RunExpired(start_by=start_by):
                said = f"expired at {when}: nobody had started it by its start deadline, {self._words.brief(start_by)}"
                return Finding(Code.START_DEADLINE, said, at, (recorded,), {"start_by": start_by})
            case _:
                return None

    def _limited(self, recorded: Recorded, event: RunHeld) -> Finding:
        until = self._words.brief(event.until)
        details = {"key": event.key, "until": event.until, "since": event.since}
        if event.reason == "concurrency":
            said = f"held by concurrency_key {event.key}: enough of its runs were at work; it asks again at {until}"
            return Finding(Code.HELD_BY_CONCURRENCY, said, at_of(recorded), (recorded,), details)
        said = f"held by the rate of job type {event.key}: enough of it had just started; its turn is {until}"
        return Finding(Code.HELD_BY_RATE, said, at_of(recorded), (recorded,), details)

    def _failed_for_now(self, recorded: Recorded, event: RunRetryPlanned) -> Finding:
        wake_at = self._words.brief(event.wake_at)
        said = f"attempt {event.attempt} failed: {said_of(event.error)}; the next one in {lasting(event.delay_seconds)}, at {wake_at}"
        details = {
            "attempt": event.attempt, "error": event.error.class_, "delay_seconds": event.delay_seconds,
            "wake_at": event.wake_at,
        }  # fmt: skip
        return Finding(Code.ATTEMPT_FAILED, said, at_of(recorded), (recorded,), details)


def said_of(error: Failure) -> str:
    """What went wrong; of a message that is sealed, the class alone."""
    message: object = error.message
    return f"{error.class_}: {message}" if isinstance(message, str) and message else error.class_


def _queue(queued: Recorded) -> str:
    event = queued.change().event
    return event.queue if isinstance(event, RunQueued) else event.spec.queue  # type: ignore[attr-defined, no-any-return]


def _queued_again(recorded: Recorded, reason: str, queue: str, run: Run, when: str) -> Finding:
    details = {"queue": queue, "reason": reason}
    if reason == "released":
        held = (
            "no other run of its job was active any more" if run.hold is None else f"{run.hold.key} had room"
        )
        said = f"released {when}, as {held}, and queued"
        return Finding(Code.RELEASED, said, at_of(recorded), (recorded,), details)
    said = f"queued {when} for attempt {run.attempt + 1}"
    return Finding(Code.QUEUED_AGAIN, said, at_of(recorded), (recorded,), details)


def _failed(recorded: Recorded, event: RunFailed, run: Run, when: str) -> Finding:
    attempts = run.spec.retry.max_retries + 1
    details = {"attempt": event.attempt, "error": event.error.class_, "max_attempts": attempts}
    if event.error.class_ == _POISON and run.lost >= run.spec.max_lost:
        said = f"failed for good at {when}: {said_of(event.error)} (max_lost {run.spec.max_lost})"
        return Finding(Code.POISON, said, at_of(recorded), (recorded,), details | {"lost": run.lost})
    said = f"attempt {event.attempt} failed at {when}: {said_of(event.error)}"
    if run.failures + 1 >= attempts:
        said += f"; no attempt is left of {attempts}"
        return Finding(Code.RETRIES_USED_UP, said, at_of(recorded), (recorded,), details)
    said += "; that is not retried (retry_on, give_up_on, or its handler says so)"
    return Finding(Code.GIVEN_UP, said, at_of(recorded), (recorded,), details)


def _cancelled(recorded: Recorded, code: Code, by: str, reason: str, what: str) -> Finding:
    details = {"by": by, "reason": reason}
    if by == BY and reason.startswith("replaced by "):
        newer = reason.removeprefix("replaced by ")
        said = f"it made way for run {newer} (overlap_policy replace)"
        return Finding(Code.REPLACED, said, at_of(recorded), (recorded,), details | {"run_id": newer})
    return Finding(code, f"{by} {what}{quoted(reason)}", at_of(recorded), (recorded,), details)


def _handed_on(recorded: Recorded) -> Iterator[Finding]:
    event = recorded.change().event
    if isinstance(event, ChainRequested):
        return
    if isinstance(event, ChainTriggered):
        links = [
            {"job_id": each.job_id, "run_id": each.run_id, "refused": each.refused} for each in event.links
        ]
        parts = [
            f"run {each.run_id} of job {each.job_id}"
            if each.run_id
            else f"job {each.job_id} refused: {each.refused}"
            for each in event.links
        ]
        said = f"handed on to {', '.join(parts)}"
        yield Finding(Code.HANDED_ON, said, at_of(recorded), (recorded,), {"links": links})
