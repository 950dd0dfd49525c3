"""Steps of a run: what each of its events tells, from its start to its end, once it was asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from services.api.explaining.codes import Code
from services.api.explaining.finding import Finding, at_of, in_line, lasting, of_event, quoted
from shared.domain.events import (
    Failure,
    RunCancelled,
    RunCancelRequested,
    RunExpired,
    RunFailed,
    RunHeld,
    RunInterrupted,
    RunLost,
    RunQueued,
    RunRetryPlanned,
    RunStarted,
    RunSucceeded,
)
from shared.domain.overlaps import BY, replaced_by

if TYPE_CHECKING:
    from services.api.explaining.finding import Words
    from shared.domain.run import Run
    from shared.eventlog.envelope import Recorded

_POISON = "WorkerLost"
_REPLACED = replaced_by("")
_SEALED = re.compile(r'\{"\$(personal|erased)":')  # what stands in the place of personal data


def told(recorded: Recorded, run: Run, words: Words) -> Finding | None:
    """What an event tells of a run as it was before; None: nothing that is not told elsewhere."""
    when = words.brief(at_of(recorded))
    return _on_its_way(recorded, run, when, words) or _ended(recorded, run, when, words)


def _on_its_way(recorded: Recorded, run: Run, when: str, words: Words) -> Finding | None:
    match event := recorded.change().event:
        case RunQueued():
            return _queued_again(recorded, event, run, when)
        case RunHeld():
            return _limited(recorded, event, words)
        case RunStarted(attempt=attempt, worker=worker):
            which = "" if attempt == 1 else f"attempt {attempt} "
            said = f"{which}started {when} by worker {worker}"
            return of_event(recorded, Code.STARTED, said, attempt=attempt, worker=worker)
        case RunRetryPlanned():
            return _failed_for_now(recorded, event, words)
        case RunLost(attempt=attempt, worker=worker):
            said = f"attempt {attempt} lost its worker {worker}: its lease ran out at {when}"
            return of_event(recorded, Code.WORKER_LOST, said, attempt=attempt, worker=worker)
        case RunInterrupted(attempt=attempt, worker=worker):
            said = f"attempt {attempt} was handed back at {when} by worker {worker}, which was stopping"
            return of_event(recorded, Code.INTERRUPTED, said, attempt=attempt, worker=worker)
        case RunCancelRequested(by=by, reason=reason):
            return _cancelled(recorded, Code.CANCEL_REQUESTED, by, reason, "wanted ended by {by} at " + when)
        case _:
            return None


def _ended(recorded: Recorded, run: Run, when: str, words: Words) -> Finding | None:
    match event := recorded.change().event:
        case RunSucceeded(attempt=attempt):
            return of_event(
                recorded, Code.SUCCEEDED, f"attempt {attempt} succeeded at {when}", attempt=attempt
            )
        case RunFailed():
            return _failed(recorded, event, run, when)
        case RunCancelled(by=by, reason=reason):
            return _cancelled(recorded, Code.CANCELLED, by, reason, "cancelled by {by} at " + when)
        case RunExpired(start_by=start_by):
            deadline = words.brief(start_by)
            said = f"expired at {when}: nobody had started it by its start deadline, {deadline}"
            return of_event(recorded, Code.START_DEADLINE, said, start_by=start_by)
        case _:
            return None


def _limited(recorded: Recorded, event: RunHeld, words: Words) -> Finding:
    until = words.brief(event.until)
    details = {"key": event.key, "until": event.until, "since": event.since}
    if event.reason == "concurrency":
        said = (
            f"held by concurrency_key {event.key}: enough of its runs were at work; it asks again at {until}"
        )
        return of_event(recorded, Code.HELD_BY_CONCURRENCY, said, **details)
    said = f"held by the rate of job type {event.key}: enough of it had just started; its turn is {until}"
    return of_event(recorded, Code.HELD_BY_RATE, said, **details)


def _failed_for_now(recorded: Recorded, event: RunRetryPlanned, words: Words) -> Finding:
    again = f"the next one in {lasting(event.delay_seconds)}, at {words.brief(event.wake_at)}"
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
    return f"{error.class_}: {in_line(error.message)}" if is_told else error.class_


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
    newer = reason.removeprefix(_REPLACED)
    if by == BY and newer != reason:
        said = f"it made way for run {newer} (overlap_policy replace)"
        return of_event(recorded, Code.REPLACED, said, by=by, reason=reason, run_id=newer)
    return of_event(recorded, code, f"{what.format(by=by)}{quoted(reason)}", by=by, reason=reason)
