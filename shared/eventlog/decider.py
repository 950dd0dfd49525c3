"""The one way to change anything: load, decide, evolve, commit, and again from the newer state on conflict.

API, timer and executor differ only in what makes them decide. Which aggregates a unit guards follows from the
events: those they advance. What it puts into the due index and the work streams follows from the states.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, cast

from msgspec import field

from shared.domain import ids, job, run
from shared.domain.events import JobCreated, JobUpdated, RunQueued, RunRequested, RunStarted
from shared.domain.job import Job
from shared.domain.run import Run
from shared.domain.value import Value
from shared.eventlog import snapshot
from shared.eventlog.envelope import encode
from shared.eventlog.snapshot import NOTHING, Snapshot
from shared.eventlog.unit import FOR_EVER, Advance, Answered, Committed, Conflict, Draft, Early, Enqueue, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from shared.domain.commands import JobCommand, RunCommand
    from shared.domain.events import Change, Decision
    from shared.eventlog.envelope import Context
    from shared.eventlog.log import EventLog
    from shared.eventlog.position import Position
    from shared.eventlog.unit import Done, Once

RUN_EXPIRES_MS = 60_000  # after its end: long enough for a late reporter to be told what became of it
JOB_EXPIRES_MS = 24 * 3600 * 1000
_ADDS_WORK = (JobCreated, JobUpdated, RunRequested)


class Decided(Value, frozen=True, kw_only=True):
    """What became of a command.

    Attributes:
        before: the aggregate commanded, as it was.
        after: as it is now; the same as `before` if there was nothing to do.
        first: position of the first event written, None if there is none.
        last: position of the last one.
        at_ms: commit time of those in the last commit, as their envelopes have it; None if there is none.
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
    at_ms: int | None = None
    changes: tuple[Change, ...] = ()
    event_ids: tuple[str, ...] = ()
    answered: Answered | None = None
    states: Mapping[str, Snapshot] = field(default_factory=dict)


class _Plan(NamedTuple):
    """A decision, folded: the unit that writes it, and every aggregate that it advances as it is then."""

    unit: Unit
    after: Mapping[str, Job | Run]


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
        beside: Mapping[str, Snapshot] = MappingProxyType({}),
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
            beside: those of others that its events may advance too, if the caller has them. None need be the newest.
            woken: the score its entry in the due index had; if that has moved, nothing is done.
            done: the work stream's entry that this takes care of.
            once: the answer to give only once.

        Raises:
            Refused: the domain says no; nothing was written.
            LogFull: Redis takes no new work.
        """
        partition = self._log.partition_of(ref)
        known = {**beside, **({ref: held} if held is not None else await self._log.load(ref))}
        while True:
            now = self._log.now()
            decision = _decide(ref, known, command, now)
            if not decision.changes:
                return Decided(ref=ref, partition=partition, before=known[ref], after=known[ref])
            await self._load_advanced(decision, known)
            plan = self._planned(
                decision,
                known,
                context,
                now,
                woken={ref: woken} if woken else {},
                done=(done,) if done else (),
                once=once,
            )
            match await self._log.commit(partition, plan.unit):
                case Committed() as committed if decision.settled:
                    return _decided(ref, partition, known[ref], decision, plan, committed, known)
                case Committed() as committed:
                    known |= _versioned(plan, committed, known)
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

    def _planned(
        self,
        decision: Decision,
        known: Mapping[str, Snapshot],
        context: Context,
        now: datetime,
        *,
        woken: Mapping[str, str],
        done: tuple[Done, ...],
        once: Once | None,
    ) -> _Plan:
        now_ms = ids.to_ms(now)
        after: dict[str, Job | Run] = {}
        versions: dict[str, int] = {}  # number of the event that advances it last
        fences: dict[str, int] = {}
        drafts: list[Draft] = []
        entries: list[Enqueue] = []
        for number, change in enumerate(decision.changes, 1):
            for ref in change.advances:
                before = after[ref] if ref in after else known[ref].state
                after[ref] = _evolve(ref, before, change)
                versions[ref] = number
            drafts.append(self._draft(change, context, now_ms))
            match change.event:
                case RunStarted():
                    fences[change.subject] = number
                case RunQueued() | RunRequested(held=False):
                    entries.append(_entry(change.subject, cast("Run", after[change.subject]), number))
        unit = Unit(
            events=tuple(drafts),
            advances=tuple(
                Advance(
                    ref=ref,
                    expected=known[ref].version or "",
                    event=versions[ref],
                    fence=fences.get(ref, 0),
                    state=snapshot.dump(state),
                    live_ms=_live_ms(known[ref].state, state),
                )
                for ref, state in after.items()
            ),
            due=self._due(known, after, now),
            enqueue=tuple(entries),
            woken=woken,
            done=done,
            once=once,
            adds_work=any(isinstance(change.event, _ADDS_WORK) for change in decision.changes),
        )
        return _Plan(unit, after)

    def _draft(self, change: Change, context: Context, now_ms: int) -> Draft:
        event = change.event
        return Draft(
            id=ids.event_id(now_ms, self._chance()),
            type=type(event).__name__,
            v=str(event.VERSION),
            subject=change.subject.replace(":", "/", 1),
            job=change.job,
            advances="both" if change.both else "subject",
            actor=context.actor,
            cause=context.cause,
            corr=event.correlation_id if isinstance(event, RunRequested) else context.corr,
            trace=context.trace,
            data=encode(event),
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


def _live_ms(before: Job | Run | None, after: Job | Run) -> int | None:
    """How long what nothing will happen to any more stays in Redis; and that what is alive again stays."""
    if isinstance(after, Run):
        return RUN_EXPIRES_MS if after.ended else None
    if after.over:
        return JOB_EXPIRES_MS
    return FOR_EVER if isinstance(before, Job) and before.over else None


def _entry(ref: str, queued: Run, number: int) -> Enqueue:
    return Enqueue(
        queue=queued.spec.queue,
        priority=queued.spec.priority,
        run=ref.removeprefix("run:"),
        event=number,
        job=queued.job_id if queued.follows else "",
    )


def _versioned(plan: _Plan, committed: Committed, known: Mapping[str, Snapshot]) -> dict[str, Snapshot]:
    """The states with the versions that the commit gave them."""

    def position(number: int) -> str:
        return f"{committed.first.epoch}-{committed.first.pos + number - 1}"

    return {
        each.ref: Snapshot(
            state=plan.after[each.ref],
            version=position(each.event),
            fence=position(each.fence) if each.fence else known[each.ref].fence,
        )
        for each in plan.unit.advances
    }


def _decided(
    ref: str,
    partition: int,
    before: Snapshot,
    decision: Decision,
    plan: _Plan,
    committed: Committed,
    known: Mapping[str, Snapshot],
) -> Decided:
    states = _versioned(plan, committed, known)
    return Decided(
        ref=ref,
        partition=partition,
        before=before,
        after=states.get(ref, before),
        first=committed.first,
        last=committed.last,
        at_ms=committed.now_ms,
        changes=decision.changes,
        event_ids=tuple([event.id for event in plan.unit.events]),
        states=states,
    )
