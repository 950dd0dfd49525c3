"""A run: how it came to be, what it waited for, what became of each attempt, and how it ended or where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.api.explaining import occurrence, steps
from services.api.explaining.codes import Code
from services.api.explaining.finding import Finding, at_of, counted, lasting, of_event, quoted
from shared.domain import run as runs
from shared.domain.events import (
    TERMINAL,
    ChainTriggered,
    RunCancelRequested,
    RunHeld,
    RunQueued,
    RunRequested,
    RunStarted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from services.api.explaining.finding import Words
    from shared.domain.events import Event
    from shared.domain.run import Run
    from shared.eventlog.envelope import Recorded

NOBODY_S = 5.0  # so long without any event of a queue's executors, and nobody is there; they claim within milliseconds
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
        starts: how many other runs they started.
        signs: how many events of theirs there are, those starts among them.
        is_capped: whether there may be more of both: so many events were looked at.
        shown: the starts that whoever asks may see.
        at_work: how many runs of the queue are, of a run that still waits.
    """

    starts: int = 0
    signs: int = 0
    is_capped: bool = False
    shown: tuple[Recorded, ...] = ()
    at_work: int = 0

    @property
    def is_quiet(self) -> bool:
        """Whether nobody seems to have served the queue."""
        return not (self.signs or self.at_work or self.is_capped)

    def counted(self, noun: str) -> str:
        """How many starts there were, in words."""
        return f"{'at least ' if self.is_capped else ''}{counted(self.starts, noun)}"


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
        elif run is not None and (one := steps.told(recorded, run, self._words)) is not None:
            yield one

    def present(self, run: Run, events: Sequence[Recorded]) -> Iterator[Finding]:
        """Where a run stands that hasn't ended; what a hold or a planned retry means was told with its event."""
        until = self._beside.until
        if run.status is runs.Status.RUNNING:
            started = [each for each in events if each.type == "RunStarted"][-1]
            so_long = lasting((until - at_of(started)).total_seconds())
            said = f"attempt {run.attempt} has been at work for {so_long}, on worker {run.worker}"
            yield Finding(
                Code.RUNNING, said, until, (started,), {"attempt": run.attempt, "worker": run.worker}
            )
        if run.offered and (found := waits(events)) and found[-1].left is None:
            yield from self._stands(run, found[-1])

    def _stands(self, run: Run, wait: Wait) -> Iterator[Finding]:
        until, meanwhile = (
            self._beside.until,
            self._beside.meanwhile.get(wait.queued.position.pos, Meanwhile()),
        )
        waited_s = (until - at_of(wait.queued)).total_seconds()
        if meanwhile.is_quiet and waited_s > NOBODY_S:
            yield self._nobody(wait.queued, run.spec.queue, waited_s)
        said = f"it stands in queue {run.spec.queue}, priority {run.spec.priority}, for {lasting(waited_s)}"
        said += f"; {meanwhile.counted('other run')} of it started meanwhile" if meanwhile.starts else ""
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
        if meanwhile.is_quiet and waited_s > NOBODY_S:
            yield self._nobody(wait.queued, queue, waited_s)
        elif meanwhile.starts:
            said = f"queued behind {meanwhile.counted('run')} of queue {queue}, which started first"
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


def _queue(queued: Recorded) -> str:
    event = queued.change().event
    return event.queue if isinstance(event, RunQueued) else str(event.spec.queue)  # type: ignore[attr-defined]


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
