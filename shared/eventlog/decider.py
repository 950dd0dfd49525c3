"""The one way to change anything: load, decide, evolve, commit, and again from the newer state on conflict.

API, timer and executor differ only in what makes them decide. What a decision writes follows from its events: see
`plan`.
"""

from __future__ import annotations

from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from msgspec import field
from msgspec.structs import replace

from shared.domain import backfilling, following, kinds
from shared.domain.backfill import Backfill
from shared.domain.events import TERMINAL, ChainRequested, RunRequested
from shared.domain.job import Job
from shared.domain.kinds import Seen
from shared.domain.refusals import Refused
from shared.domain.run import Run
from shared.domain.value import Value
from shared.eventlog.handover import Handover
from shared.eventlog.permits import Permits
from shared.eventlog.plan import planned
from shared.eventlog.snapshot import NOTHING, Snapshot
from shared.eventlog.unit import Answered, Committed, Conflict, Early
from shared.faults import is_broken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from shared.domain.commands import Command
    from shared.domain.events import Change, Decision
    from shared.domain.kinds import Aggregate
    from shared.eventlog.envelope import Context
    from shared.eventlog.log import EventLog
    from shared.eventlog.plan import Plan
    from shared.eventlog.position import Position
    from shared.eventlog.unit import Done, Once


_NONE: Mapping[str, Aggregate | None] = MappingProxyType({})
_BEGINS = (RunRequested, ChainRequested)  # what they are about isn't looked for, in the archive either


class Unseen(ConnectionError):  # noqa: N818 - said in logs
    """A decision can't be made now, as something that it looks at can't be reached; other decisions can."""


class Decided(Value, frozen=True, kw_only=True):
    """What became of a command.

    Attributes:
        before: the aggregate commanded, as it was.
        after: as it is now; the same as `before` if there was nothing to do.
        first: position of the first event written, None if there is none.
        last: position of the last one.
        at_ms: commit time of those in the last commit, as their envelopes have it; None if there is none.
        changes: the events, in order; their ids stand in `event_ids`.
        answered: the answer that `once` has had before; nothing was written.
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

    @property
    def ended(self) -> list[Run]:
        """The runs that `changes` have ended."""
        states = [
            self.states[change.subject].state
            for change in self.changes
            if isinstance(change.event, TERMINAL) and change.subject in self.states
        ]
        return [state for state in states if isinstance(state, Run)]


class Decider:
    """Decides commands against the log.

    Attributes:
        permits: of the concurrency keys.
        handover: passes them on.

    Args:
        log: where to.
        lease: how long a start holds its run without a heartbeat.
        chance: at least 80 random bits at each call, for event ids.
    """

    def __init__(self, log: EventLog, *, lease: timedelta, chance: Callable[[], int]) -> None:
        self._log = log
        self._lease = lease
        self._chance = chance
        self.permits = Permits(log, lease)
        self.handover = Handover(log, self.permits, partial(self.decide, hands_over=False))

    async def decide(
        self,
        ref: str,
        command: Command,
        context: Context,
        *,
        held: Snapshot | None = None,
        beside: Mapping[str, Snapshot] = MappingProxyType({}),
        woken: str | None = None,
        done: Done | None = None,
        once: tuple[Once, ...] = (),
        hands_over: bool = True,
    ) -> Decided:
        """Carry `command` out on an aggregate: `job:<id>`, `run:<id>`, see `shared.domain.kinds`.

        Args:
            ref: the aggregate.
            command: the wish.
            context: on whose behalf.
            held: its snapshot, if the caller has it; NOTHING for an id just made.
            beside: those of others that its events may advance too, if the caller has them. None need be the newest.
            woken: the score its entry in the due index had; if that has moved, nothing is done.
            done: the work stream's entry that this takes care of.
            once: the answers to give only once; the first that has been given is what comes back.
            hands_over: whether permits of runs that are at work no longer are handed on before it returns.

        Raises:
            Refused: the domain says no, and `once` has had no answer; nothing was written.
            LogFull: Redis takes no new work.
        """
        partition = self._log.partition_of(ref)
        known = {**beside, ref: await self._held(ref, held, context.tenant)}
        while True:
            try:
                decision, now = await self._decision(ref, command, known[ref])
            except Refused:
                # What was done by the first of two may be what stands in the way of the second.
                if (had := await self._answered(partition, once)) is None:
                    raise
                return _nothing(ref, partition, known, answered=had)
            if not decision.changes:
                return _nothing(ref, partition, known, answered=await self._answered(partition, once))
            decision = await self._with_consequences(decision, known, now)
            plan = planned(
                decision,
                known,
                # What goes before a command isn't its answer, nor caused by what asks for that only once.
                context if decision.settled or not once else replace(context, cause=""),
                now=now,
                lease=self._lease,
                chance=self._chance,
                woken=((ref, woken),) if woken else (),
                done=(done,) if done else (),
                once=once if decision.settled else (),
            )
            match await self._log.commit(partition, plan.unit):
                case Committed() as committed if decision.settled:
                    decided = _decided(ref, partition, known, decision, plan, committed)
                    await self._hand_over(known, decided, hands_over)
                    return decided
                case Committed() as committed:
                    known |= plan.snapshots(known, committed)
                case Conflict() as conflict:
                    await self._learn(known, ref, conflict)
                case Early():
                    return _nothing(ref, partition, known)
                case Answered() as answered:
                    return _nothing(ref, partition, known, answered=answered)

    async def _hand_over(self, known: Mapping[str, Snapshot], decided: Decided, wanted: bool) -> None:  # noqa: FBT001
        if wanted:
            await self.handover.after(known, decided.states)

    async def rehearse(self, ref: str, command: Command, held: Snapshot) -> Decision:
        """What `command` would lead to now on an aggregate that stands as `held`; nothing is written.

        Raises:
            Refused: the domain says no.
        """
        return (await self._decision(ref, command, held))[0]

    async def _decision(self, ref: str, command: Command, latest: Snapshot) -> tuple[Decision, datetime]:
        """What the domain says, and when."""
        kind, partition = kinds.of_ref(ref), self._log.partition_of(ref)
        seen = await self._seen(partition, latest, kind.reads(latest.state, command))
        now = self._log.now(partition)
        return kind.decide(latest.state, command, now, seen), now

    async def _seen(self, partition: int, latest: Snapshot, refs: tuple[str, ...]) -> Seen:
        """What a decision looks at beside the state.

        Raises:
            Unseen: what it looks at stands elsewhere, where nobody answers.
        """
        if not refs:
            return Seen(latest.fence, _NONE)
        try:
            found = await self._log.load(*refs)
        except Exception as error:
            if not is_broken(error) or all(self._log.partition_of(ref) == partition for ref in refs):
                raise
            raise Unseen(f"{', '.join(refs)} can't be looked at: {error}") from error
        places = {
            ref: f"{self._log.partition_of(ref)}:{held.version}"
            for ref, held in found.items()
            if held.version is not None
        }
        return Seen(latest.fence, {ref: held.state for ref, held in found.items()}, places)

    async def _with_consequences(
        self, decision: Decision, known: dict[str, Snapshot], now: datetime
    ) -> Decision:
        """The decision with what it leads to on jobs and backfills whose runs it ends; all it advances is `known`."""
        await self._load_advanced(decision, known)
        changes = decision.changes
        if not any(isinstance(change.event, TERMINAL) for change in changes):
            return decision
        if following.has_followed(changes):
            for ref in {f"job:{change.job}" for change in changes if change.both}:
                state = known[ref].state
                if isinstance(state, Job):
                    job = following.after(state, changes)
                    released = await self._next_to_run(job, known)
                    changes += following.consequences(job, changes, released, now)
        # What ends a run stands last: a request that it answers is known by the last event of its unit.
        changes = await self._told_to_backfills(changes, known, now) + changes
        if len(changes) == len(decision.changes):
            return decision
        decision = replace(decision, changes=changes)
        await self._load_advanced(decision, known)
        return decision

    async def _told_to_backfills(
        self, changes: tuple[Change, ...], known: dict[str, Snapshot], now: datetime
    ) -> tuple[Change, ...]:
        """What `changes` lead to on the backfills whose runs they end."""
        runs = [known[change.subject].state for change in changes if isinstance(change.event, TERMINAL)]
        refs = {f"backfill:{run.backfill}" for run in runs if isinstance(run, Run) and run.backfill}
        if not refs:
            return ()
        if missing := refs - known.keys():
            known |= await self._log.load(*missing)
        states = [known[ref].state for ref in refs]
        led = [backfilling.after_ends(state, changes, now) for state in states if isinstance(state, Backfill)]
        return tuple(each for some in led for each in some)

    async def _next_to_run(self, job: Job, known: dict[str, Snapshot]) -> Run | None:
        """The run that takes the place of one that has ended, which is `known` then."""
        run_id = following.next_to_run(job)
        if run_id is None:
            return None
        if (ref := f"run:{run_id}") not in known:
            known |= await self._log.load(ref)
        state = known[ref].state
        return state if isinstance(state, Run) else None

    async def _learn(self, known: dict[str, Snapshot], ref: str, conflict: Conflict) -> None:
        """Take the newer state into `known`; if it is of a run that was to be requested, that of `ref` too."""
        other, newer = conflict.ref, conflict.snapshot
        if known[other] is NOTHING and other != ref:  # what wished for the run is older than the run
            known[ref] = (await self._log.load(ref))[ref]
        known[other] = newer if newer is not NOTHING else (await self._log.load(other))[other]
        # Runs that were to be requested may have been meanwhile, and be what the next decision is about.
        for each in [each for each, held in known.items() if held is NOTHING and each not in {ref, other}]:
            del known[each]

    async def has_answered(self, ref: str, once: tuple[Once, ...]) -> bool:
        """Whether one of `once` has had its answer."""
        return await self._answered(self._log.partition_of(ref), once) is not None

    async def _answered(self, partition: int, once: tuple[Once, ...]) -> Answered | None:
        for each in once:
            if (had := await self._log.answered(partition, each.digest)) is not None:
                return had
        return None

    async def _held(self, ref: str, held: Snapshot | None, tenant: str | None) -> Snapshot:
        """The snapshot to begin with, if it is within `tenant`."""
        if held is None:
            held = (await self._log.load(ref))[ref]
        if tenant is not None:
            await self.refuse_foreign(held, tenant)
        return held

    async def refuse_foreign(self, held: Snapshot, tenant: str) -> None:
        """What is another tenant's isn't there; a run is its job's.

        Raises:
            Refused: in the words for what isn't there.
        """
        state = held.state
        if state is None:
            return
        whose: Aggregate | None = state
        if isinstance(state, Run):
            ref = f"job:{state.job_id}"
            whose = (await self._log.load(ref))[ref].state
        if getattr(whose, "tenant", None) != tenant:
            raise kinds.of_state(state).unknown

    async def _load_advanced(self, decision: Decision, known: dict[str, Snapshot]) -> None:
        """Snapshots of what the events advance beside the aggregate commanded; a requested run or relay is new."""
        wanted: list[str] = []
        for change in decision.changes:
            for ref in change.advances:
                if ref not in known:
                    if ref == change.subject and isinstance(change.event, _BEGINS):
                        known[ref] = NOTHING
                    elif ref not in wanted:
                        wanted.append(ref)
        if wanted:
            known |= await self._log.load(*wanted)


def _nothing(
    ref: str, partition: int, known: Mapping[str, Snapshot], *, answered: Answered | None = None
) -> Decided:
    """Nothing was written."""
    return Decided(ref=ref, partition=partition, before=known[ref], after=known[ref], answered=answered)


def _decided(
    ref: str,
    partition: int,
    known: Mapping[str, Snapshot],
    decision: Decision,
    plan: Plan,
    committed: Committed,
) -> Decided:
    states = plan.snapshots(known, committed)
    return Decided(
        ref=ref,
        partition=partition,
        before=known[ref],
        after=states.get(ref, known[ref]),
        first=committed.first,
        last=committed.last,
        at_ms=committed.now_ms,
        changes=decision.changes,
        event_ids=tuple([event.id for event in plan.unit.events]),
        states=states,
    )
