"""A unit: what one decision writes, all of it or nothing (DESIGN §5.2); and how it is laid out for commit.lua."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shared.eventlog.keys import Keys
    from shared.eventlog.position import Position
    from shared.eventlog.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
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
        states: new snapshots' JSON.
        expire_ms: time to live of some of them.
        due: when (ms) to wake an aggregate; None takes it out.
        adds_work: refused when Redis is out of memory, as what ends work never is.
    """

    guards: Mapping[str, str | None]
    woken: Mapping[str, str] = field(default_factory=dict)
    once: Once | None = None
    events: tuple[Draft, ...]
    states: Mapping[str, str] = field(default_factory=dict)
    expire_ms: Mapping[str, int] = field(default_factory=dict)
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
        self._rows([(self._aggregate(ref), version or "") for ref, version in unit.guards.items()])
        self._rows(unit.woken.items())
        self._once(unit.once)
        self.args.append(str(len(unit.events)))
        for event in unit.events:
            self._event(event)
        self._rows(
            (self._aggregate(ref), state, str(unit.expire_ms.get(ref, "")))
            for ref, state in unit.states.items()
        )
        self._rows((ref, "" if score is None else str(score)) for ref, score in unit.due.items())
        self._rows(
            (
                self._key(self._keys.work(e.queue, e.priority)),
                self._key(self._keys.bell(e.queue)),
                e.run,
                str(e.event),
            )
            for e in unit.enqueue
        )
        self._rows((self._key(self._keys.work(d.queue, d.priority)), d.entry) for d in unit.done)

    def _rows(self, rows: Iterable[tuple[str, ...]]) -> None:
        start = len(self.args)
        self.args.append("")
        count = 0
        for row in rows:
            self.args.extend(row)
            count += 1
        self.args[start] = str(count)

    def _event(self, event: Draft) -> None:
        self._rows([(self._aggregate(ref),) for ref in event.aggregates])
        self.args += (
            "1" if event.fences else "0", event.id, event.type, str(event.v), event.subject, event.job,
            event.advances, event.actor, event.cause, event.corr, event.trace, event.data,
        )  # fmt: skip

    def _once(self, once: Once | None) -> None:
        if once is None:
            self.args.append("0")
        else:
            key = self._key(self._keys.once(once.digest))
            self.args += (key, once.fingerprint, once.answer, str(once.ttl_ms))

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
