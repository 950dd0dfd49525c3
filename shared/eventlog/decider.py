"""The one way to change anything: load, decide, evolve, commit, and again from the newer state on conflict.

API, timer and executor differ only in what makes them decide. Which aggregates a unit guards follows from the
events: those they advance. What it puts into the due index and the work streams follows from the states.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast

from shared.domain import ids, job, run
from shared.domain.events import Decision, JobCreated, JobUpdated, RunQueued, RunRequested, RunStarted
from shared.domain.job import Job
from shared.domain.run import Run
from shared.eventlog import snapshot
from shared.eventlog.envelope import encode
from shared.eventlog.position import Position
from shared.eventlog.snapshot import NOTHING, Snapshot
from shared.eventlog.unit import FOR_EVER, Answered, Committed, Conflict, Draft, Early, Enqueue, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from shared.domain.commands import JobCommand, RunCommand
    from shared.domain.events import Change
    from shared.eventlog.envelope import Context
    from shared.eventlog.log import EventLog
    from shared.eventlog.unit import Done, Once

RUN_EXPIRES_MS = 60_000  # after its end: long enough for a late reporter to be told what became of it
JOB_EXPIRES_MS = 24 * 3600 * 1000
_ADDS_WORK = (JobCreated, JobUpdated, RunRequested)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What became of a command.

    Attributes:
        before: the aggregate commanded, as it was.
        after: as it is now; the same as `before` if there was nothing to do.
        first: position of the first event written, None if there is none.
        last: position of the last one.
        at: commit time of those in the last commit, as their envelopes have it; None if there is none.
        changes: the events, in order; their ids stand in `event_ids`.
        answered: the answer an Idempotency-Key has had before; nothing was written.
        states: every aggregate the events advanced, as it is now.
    """

    ref: str
    partition: int
    before: Snapshot
    after: Snapshot
    first: Position | None = None
    last: Position | None = None
    at: datetime | None = None
    changes: tuple[Change, ...] = ()
    event_ids: tuple[str, ...] = ()
    answered: Answered | None = None
    states: Mapping[str, Snapshot] = field(default_factory=dict)


class _Extras(NamedTuple):
    """What a caller adds to the unit; fields as in Unit."""

    woken: Mapping[str, str]
    done: tuple[Done, ...]
    once: Once | None


class Decider:
    """Decides commands against the log.

    Args:
        log: where to.
        lease: how long a start holds its run without a heartbeat.
        chance: at least 80 random bits at each call, for event ids.
    """

    def __init__(self, log: EventLog, *, lease: timedelta, chance: Callable[[], int]) -> None:
        self._log = log
        self._lease = lease
        self._chance = chance

    async def decide(
        self,
        ref: str,
        command: JobCommand | RunCommand,
        context: Context,
        *,
        held: Snapshot | None = None,
        woken: str | None = None,
        done: Done | None = None,
        once: Once | None = None,
    ) -> Decided:
        """Carry `command` out on `job:<id>` or `run:<id>`.

        Args:
            ref: the aggregate.
            command: the wish.
            context: on whose behalf.
            held: its snapshot, if the caller has it; NOTHING for an id just made.
            woken: the score its entry in the due index had; if that has moved, nothing is done.
            done: the work stream's entry that this takes care of.
            once: the answer to give only once.

        Raises:
            Refused: the domain says no; nothing was written.
            LogFull: Redis takes no new work.
        """
        partition = self._log.partition_of(ref)
        known = {ref: held} if held is not None else await self._log.load(ref)
        while True:
            decision = _decide(ref, known, command, self._log.now())
            if not decision.changes:
                return Decided(ref=ref, partition=partition, before=known[ref], after=known[ref])
            await self._load_advanced(decision, known)
            extras = _Extras(woken={ref: woken} if woken else {}, done=(done,) if done else (), once=once)
            unit, after = self._unit(decision, known, context, extras)
            match await self._log.commit(partition, unit):
                case Committed() as committed if decision.settled:
                    return _decided(ref, partition, known, decision, unit, after, committed)
                case Committed() as committed:
                    known |= _versioned(unit, after, known, committed)
                case Conflict(ref=other, snapshot=newer):
                    known[other] = newer if newer is not NOTHING else (await self._log.load(other))[other]
                case Early():
                    return Decided(ref=ref, partition=partition, before=known[ref], after=known[ref])
                case Answered() as answered:
                    return Decided(
                        ref=ref, partition=partition, before=known[ref], after=known[ref], answered=answered
                    )

    async def _load_advanced(self, decision: Decision, known: dict[str, Snapshot]) -> None:
        """Snapshots of what the events advance beside the aggregate commanded; a requested run is new."""
        wanted: list[str] = []
        for change in decision.changes:
            if isinstance(change.event, RunRequested):
                known.setdefault(change.subject, NOTHING)
            wanted += [ref for ref in change.advances if ref not in known and ref not in wanted]
        if wanted:
            known |= await self._log.load(*wanted)

    def _unit(
        self, decision: Decision, known: Mapping[str, Snapshot], context: Context, extras: _Extras
    ) -> tuple[Unit, dict[str, Job | Run]]:
        now = self._log.now()
        after: dict[str, Job | Run] = {}
        for change in decision.changes:
            for ref in change.advances:
                after[ref] = _evolve(ref, after.get(ref, known[ref].state), change)
        return (
            Unit(
                guards={ref: known[ref].version for ref in after},
                events=tuple(self._draft(change, context, now) for change in decision.changes),
                states={ref: snapshot.dump(state) for ref, state in after.items()},
                live_ms=_live_ms(known, after),
                due=self._due(known, after, now),
                enqueue=tuple(_enqueued(decision, after)),
                woken=extras.woken,
                done=extras.done,
                once=extras.once,
                adds_work=any(isinstance(change.event, _ADDS_WORK) for change in decision.changes),
            ),
            after,
        )

    def _draft(self, change: Change, context: Context, now: datetime) -> Draft:
        event = change.event
        corr = event.correlation_id if isinstance(event, RunRequested) else context.corr
        return Draft(
            id=ids.event_id(ids.to_ms(now), self._chance()),
            type=type(event).__name__,
            v=event.VERSION,
            subject=change.subject.replace(":", "/", 1),
            job=change.job,
            advances="both" if change.both else "subject",
            actor=context.actor,
            cause=context.cause,
            corr=corr,
            trace=context.trace,
            data=encode(event),
            aggregates=change.advances,
            fences=isinstance(event, RunStarted),
        )

    def _due(
        self, known: Mapping[str, Snapshot], after: Mapping[str, Job | Run], now: datetime
    ) -> dict[str, int | None]:
        """Where each state stands in the due index, if that has changed; heartbeats move a running run's."""
        due: dict[str, int | None] = {}
        for ref, state in after.items():
            old, new = self._due_at(known[ref].state, now), self._due_at(state, now)
            if new != old:
                due[ref] = None if new is None else ids.to_ms(new)
        return due

    def _due_at(self, state: Job | Run | None, now: datetime) -> datetime | None:
        match state:
            case Job():
                return state.due_at
            case Run():
                return run.due_at(state, now=now, lease=self._lease)
            case None:
                return None


def _decide(
    ref: str, known: Mapping[str, Snapshot], command: JobCommand | RunCommand, now: datetime
) -> Decision:
    held = known[ref]
    if ref.startswith("job:"):
        return job.decide(cast("Job | None", held.state), cast("JobCommand", command), now)
    return run.decide(cast("Run | None", held.state), cast("RunCommand", command), now, fence=held.fence)


def _evolve(ref: str, state: Job | Run | None, change: Change) -> Job | Run:
    if ref.startswith("job:"):
        return job.evolve(cast("Job | None", state), change)
    return run.evolve(cast("Run | None", state), change)


def _live_ms(known: Mapping[str, Snapshot], after: Mapping[str, Job | Run]) -> dict[str, int]:
    """What may leave Redis after a while, now that nothing will happen to it; and what may no longer."""
    live_ms: dict[str, int] = {}
    for ref, state in after.items():
        if isinstance(state, Run):
            if state.ended:
                live_ms[ref] = RUN_EXPIRES_MS
        elif state.over:
            live_ms[ref] = JOB_EXPIRES_MS
        elif known[ref].state is not None and cast("Job", known[ref].state).over:
            live_ms[ref] = FOR_EVER
    return live_ms


def _enqueued(decision: Decision, after: Mapping[str, Job | Run]) -> list[Enqueue]:
    entries = []
    for index, change in enumerate(decision.changes, 1):
        if isinstance(change.event, RunQueued) or (
            isinstance(change.event, RunRequested) and not change.event.held
        ):
            spec = cast("Run", after[change.subject]).spec
            run_id = change.subject.removeprefix("run:")
            entries.append(Enqueue(queue=spec.queue, priority=spec.priority, run=run_id, event=index))
    return entries


def _versioned(
    unit: Unit, after: Mapping[str, Job | Run], known: Mapping[str, Snapshot], committed: Committed
) -> dict[str, Snapshot]:
    """The states with the versions that the commit gave them."""
    versions: dict[str, str] = {}
    fences: dict[str, str] = {}
    for offset, event in enumerate(unit.events):
        position = str(Position(committed.first.epoch, committed.first.pos + offset))
        for ref in event.aggregates:
            versions[ref] = position
            if event.fences:
                fences[ref] = position
    return {
        ref: Snapshot(state=state, version=versions[ref], fence=fences.get(ref, known[ref].fence))
        for ref, state in after.items()
    }


def _decided(
    ref: str,
    partition: int,
    known: Mapping[str, Snapshot],
    decision: Decision,
    unit: Unit,
    after: Mapping[str, Job | Run],
    committed: Committed,
) -> Decided:
    states = _versioned(unit, after, known, committed)
    return Decided(
        ref=ref,
        partition=partition,
        before=known[ref],
        after=states.get(ref, known[ref]),
        first=committed.first,
        last=committed.last,
        at=ids.from_ms(committed.now_ms),
        changes=decision.changes,
        event_ids=tuple(event.id for event in unit.events),
        states=states,
    )
