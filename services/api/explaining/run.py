"""A run: how it came to be, what it waited for, what became of each attempt, and how it ended or where it stands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from services.api.explaining import occurrence
from services.api.explaining.codes import Code
from services.api.explaining.finding import Finding, at_of, counted, lasting, of_event, quoted
from shared.domain import run as runs
from shared.domain.events import (
    TERMINAL,
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
from shared.domain.overlaps import BY, replaced_by

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from services.api.explaining.finding import Words
    from shared.domain.events import Event
    from shared.domain.run import Run
    from shared.eventlog.envelope import Recorded

NOBODY_S = 5.0  # so long without any event of a queue's executors, and nobody is there; they claim within milliseconds
_POISON = "WorkerLost"
_SEALED = re.compile(r'\{"\$(personal|erased)":')  # what stands in the place of personal data
REPLACED = replaced_by("")
_LEAVES: tuple[type[Event], ...] = (RunStarted, RunHeld, RunCancelRequested, *TERMINAL)  # a work stream


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
        at_work: how many runs of the queue are, of a run that still waits.
    """

    starts: int = 0
    signs: int = 0
    shown: tuple[Recorded, ...] = ()
    at_work: int = 0


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
        if found and found[-1].left is None and isinstance(kind, _LEAVES):
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
        if not (meanwhile.signs or meanwhile.at_work) and waited_s > NOBODY_S:
            yield self._nobody(wait.queued, run.spec.queue, waited_s)
        said = f"it stands in queue {run.spec.queue}, priority {run.spec.priority}, for {lasting(waited_s)}"
        said += (
            f"; {counted(meanwhile.starts, 'other run')} of it started meanwhile" if meanwhile.starts else ""
        )
        said += f"; {counted(meanwhile.at_work, 'run')} of it at work" if meanwhile.at_work else ""
        details = {
            "queue": run.spec.queue,
            "priority": run.spec.priority,
            "seconds": waited_s,
            "started_meanwhile": meanwhile.starts,
            "at_work": meanwhile.at_work,
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
        nothing = f"no executor began or ended anything of queue {queue} for {lasting(waited_s)}"
        said = f"{nothing}: none served it, or all were at work since before"
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
        """Who asked for a run that no schedule did."""
        at, origin = self._words.whole(at_of(recorded)), self._beside.origin
        wanted = None if origin is None else origin.change().event
        details = {"by": recorded.actor, "of": event.of, "run_id": recorded.subject.removeprefix("run/")}
        match event.trigger:
            case "manual":
                found = of_event(
                    recorded, Code.TRIGGERED, f"asked for by {recorded.actor} at {at}", **details
                )
            case "retry":
                said = f"run {event.of} done again, as {recorded.actor} wanted at {at}"
                found = of_event(recorded, Code.RETRIED, said, **details)
            case "chain":
                said = f"it follows on run {event.of} of another job, and was asked for at {at}"
                found = of_event(recorded, Code.CHAINED, said, **details, depth=event.depth)
            case _:
                by, reason = getattr(wanted, "by", recorded.actor), getattr(wanted, "reason", "")
                said = f"backfill {event.backfill}, wanted by {by}{quoted(reason)}, asked for it at {at}"
                told = details | {"by": by, "reason": reason, "backfill_id": event.backfill}
                found = of_event(recorded, Code.BACKFILLED, said, **told)
        return found if origin is None else found._replace(events=(origin, recorded))

    def _held(self, recorded: Recorded) -> Finding:
        behind = self._beside.behind
        who = f": {counted(len(behind), 'run')}, {behind[0]} first" if behind else ""
        said = f"held until no other run of its job is active (overlap_policy){who}"
        return of_event(recorded, Code.HELD_BY_OVERLAP, said, behind=list(behind))

    def _told(self, recorded: Recorded, event: object, run: Run) -> Finding | None:
        """What an event of its way tells, or of its end."""
        return self._on_its_way(recorded, event, run) or self._ended(recorded, event, run)

    def _on_its_way(self, recorded: Recorded, event: object, run: Run) -> Finding | None:
        when = self._words.brief(at_of(recorded))
        match event:
            case RunQueued():
                return _queued_again(recorded, event, run, when)
            case RunHeld():
                return self._limited(recorded, event)
            case RunStarted(attempt=attempt, worker=worker):
                which = "" if attempt == 1 else f"attempt {attempt} "
                said = f"{which}started {when} by worker {worker}"
                return of_event(recorded, Code.STARTED, said, attempt=attempt, worker=worker)
            case RunRetryPlanned():
                return self._failed_for_now(recorded, event)
            case RunLost(attempt=attempt, worker=worker):
                said = f"attempt {attempt} lost its worker {worker}: its lease ran out at {when}"
                return of_event(recorded, Code.WORKER_LOST, said, attempt=attempt, worker=worker)
            case RunInterrupted(attempt=attempt, worker=worker):
                said = f"attempt {attempt} was handed back at {when} by worker {worker}, which was stopping"
                return of_event(recorded, Code.INTERRUPTED, said, attempt=attempt, worker=worker)
            case RunCancelRequested(by=by, reason=reason):
                return _cancelled(
                    recorded, Code.CANCEL_REQUESTED, by, reason, "wanted ended by {by} at " + when
                )
            case _:
                return None

    def _ended(self, recorded: Recorded, event: object, run: Run) -> Finding | None:
        when = self._words.brief(at_of(recorded))
        match event:
            case RunSucceeded(attempt=attempt):
                return of_event(
                    recorded, Code.SUCCEEDED, f"attempt {attempt} succeeded at {when}", attempt=attempt
                )
            case RunFailed():
                return _failed(recorded, event, run, when)
            case RunCancelled(by=by, reason=reason):
                return _cancelled(recorded, Code.CANCELLED, by, reason, "cancelled by {by} at " + when)
            case RunExpired(start_by=start_by):
                deadline = self._words.brief(start_by)
                said = f"expired at {when}: nobody had started it by its start deadline, {deadline}"
                return of_event(recorded, Code.START_DEADLINE, said, start_by=start_by)
            case _:
                return None

    def _limited(self, recorded: Recorded, event: RunHeld) -> Finding:
        until = self._words.brief(event.until)
        details = {"key": event.key, "until": event.until, "since": event.since}
        if event.reason == "concurrency":
            said = f"held by concurrency_key {event.key}: enough of its runs were at work; it asks again at {until}"
            return of_event(recorded, Code.HELD_BY_CONCURRENCY, said, **details)
        said = f"held by the rate of job type {event.key}: enough of it had just started; its turn is {until}"
        return of_event(recorded, Code.HELD_BY_RATE, said, **details)

    def _failed_for_now(self, recorded: Recorded, event: RunRetryPlanned) -> Finding:
        again = f"the next one in {lasting(event.delay_seconds)}, at {self._words.brief(event.wake_at)}"
        return of_event(
            recorded,
            Code.ATTEMPT_FAILED,
            f"attempt {event.attempt} failed: {said_of(event.error)}; {again}",
            attempt=event.attempt,
            error=event.error.class_,
            delay_seconds=event.delay_seconds,
            wake_at=event.wake_at,
        )


def said_of(error: Failure) -> str:
    """What went wrong; of a message that is sealed, or was until its job was erased, the class alone."""
    is_told = error.message and not _SEALED.search(error.message)
    return f"{error.class_}: {error.message}" if is_told else error.class_


def _queue(queued: Recorded) -> str:
    event = queued.change().event
    return event.queue if isinstance(event, RunQueued) else str(event.spec.queue)  # type: ignore[attr-defined]


def _queued_again(recorded: Recorded, event: RunQueued, run: Run, when: str) -> Finding:
    details = {"queue": event.queue, "reason": event.reason}
    if event.reason != "released":
        said = f"queued {when} for attempt {run.attempt + 1}"
        return of_event(recorded, Code.QUEUED_AGAIN, said, **details)
    made_room = (
        "no other run of its job was active any more" if run.hold is None else f"{run.hold.key} had room"
    )
    return of_event(recorded, Code.RELEASED, f"released {when}, as {made_room}, and queued", **details)


def _failed(recorded: Recorded, event: RunFailed, run: Run, when: str) -> Finding:
    attempts, error = run.spec.retry.max_retries + 1, said_of(event.error)
    details = {"attempt": event.attempt, "error": event.error.class_, "max_attempts": attempts}
    if event.error.class_ == _POISON and run.lost >= run.spec.max_lost:
        said = f"failed for good at {when}: {error} (max_lost {run.spec.max_lost})"
        return of_event(recorded, Code.POISON, said, **details, lost=run.lost)
    said = f"attempt {event.attempt} failed at {when}: {error}"
    if run.failures + 1 >= attempts:
        return of_event(
            recorded, Code.RETRIES_USED_UP, f"{said}; no attempt is left of {attempts}", **details
        )
    said += "; that is not retried (retry_on, give_up_on, or its handler says so)"
    return of_event(recorded, Code.GIVEN_UP, said, **details)


def _cancelled(recorded: Recorded, code: Code, by: str, reason: str, what: str) -> Finding:
    newer = reason.removeprefix(REPLACED)
    if by == BY and newer != reason:
        said = f"it made way for run {newer} (overlap_policy replace)"
        return of_event(recorded, Code.REPLACED, said, by=by, reason=reason, run_id=newer)
    return of_event(recorded, code, f"{what.format(by=by)}{quoted(reason)}", by=by, reason=reason)


def _handed_on(recorded: Recorded) -> Iterator[Finding]:
    event = recorded.change().event
    if isinstance(event, ChainTriggered):
        parts = [
            f"run {each.run_id} of job {each.job_id}"
            if each.run_id
            else f"job {each.job_id} refused: {each.refused}"
            for each in event.links
        ]
        links = [
            {"job_id": each.job_id, "run_id": each.run_id, "refused": each.refused} for each in event.links
        ]
        yield of_event(recorded, Code.HANDED_ON, f"handed on to {', '.join(parts)}", links=links)
