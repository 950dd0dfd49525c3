"""A unit: what one decision writes, all of it or nothing (DESIGN §5.2); and how it is laid out for commit.lua."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import field

from shared.domain.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.eventlog.position import Position
    from shared.eventlog.snapshot import Snapshot


FOR_EVER = 0


class Draft(NamedTuple):
    """An event before it has a position and a commit time; fields as in `envelope.Recorded`, but for their types."""

    id: str
    type: str
    v: str
    subject: str
    job: str
    advances: str
    actor: str
    cause: str
    corr: str
    trace: str
    data: bytes


class Advance(NamedTuple):
    """What a unit does to one aggregate.

    Attributes:
        ref: `job:<id>` or `run:<id>`.
        expected: the version it must have; '' = it must not be there.
        event: number (1…) of the unit's event whose position becomes its version.
        fence: number of the event whose position becomes its fence; 0 leaves that as it is.
        state: its snapshot's JSON.
        live_ms: how long it is kept from now; FOR_EVER for one that was to go and is to stay, None as it is.
    """

    ref: str
    expected: str
    event: int
    fence: int
    state: bytes
    live_ms: int | None = None


class Once(Value, frozen=True, kw_only=True):
    """An answer to be given once: digest of an Idempotency-Key, fingerprint of its request, the answer's id."""

    digest: str
    fingerprint: str
    answer: str
    ttl_ms: int = 24 * 3600 * 1000


class Enqueue(NamedTuple):
    """A run to stand in a work stream.

    Attributes:
        event: number (1…) of the unit's event that queues it and lends its position.
        job: id of its job, if that follows the run; '' else.
    """

    queue: str
    priority: int
    run: str
    event: int
    job: str


class Done(NamedTuple):
    """A work stream's entry to be acknowledged and deleted."""

    queue: str
    priority: int
    entry: str


class Unit(Value, frozen=True, kw_only=True):
    """One decision's writes.

    Attributes:
        events: what is appended to the log.
        advances: every aggregate that these events advance.
        woken: score (ms, as text) that a member of the due index had when it was read; it must still have it,
            and its time must have come.
        due: when (ms) to wake an aggregate; None takes it out.
        adds_work: refused when Redis is out of memory, as what ends work never is.
    """

    events: tuple[Draft, ...]
    advances: tuple[Advance, ...]
    woken: Mapping[str, str] = field(default_factory=dict)
    once: Once | None = None
    due: Mapping[str, int | None] = field(default_factory=dict)
    enqueue: tuple[Enqueue, ...] = ()
    done: tuple[Done, ...] = ()
    adds_work: bool = False

    @property
    def size(self) -> int:
        """Roughly how many bytes it sends."""
        return sum([len(e.data) + 300 for e in self.events]) + sum([len(a.state) + 60 for a in self.advances])

    def arguments(self) -> list[str | bytes]:
        """What commit.lua is told of it; the script's header describes the order."""
        args: list[str | bytes] = []
        if self.once is None:
            args.append("")
        else:
            args += (self.once.digest, self.once.fingerprint, self.once.answer, str(self.once.ttl_ms))
        args.append(str(len(self.woken)))
        for woken in self.woken.items():
            args += woken
        args.append(str(len(self.advances)))
        for ref, expected, event, fence, state, live_ms in self.advances:
            args += (ref, expected, str(event), str(fence), state, "" if live_ms is None else str(live_ms))
        args.append(str(len(self.events)))
        for draft in self.events:
            args += draft
        args.append(str(len(self.due)))
        for ref, ms in self.due.items():
            args += (ref, "" if ms is None else str(ms))
        args.append(str(len(self.enqueue)))
        for queue, priority, run, event, job in self.enqueue:
            args += (queue, str(priority), run, str(event), job)
        args.append(str(len(self.done)))
        for queue, priority, entry in self.done:
            args += (queue, str(priority), entry)
        return args


class Committed(Value, frozen=True, kw_only=True):
    """It is in the log: positions of the unit's first and last event; `now_ms` is the commit time."""

    first: Position
    last: Position
    now_ms: int


class Conflict(Value, frozen=True, kw_only=True):
    """A guard failed: nothing was written. The aggregate as it stands, to decide again from."""

    ref: str
    snapshot: Snapshot


class Early(Value, frozen=True, kw_only=True):
    """The due entry of `ref` has moved since it was read, or its time has not come: nothing was written."""

    ref: str


class Answered(Value, frozen=True, kw_only=True):
    """The Idempotency-Key has had this answer before: nothing was written."""

    fingerprint: str
    answer: str
    position: Position


Outcome = Committed | Conflict | Early | Answered


def batch_arguments(seq: int, *, base: str, ttl_ms: int, units: Sequence[Unit]) -> list[str | bytes]:
    """The ARGV of one commit.lua call.

    Args:
        seq: the batch's number, above those of the writer's batches before it.
        base: what all keys of the partition begin with (`Keys.base`).
        ttl_ms: how long the number and the reply are remembered.
        units: of one flavour.
    """
    args: list[str | bytes] = [str(seq), str(ttl_ms), f"{base}:", str(len(units))]
    for unit in units:
        told = unit.arguments()
        args.append(str(len(told)))
        args += told
    return args
