"""Snapshots: an aggregate's present state in Redis, the fold of its events, kept for deciding quickly.

The JSON carries a shape number. In Redis the specification, which is half of it and hardly ever changes, stands beside
the rest, so that it isn't written with every event. A shape newer than ours is not ours to write (a rolling upgrade is
under way: the newer replica does it); an older one is lifted when read, like events.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec import UNSET
from msgspec.structs import replace

from shared.domain import kinds
from shared.domain.value import Value
from shared.eventlog.envelope import decoder, json_text

if TYPE_CHECKING:
    from shared.domain.job import Job
    from shared.domain.kinds import Aggregate
    from shared.domain.run import Run

FIELDS = ("version", "state", "spec", "fence")  # of a hash in Redis
SHAPES: dict[type[Any], int] = {kind.state: kind.shape for kind in kinds.ALL}
_PREFIX = {kind: f'{{"shape":{shape},' for kind, shape in SHAPES.items()}
_SHAPE = re.compile(rb'\{"shape":(\d+),')
State = TypeVar("State")


class NewerShape(ValueError):  # noqa: N818 - named for what is wrong
    """The snapshot was written by a newer Daybook; this build must leave it alone."""


class Snapshot(Value, frozen=True, kw_only=True):
    """What a load returns.

    Attributes:
        state: None if there is no such aggregate.
        version: position of its last event, as it stands in Redis; None if its key isn't there (then the guard
            is "none", also when the state came from the archive).
        fence: position of the latest start (runs).
    """

    state: Aggregate | None = None
    version: str | None = None
    fence: str = ""


NOTHING = Snapshot()


def dump(state: Aggregate) -> str:
    """The state as JSON, shape number first; equal states give equal text."""
    return _PREFIX[type(state)] + json_text(state)[1:]


def dump_apart(state: Aggregate) -> str:
    """As `dump`, without the specification, of a kind that has one."""
    if not kinds.of_state(state).has_spec:
        return dump(state)
    return _PREFIX[type(state)] + json_text(replace(cast("Job | Run", state), spec=UNSET))[1:]


def dump_spec(state: Aggregate) -> str:
    """The specification as JSON; '' of a kind that has none."""
    return json_text(cast("Job | Run", state).spec) if kinds.of_state(state).has_spec else ""


def load(kind: type[State], text: bytes) -> State:
    """The state of a snapshot's JSON.

    Raises:
        NewerShape: see there.
        ValueError: it isn't one.
    """
    found = _SHAPE.match(text)
    if found is None:
        raise ValueError(f"{text[:50]!r} is no snapshot")
    if int(found[1]) > SHAPES[kind]:
        raise NewerShape(
            f"{kind.__name__} snapshot of shape {int(found[1])}, this build writes {SHAPES[kind]}"
        )
    return decoder(kind)(text)  # type: ignore[no-any-return, arg-type]


def shape_of(text: bytes) -> int:
    """The shape number of a snapshot's JSON; 0 if it is none."""
    found = _SHAPE.match(text)
    return int(found[1]) if found else 0


def read(ref: str, version: bytes, state: bytes, spec: bytes, fence: bytes) -> Snapshot:
    """The snapshot in the FIELDS of the hash of an aggregate (b'' = not there); see `load`."""
    if not version:
        return NOTHING
    kind = kinds.of_ref(ref)
    text = b'%b,"spec":%b}' % (state[:-1], spec) if kind.has_spec else state
    return Snapshot(state=load(kind.state, text), version=version.decode(), fence=fence.decode())
