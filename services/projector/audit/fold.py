"""The fold of a partition's events: what snapshots, due index, work streams and ledgers are compared with.

Rows are made by the projector's own code, states by the domain's. What is over is let go of, so that the archive may be
much larger than memory: of a run that has ended and was compared, its id is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from services.projector import job_rows, projections
from services.projector.audit import erasures, overlaps, runs, schedules
from services.projector.audit.lines import Invariant
from services.projector.audit.runs import Stories
from services.projector.audit.schedules import Decided
from services.projector.hours import Hour, Hours
from shared.domain import ids, kinds, run
from shared.domain.events import JobCreated, RunStarted
from shared.domain.job import Job
from shared.domain.run import Run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from services.projector.audit.lines import Findings
    from services.projector.job_rows import JobEntry
    from services.projector.run_rows import RunRow
    from shared.domain.events import Change
    from shared.eventlog.envelope import Recorded
    from shared.eventlog.position import Position
    from shared.recovery.brought_forward import Brought

HOUR_MS = 3_600_000
_OTHERS = frozenset(kind.name for kind in kinds.BESIDE)


class Standing(NamedTuple):
    """A run's state, its version, and the position of its latest start ('' = none)."""

    run: Run
    version: Position
    fence: str


class Other(NamedTuple):
    """The state of what is neither a job nor a run, and its version."""

    state: Any
    version: Position


class Fold:
    """The events of a partition as far as they were taken.

    Attributes:
        jobs: job id → state, version and the row's share.
        runs: run id → state of each unfinished run, and of those in `kept`.
        others: ref → state of each API key and whatever else is neither a job nor a run, over or not.
        rows: run id → row of each run whose row has not been compared yet.
        over: ids of runs that have ended since they were last asked for.
        hours: sums of the ledger of hours.
        unknown: refs of which an event could not be read.
        unknown_hours: hours since 1970 of events that could not be read.
        unreadable: ids of those events.
        untold: runs that had begun when what was before was dropped: their rows can't be told.
        whole_from_ms: what happened before that isn't all there.
        stories: of the runs.

    Args:
        findings: where to tell.
        kept: refs of runs whose state is kept after their end, as they may still be in Redis.
    """

    def __init__(self, findings: Findings, kept: AbstractSet[str]) -> None:
        self.jobs: dict[str, JobEntry] = {}
        self.runs: dict[str, Standing] = {}
        self.others: dict[str, Other] = {}
        self.rows: dict[str, RunRow] = {}
        self.over: list[str] = []
        self.hours: Hours = {}
        self.unknown: set[str] = set()
        self.unknown_hours: set[int] = set()
        self.unreadable: set[str] = set()
        self.untold: set[str] = set()
        self.whole_from_ms = 0
        self.stories = Stories()
        self._findings = findings
        self._decided = Decided()
        self._kept = kept

    def bring_forward(self, brought: Iterable[Brought], *, whole_from_ms: int) -> None:
        """Begin with these states, as what is taken next comes after what was dropped."""
        self.whole_from_ms = whole_from_ms
        for each in brought:
            match each.state:
                case Job() as job:
                    self.jobs[job.id] = job_rows.brought(each)
                case Run() as state:
                    fence = "" if each.fence is None else str(each.fence)
                    self.runs[state.id] = Standing(state, each.version, fence)
                    self.untold.add(state.id)
                    runs.brought_forward(self.stories, state, each.start_id)
                case other:
                    self.others[each.ref] = Other(other, each.version)

    def take(self, recorded: Recorded, *, ledgers: bool) -> None:
        """Fold the next event in; `ledgers`: rows of runs and hours too, which the archive's events make."""
        self._findings.checked(Invariant.READABLE)
        try:
            change = recorded.change()
        except Exception as error:  # noqa: BLE001 - a newer build's, or nobody's of ours: its own line
            self._give_up(recorded, f"{type(error).__name__}: {error}")
        else:
            self._take(recorded, change, ledgers=ledgers)
        if projections.run_of(recorded) in self.untold:
            self.unknown_hours.add(recorded.at // HOUR_MS)
        folded = projections.fold((recorded,), self.jobs, self.rows if ledgers else {})
        if ledgers:
            _add(self.hours, folded.hours)
        if folded.unreadable and recorded.id not in self.unreadable:
            self._give_up(recorded, folded.unreadable[0].message)

    def knows(self, ref: str) -> bool:
        """Whether the state of `job:<id>`, `run:<id>`, … can be told."""
        return ref not in self.unknown

    def _take(self, recorded: Recorded, change: Change, *, ledgers: bool) -> None:
        job_id, run_id = projections.job_of(recorded), projections.run_of(recorded)
        entry = self.jobs.get(job_id)
        if entry is not None and entry.job is not None:
            schedules.check(self._findings, self._decided, entry.job, change, recorded.place)
            overlaps.check(self._findings, entry.job, change, recorded.place)
            erasures.check(self._findings, entry.job, change, recorded.place)
        elif job_id and entry is None and not isinstance(change.event, JobCreated):
            self._findings.wrong(
                Invariant.READABLE, f"{recorded.place} {recorded.type}: no job {job_id} was created"
            )
        if run_id and self.knows(f"run:{run_id}"):
            self._take_run(recorded, change, run_id, ledgers=ledgers)
        if ref := _other_of(recorded):
            self._take_other(recorded, change, ref)

    def _take_run(self, recorded: Recorded, change: Change, run_id: str, *, ledgers: bool) -> None:
        if not runs.check(self._findings, self.stories, recorded, change.event):
            return
        before = self.runs.get(run_id)
        state = run.evolve(before.run if before else None, change)
        fence = before.fence if before else ""
        if isinstance(change.event, RunStarted):
            fence = str(recorded.position)
        if state.ended and ledgers:
            self.over.append(run_id)
        if state.ended and f"run:{run_id}" not in self._kept:
            self.runs.pop(run_id, None)
        else:
            self.runs[run_id] = Standing(state, recorded.position, fence)

    def _take_other(self, recorded: Recorded, change: Change, ref: str) -> None:
        before = self.others.get(ref)
        try:
            state = kinds.of_ref(ref).evolve(None if before is None else before.state, change)
        except ValueError as error:  # it has never begun
            self._findings.wrong(Invariant.READABLE, f"{recorded.place} {recorded.type}: {error}")
            return
        self.others[ref] = Other(state, recorded.position)

    def _give_up(self, recorded: Recorded, reason: str) -> None:
        """Whatever the event advanced can't be told from here on."""
        self._findings.wrong(Invariant.READABLE, f"{recorded.place} {recorded.type} {recorded.id}: {reason}")
        self.unreadable.add(recorded.id)
        self.unknown_hours.add(recorded.at // HOUR_MS)
        if run_id := projections.run_of(recorded):
            self.unknown.add(f"run:{run_id}")
            self.runs.pop(run_id, None)
            runs.forget(self.stories, run_id)
        if job_id := projections.job_of(recorded):
            self.unknown.add(f"job:{job_id}")
        if ref := _other_of(recorded):
            self.unknown.add(ref)


def hour_of(hour: int) -> str:
    """An hour since 1970 as the key of a refused row begins with it."""
    return ids.from_ms(hour * HOUR_MS).isoformat()


def _other_of(recorded: Recorded) -> str:
    """The ref of what an event is about, if that is neither a job nor a run; else ''."""
    name, slash, identifier = recorded.subject.partition("/")
    return f"{name}:{identifier}" if slash and name in _OTHERS else ""


def _add(kept: Hours, fresh: Hours) -> None:
    for key, more in fresh.items():
        sums = kept.setdefault(key, Hour())
        for name in Hour.__slots__:
            old, new = getattr(sums, name), getattr(more, name)
            setattr(sums, name, max(old, new) if name.endswith("_max") else old + new)
