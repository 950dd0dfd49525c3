"""What a decision writes: its events folded into the states it was made from, and laid down as one unit.

Which aggregates the unit guards follows from the events: those they advance. What it puts into the due index and the
work streams follows from the states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from shared.domain import ids, kinds, run
from shared.domain.events import (
    BackfillRequested,
    JobCreated,
    JobUpdated,
    RunQueued,
    RunRequested,
    RunStarted,
)
from shared.domain.run import Run
from shared.eventlog import snapshot
from shared.eventlog.envelope import encode
from shared.eventlog.snapshot import Snapshot
from shared.eventlog.unit import FOR_EVER, Advance, Done, Draft, Enqueue, Unit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from shared.domain.events import Change, Decision, Event
    from shared.domain.job import Job
    from shared.domain.kinds import Aggregate
    from shared.eventlog.envelope import Context
    from shared.eventlog.unit import Committed, Once

_ADDS_WORK = frozenset({JobCreated, JobUpdated, RunRequested, BackfillRequested})


class Reopened(RuntimeError):  # noqa: N818 - a finding
    """A decision asks for a run that was asked for before: it would open again what may have ended."""


class Plan(NamedTuple):
    """A decision's unit, and every aggregate that its events advance as it is then."""

    unit: Unit
    after: Mapping[str, Aggregate]

    def snapshots(self, known: Mapping[str, Snapshot], committed: Committed) -> dict[str, Snapshot]:
        """The states with the versions that the commit gave them; `known` is what they were planned from."""
        epoch, pos = committed.first
        snapshots = {}
        for ref, _, event, fence, *_ in self.unit.advances:
            snapshots[ref] = Snapshot(
                state=self.after[ref],
                version=f"{epoch}-{pos + event - 1}",
                fence=f"{epoch}-{pos + fence - 1}" if fence else known[ref].fence,
            )
        return snapshots


def planned(
    decision: Decision,
    known: Mapping[str, Snapshot],
    context: Context,
    *,
    now: datetime,
    lease: timedelta,
    chance: Callable[[], int],
    woken: tuple[tuple[str, str], ...],
    done: tuple[Done, ...],
    once: tuple[Once, ...],
) -> Plan:
    """The plan of a decision that changes something.

    Args:
        decision: made from the states in `known`.
        known: snapshots of all that its events advance.
        context: on whose behalf.
        now: when it was decided.
        lease: how long a start holds its run without a heartbeat.
        chance: bits for the events' ids.
        woken: see Unit, as `done` and `once`.
        done: likewise.
        once: likewise.

    Raises:
        Reopened: see there. A defect of the decision: ids of runs follow from what asks for them.
    """
    now_ms = ids.to_ms(now)
    after: dict[str, Aggregate] = {}
    versions: dict[str, int] = {}  # number of the event that advances it last
    fences: dict[str, int] = {}
    drafts: list[Draft] = []
    entries: dict[str, Enqueue] = {}
    adds_work = False
    for number, change in enumerate(decision.changes, 1):
        for ref in change.advances:
            before = after[ref] if ref in after else known[ref].state
            after[ref] = kinds.of_ref(ref).evolve(before, change)
            versions[ref] = number
        event = change.event
        if isinstance(event, RunRequested) and known[change.subject].state is not None:
            raise Reopened(
                f"{change.subject} was requested before, at or before {known[change.subject].version}"
            )
        drafts.append(_draft(change, context, after[change.subject], now_ms, chance()))
        if isinstance(event, RunStarted):
            fences[change.subject] = number
        elif isinstance(event, RunQueued) or (isinstance(event, RunRequested) and not event.held):
            entries[change.subject] = _entry(cast("Run", after[change.subject]), number)
        adds_work = adds_work or type(event) in _ADDS_WORK
    advances: list[Advance] = []
    due: list[tuple[str, str]] = []
    left = list(done)
    for ref, state in after.items():
        held = known[ref]
        if (entry := _left_entry(held, state)) is not None and entry not in left:
            left.append(entry)
        advances.append(
            Advance(
                ref,
                held.version or "",
                versions[ref],
                fences.get(ref, 0),
                snapshot.dump_apart(state),
                "" if _has_spec_of(held, state) else snapshot.dump_spec(state),
                _live_ms(held.state, state),
            )
        )
        woken_at = _due_at(state, now, lease)
        if woken_at != _due_at(held.state, now, lease):  # heartbeats move a running run's
            due.append((ref, "" if woken_at is None else str(ids.to_ms(woken_at))))
    unit = Unit(
        events=tuple(drafts),
        advances=tuple(advances),
        woken=woken,
        once=once,
        due=tuple(due),
        # What is to end in the unit that queues it stands in no work stream.
        enqueue=tuple([entry for ref, entry in entries.items() if cast("Run", after[ref]).offered]),
        done=tuple(left),
        adds_work=adds_work,
    )
    return Plan(unit, after)


def _draft(change: Change, context: Context, state: Aggregate, now_ms: int, chance: int) -> Draft:
    event = change.event
    return Draft(
        ids.event_id(now_ms, chance),
        type(event).__name__,
        str(event.VERSION),
        change.subject.replace(":", "/", 1),
        change.job,
        "both" if change.both else "subject",
        context.actor,
        context.cause,
        state.correlation_id if isinstance(state, Run) and _is_its_own(event) else context.corr,
        context.trace,
        encode(event),
    )


def _is_its_own(event: Event) -> bool:
    """Whether an event belongs to its own run's story, rather than to that of what it was decided with."""
    return isinstance(event, RunRequested) or (isinstance(event, RunQueued) and event.reason == "released")


def _entry(queued: Run, number: int) -> Enqueue:
    spec = queued.spec
    return Enqueue(
        spec.queue, spec.priority, queued.id, event=number, job=queued.job_id if queued.follows else ""
    )


def _left_entry(before: Snapshot, state: Aggregate) -> Done | None:
    """The work stream's entry of a run that is offered no longer: its id is the position of what queued it."""
    was = before.state
    if not isinstance(was, Run) or not was.offered or before.version is None:
        return None
    if cast("Run", state).offered:
        return None
    return Done(was.spec.queue, was.spec.priority, before.version)


def _due_at(state: Aggregate | None, now: datetime, lease: timedelta) -> datetime | None:
    """When it is to be woken; a running run's lease counts from now."""
    if isinstance(state, Run):
        return run.due_at(state, now=now, lease=lease)
    return None if state is None else kinds.of_state(state).due_at(state)


def _has_spec_of(before: Snapshot, state: Aggregate) -> bool:
    """Whether the hash in Redis has it already; what left Redis and came from the archive has no hash."""
    if not kinds.of_state(state).has_spec:
        return True
    was = cast("Job | Run | None", before.state)
    return before.version is not None and was is not None and was.spec is cast("Job | Run", state).spec


def _live_ms(before: Aggregate | None, after: Aggregate) -> int | None:
    """How long what nothing will happen to any more stays in Redis; and that what is alive again stays."""
    if after.over:
        return kinds.of_state(after).kept_ms
    return FOR_EVER if before is not None and before.over else None
