"""A log in memory under the domain's own `decide` and `evolve`: what is written is encoded, read back, and checked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from shared.domain import following, kinds
from shared.domain import run as running
from shared.domain.events import TERMINAL, Change, RunRequested, RunStarted
from shared.domain.kinds import Seen
from shared.domain.run import Run
from shared.eventlog import snapshot
from shared.eventlog.envelope import decode, encode

if TYPE_CHECKING:
    from shared.domain.commands import Command
    from shared.domain.events import Event

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
UNITS_MAX = 1_000  # a command that is not settled after so many never will be


def stored(event: Event) -> Event:
    """The event as the next reader of the log has it."""
    text = encode(event)
    read = decode(type(event).__name__, event.VERSION, text)
    assert read == event
    assert encode(read) == text
    return read


class MemoryLog:
    """All aggregates of a test, and the events they came from."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.states: dict[str, Any] = {}
        self._due: dict[str, datetime] = {}
        self._fences: dict[str, str] = {}
        self._ended: set[str] = set()

    def decide(self, ref: str, command: Command, now: datetime) -> list[Change]:
        """Carry a command out as the decider does, and return what was written.

        Raises:
            Refused: what was settled before stays written.
        """
        written = []
        for _ in range(UNITS_MAX):
            kind, state = kinds.of_ref(ref), self.states.get(ref)
            others = {other: self.states.get(other) for other in kind.reads(state, command)}
            decision = kind.decide(state, command, now, Seen(self.fence(ref), others))
            changes = decision.changes
            if following.has_followed(changes):
                for followed in {f"job:{change.job}" for change in changes if change.both}:
                    job = following.after(self.states[followed], changes)
                    released = self.states.get(f"run:{following.next_to_run(job)}")
                    changes += following.consequences(job, changes, released, now)
            self._write(changes)
            written += changes
            if decision.settled:
                return written
        raise AssertionError(f"{command} on {ref} is never settled")

    def due(self, until: datetime) -> tuple[datetime, str] | None:
        """What is to be woken first, by `until`; a running run's lease is extended for ever."""
        return min(((at, ref) for ref, at in self._due.items() if at <= until), default=None)

    @staticmethod
    def due_at(state: Any) -> datetime | None:
        if not isinstance(state, Run):
            return kinds.of_state(state).due_at(state)
        if state.status is running.Status.RUNNING:
            return None
        return running.due_at(state, now=NEVER, lease=timedelta())

    def fold(self) -> dict[str, Any]:
        """All states, made again from the events alone."""
        states: dict[str, Any] = {}
        for change in self.changes:
            for ref in change.advances:
                states[ref] = kinds.of_ref(ref).evolve(states.get(ref), change)
        return states

    def _write(self, changes: tuple[Change, ...]) -> None:
        for change in changes:
            self._take(replace(change, event=stored(change.event)), f"1-{len(self.changes) + 1}")

    def _take(self, change: Change, position: str) -> None:
        """An event that has been written, as it is read again."""
        assert change.subject not in self._ended, f"{change} comes after the end of its run"
        if isinstance(change.event, RunRequested):
            assert change.subject not in self.states, f"{change.subject} is requested twice"
        if isinstance(change.event, TERMINAL):
            self._ended.add(change.subject)
        self.changes.append(change)
        if isinstance(change.event, RunStarted):
            self._fences[change.subject] = position
        for ref in change.advances:
            self._advance(ref, change)

    def close(self) -> None:
        """Nothing more will be asked."""

    def fence(self, ref: str) -> str:
        """Of the run's latest start."""
        return self._fences.get(ref, "")

    def _advance(self, ref: str, change: Change) -> None:
        state = kinds.of_ref(ref).evolve(self.states.get(ref), change)
        text = snapshot.dump(state)
        assert snapshot.load(type(state), text.encode()) == state
        self.states[ref] = state
        if at := self.due_at(state):
            self._due[ref] = at
        else:
            self._due.pop(ref, None)
