"""What is brought forward when months of the archive are dropped: the state of everything after their last event.

As in any book whose pages are full: the balance goes to the top of the next one. The same `evolve` makes it as makes
all other states, so whoever starts from it and folds what follows comes to what he would have come to from the
beginning, to the byte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.domain import ids, kinds
from shared.domain.backfill import Backfill
from shared.domain.events import (
    OUTCOMES,
    RunRequested,
    RunStarted,
)
from shared.domain.run import Run
from shared.eventlog import snapshot
from shared.eventlog.position import START, Position
from shared.readmodel import cuts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    import asyncpg

    from shared.domain.events import Change
    from shared.domain.kinds import Aggregate
    from shared.eventlog.envelope import Recorded
    from shared.readmodel.archive import Asked


class LastRun(NamedTuple):
    """The run of a job that had ended last."""

    id: str
    status: str
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """One aggregate, as it stood.

    Attributes:
        ref: `job:<id>`, `run:<id>`, `apikey:<hash>`, …
        version: position of the last event that advanced it.
        fence: of a run, the position of its latest start; None before that.
        start_id: of a run, the id of that RunStarted.
        active_runs: of a job: runs without a terminal event.
        last_run: of a job.
        told: of a job: position of the last event of it or of one of its runs.
    """

    ref: str
    version: Position
    state: Aggregate
    fence: Position | None = None
    start_id: str = ""
    active_runs: int = 0
    last_run: LastRun | None = None
    told: Position = START


async def brought_forward(
    connection: Asked, partition: int, kind: str, *, timeout_s: float | None = None
) -> dict[str, Brought]:
    """What was brought forward of a partition, by ref: its jobs, runs or others (`job`, `run`, `apikey`, …).

    Raises:
        NewerShape: a newer Daybook wrote one of them.
    """
    rows = await cuts.brought_forward(connection, partition, kind, timeout_s=timeout_s)
    return {row["ref"]: loaded(row) for row in rows}


async def brought_forward_of(connection: Asked, refs: Sequence[str]) -> dict[str, Brought]:
    """What was brought forward of these aggregates, by ref; nothing of those that weren't there.

    Raises:
        NewerShape: a newer Daybook wrote one of them.
    """
    return {row["ref"]: loaded(row) for row in await cuts.brought_forward_of(connection, refs)}


def loaded(row: asyncpg.Record) -> Brought:
    """A row of `book.brought_forward`.

    Raises:
        NewerShape: a newer Daybook wrote it.
    """
    last = row["last_run_id"], row["last_run_status"], row["last_run_finished_at"]
    return Brought(
        ref=row["ref"],
        version=Position(row["epoch"], row["pos"]),
        state=snapshot.load(kinds.of_ref(row["ref"]).state, row["state"].encode()),
        fence=Position.parse(row["fence"]) if row["fence"] else None,
        start_id=row["start_id"],
        active_runs=row["active_runs"],
        last_run=None if last[0] is None else LastRun(*last),
        told=Position(row["told_epoch"], row["told_pos"]),
    )


def stored(brought: Brought, partition: int) -> tuple[Any, ...]:
    """The row of `book.brought_forward`, in the order of its columns."""
    return (
        brought.ref,
        partition,
        *brought.version,
        snapshot.SHAPES[type(brought.state)],
        snapshot.dump(brought.state),
        "" if brought.fence is None else str(brought.fence),
        brought.start_id,
        brought.active_runs,
        *(brought.last_run or (None, None, None)),
        *brought.told,
    )


class Balance:
    """The states of a partition's aggregates, as far as its events were taken.

    Attributes:
        changed: refs of what stands otherwise than it was last settled.
        ended: refs of runs and backfills that are over since.
    """

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self.ended: set[str] = set()
        self._known: dict[str, Brought] = {}

    def missing(self, events: Iterable[Recorded]) -> list[str]:
        """Refs that these events go onto and that must be `told` first, if they were brought forward."""
        wanted = {ref for event in events for ref in _refs(event)}
        return sorted(wanted - self._known.keys() - self.ended)

    def tell(self, brought: Iterable[Brought]) -> None:
        """Know these, which were brought forward."""
        self._known.update((each.ref, each) for each in brought)

    def take(self, recorded: Recorded) -> None:
        """Fold the next event in.

        Raises:
            UnknownEvent: a newer Daybook wrote it.
            ValueError: it can't be one of its aggregate's, such as the first.
        """
        if recorded.subject == "log":
            return
        change = recorded.change()
        for ref in change.advances:
            self._advance(ref, recorded, change)
        if job_ref := _job_of(recorded):
            self._follow(job_ref, recorded, change)

    def standing(self) -> list[Brought]:
        """What has changed, and is to be brought forward now."""
        return [self._known[ref] for ref in sorted(self.changed)]

    def settle(self) -> None:
        """All that has changed was written."""
        self.changed.clear()
        self.ended.clear()
        self._known.clear()

    def _advance(self, ref: str, recorded: Recorded, change: Change) -> None:
        before = self._known.get(ref)
        state = kinds.of_ref(ref).evolve(None if before is None else before.state, change)
        if isinstance(state, Run | Backfill) and state.over:
            self._known.pop(ref, None)
            self.changed.discard(ref)
            self.ended.add(ref)
            return
        known = before or Brought(ref=ref, version=recorded.position, state=state)
        if isinstance(change.event, RunStarted) and ref == change.subject:
            known = replace(known, fence=recorded.position, start_id=recorded.id)
        self._note(replace(known, version=recorded.position, state=state))

    def _follow(self, ref: str, recorded: Recorded, change: Change) -> None:
        """Count a job's runs, as its row does."""
        known = self._known.get(ref)
        if known is None:
            raise ValueError(f"{recorded.place} {recorded.type} is of {ref}, which nobody created")
        self._note(counted(known, recorded, change))

    def _note(self, brought: Brought) -> None:
        self._known[brought.ref] = brought
        self.changed.add(brought.ref)


def counted(known: Brought, recorded: Recorded, change: Change) -> Brought:
    """A job after an event of it or of one of its runs, as far as its runs are counted."""
    outcome = OUTCOMES.get(type(change.event))
    if isinstance(change.event, RunRequested):
        known = replace(known, active_runs=known.active_runs + 1)
    elif outcome is not None:
        last = LastRun(change.subject.removeprefix("run:"), outcome, ids.from_ms(recorded.at))
        known = replace(known, active_runs=max(0, known.active_runs - 1), last_run=last)
    return replace(known, told=recorded.position)


def _refs(recorded: Recorded) -> Iterable[str]:
    if recorded.subject != "log":
        yield recorded.subject.replace("/", ":", 1)
        if recorded.job:
            yield f"job:{recorded.job}"


def _job_of(recorded: Recorded) -> str:
    if recorded.subject.startswith("job/"):
        return recorded.subject.replace("/", ":", 1)
    return f"job:{recorded.job}" if recorded.job else ""
