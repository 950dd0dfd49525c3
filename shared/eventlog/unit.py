"""A unit: what one decision writes, all of it or nothing (DESIGN §5.2); and how it is laid out for commit.lua."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.eventlog.keys import Keys
    from shared.eventlog.position import Position
    from shared.eventlog.snapshot import Snapshot


FOR_EVER = 0


class Draft(NamedTuple):
    """An event before it has a position and a commit time; fields as in `envelope.Recorded`.

    Attributes:
        aggregates: refs (`job:<id>`, `run:<id>`) whose version becomes this event's position.
        fences: whether that position becomes their fence too.
    """

    id: str
    type: str
    v: int
    subject: str
    job: str
    advances: str
    actor: str
    cause: str
    corr: str
    trace: str
    data: str
    aggregates: tuple[str, ...]
    fences: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Once:
    """An answer to be given once: digest of an Idempotency-Key, fingerprint of its request, the answer's id."""

    digest: str
    fingerprint: str
    answer: str
    ttl_ms: int = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueue:
    """A run to stand in a work stream; `event` (1…) is the unit's event that queues it and lends its position."""

    queue: str
    priority: int
    run: str
    event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A work stream's entry to be acknowledged and deleted."""

    queue: str
    priority: int
    entry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One decision's writes.

    Attributes:
        guards: expected version of each aggregate, None = it must not be there.
        woken: score (ms, as text) that a member of the due index had when it was read; it must still have it,
            and its time must have come.
        states: new snapshots' JSON, of every aggregate that the events advance.
        live_ms: how long some of them are kept from now; FOR_EVER for one that was to go and is to stay.
        due: when (ms) to wake an aggregate; None takes it out.
        adds_work: refused when Redis is out of memory, as what ends work never is.
    """

    guards: Mapping[str, str | None]
    woken: Mapping[str, str] = field(default_factory=dict)
    once: Once | None = None
    events: tuple[Draft, ...]
    states: Mapping[str, str] = field(default_factory=dict)
    live_ms: Mapping[str, int] = field(default_factory=dict)
    due: Mapping[str, int | None] = field(default_factory=dict)
    enqueue: tuple[Enqueue, ...] = ()
    done: tuple[Done, ...] = ()
    adds_work: bool = False

    @property
    def size(self) -> int:
        """Roughly how many bytes it sends."""
        return sum(len(e.data) + 300 for e in self.events) + sum(len(s) + 60 for s in self.states.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """It is in the log: positions of the unit's first and last event; `now_ms` is the commit time."""

    first: Position
    last: Position
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A guard failed: nothing was written. The aggregate as it stands, to decide again from."""

    ref: str
    snapshot: Snapshot
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Early:
    """The due entry of `ref` has moved since it was read, or its time has not come: nothing was written."""

    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The Idempotency-Key has had this answer before: nothing was written."""

    fingerprint: str
    answer: str
    position: Position


Outcome = Committed | Conflict | Early | Answered


class Layout:
    """The KEYS and ARGV of one commit.lua call."""

    def __init__(self, keys: Keys, process: str) -> None:
        self._keys = keys
        self.keys = [keys.meta, keys.log, keys.due, keys.writer(process), keys.timer_bell]
        self._index = {name: str(at) for at, name in enumerate(self.keys, 1)}
        self.refs: dict[str, str] = {}  # index of a key → the aggregate it is of
        self.args: list[str] = []

    def add(self, unit: Unit) -> None:
        """Append one unit; commit.lua's header describes the order."""
        args = self.args
        start = len(args)
        args.append("")
        self._once(unit.once)
        args.append(str(len(unit.woken)))
        for member, score in unit.woken.items():
            args += (member, score)
        args.append(str(len(unit.guards)))
        for ref, version in unit.guards.items():
            args += (self._aggregate(ref), version or "")
        self._events(unit.events)
        self._states(unit)
        args.append(str(len(unit.due)))
        for ref, ms in unit.due.items():
            args += (ref, "" if ms is None else str(ms))
        self._work(unit)
        args[start] = str(len(args) - start - 1)

    def _once(self, once: Once | None) -> None:
        if once is None:
            self.args.append("0")
        else:
            key = self._key(self._keys.once(once.digest))
            self.args += (key, once.fingerprint, once.answer, str(once.ttl_ms))

    def _events(self, events: tuple[Draft, ...]) -> None:
        self.args.append(str(len(events)))
        for e in events:
            self.args += (
                e.id, e.type, str(e.v), e.subject, e.job, e.advances, e.actor, e.cause, e.corr, e.trace, e.data,
            )  # fmt: skip

    def _states(self, unit: Unit) -> None:
        versions: dict[str, str] = {}
        fences: dict[str, str] = {}
        for number, event in enumerate(unit.events, 1):
            for ref in event.aggregates:
                versions[ref] = str(number)
                if event.fences:
                    fences[ref] = str(number)
        self.args.append(str(len(versions)))
        for ref, version in versions.items():
            live_ms = unit.live_ms.get(ref, "")
            self.args += (self._aggregate(ref), version, fences.get(ref, ""), unit.states[ref], str(live_ms))

    def _work(self, unit: Unit) -> None:
        keys = self._keys
        self.args.append(str(len(unit.enqueue)))
        for e in unit.enqueue:
            stream, bell = self._key(keys.work(e.queue, e.priority)), self._key(keys.bell(e.queue))
            self.args += (stream, bell, e.run, str(e.event))
        self.args.append(str(len(unit.done)))
        for d in unit.done:
            self.args += (self._key(keys.work(d.queue, d.priority)), d.entry)

    def _aggregate(self, ref: str) -> str:
        index = self._key(self._keys.aggregate(ref))
        self.refs[index] = ref
        return index

    def _key(self, name: str) -> str:
        index = self._index.get(name)
        if index is None:
            self.keys.append(name)
            index = self._index[name] = str(len(self.keys))
        return index
