"""A unit: what one decision writes, all of it or nothing (DESIGN §5.2); and how it is laid out for commit.lua."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from shared.domain.value import Value
from shared.eventlog.position import Position

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.eventlog.snapshot import Snapshot


FOR_EVER = 0
ONCE_MS = 24 * 3600 * 1000  # how long an answer is kept


class Draft(NamedTuple):
    """An event before it has a position and a commit time; fields as in `envelope.Recorded`, `v` as text."""

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
    data: str


class Advance(NamedTuple):
    """What a unit does to one aggregate.

    Attributes:
        ref: `job:<id>` or `run:<id>`.
        expected: the version it must have; '' = it must not be there.
        event: number (1…) of the unit's event whose position becomes its version.
        fence: number of the event whose position becomes its fence; 0 leaves that as it is.
        state: its snapshot's JSON, without the specification.
        spec: JSON of that, if it is new; '' leaves it as it is.
        live_ms: how long it is kept from now; FOR_EVER for one that was to go and is to stay, None as it is.
    """

    ref: str
    expected: str
    event: int
    fence: int
    state: str
    spec: str
    live_ms: int | None = None


class Once(Value, frozen=True, kw_only=True, array_like=True):
    """An answer to be given once: digest of a key (see `once`), fingerprint of its request, the answer's id."""

    digest: str
    fingerprint: str
    answer: str
    ttl_ms: int = ONCE_MS


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


class Unit(Value, frozen=True, kw_only=True, array_like=True):
    """One decision's writes; the header of commit.lua describes the same fields in the same order.

    Attributes:
        once: the answers that this gives; if one of their keys has had one, that stands, and nothing is written.
        woken: members of the due index, with the score (ms, as text) that each had when it was read; it must
            still have it, and its time must have come.
        advances: every aggregate that the events advance.
        events: what is appended to the log.
        due: aggregates, with the time (ms, as text) at which to wake each; '' takes it out.
        enqueue: runs that stand in a work stream from here on.
        done: entries of work streams that this takes care of.
        adds_work: refused when Redis is out of memory, as what ends work never is.
    """

    once: tuple[Once, ...] = ()
    woken: tuple[tuple[str, str], ...] = ()
    advances: tuple[Advance, ...]
    events: tuple[Draft, ...]
    due: tuple[tuple[str, str], ...] = ()
    enqueue: tuple[Enqueue, ...] = ()
    done: tuple[Done, ...] = ()
    adds_work: bool = False


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
    """A key has had this answer before: nothing was written. `position` is that of its commit's last event."""

    digest: str
    fingerprint: str
    answer: str
    position: Position

    @classmethod
    def of(cls, digest: str, fingerprint: bytes, answer: bytes, position: bytes) -> Answered:
        """As Redis keeps it."""
        return cls(
            digest=digest,
            fingerprint=fingerprint.decode(),
            answer=answer.decode(),
            position=Position.parse(position.decode()),
        )


Outcome = Committed | Conflict | Early | Answered


pack: Callable[[Unit], bytes] = msgspec.msgpack.Encoder().encode  # as commit.lua reads it


def batch_arguments(seq: int, *, base: str, ttl_ms: int, units: Sequence[bytes]) -> list[str | bytes]:
    """The ARGV of one commit.lua call.

    Args:
        seq: the batch's number, above those of the writer's batches before it.
        base: what all keys of the partition begin with (`Keys.base`).
        ttl_ms: how long the number and the reply are remembered.
        units: packed, of one flavour.
    """
    return [str(seq), str(ttl_ms), f"{base}:", *units]
