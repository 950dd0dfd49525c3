"""Snapshots: an aggregate's present state in Redis, the fold of its events, kept for deciding quickly.

The JSON carries a shape number. In Redis the specification, which is half of it and hardly ever changes, stands beside
the rest, so that it isn't written with every event. A shape newer than ours is not ours to write (a rolling upgrade is
under way: the newer replica does it); an older one is lifted when read, like events.
"""

from __future__ import annotations

import re
from typing import TypeVar

from msgspec import UNSET
from msgspec.structs import replace

from shared.domain.apikey import ApiKey
from shared.domain.job import Job
from shared.domain.run import Run
from shared.domain.value import Value
from shared.eventlog.envelope import decoder, json_text

Aggregate = Job | Run | ApiKey
SHAPES: dict[type[Aggregate], int] = {Job: 3, Run: 2, ApiKey: 1}
FIELDS = ("version", "state", "spec", "fence")  # of a hash in Redis
_PREFIX = {kind: f'{{"shape":{shape},' for kind, shape in SHAPES.items()}
_SHAPE = re.compile(rb'\{"shape":(\d+),')
State = TypeVar("State", Job, Run, ApiKey)


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
    """As `dump`, without the specification; a key has none."""
    if isinstance(state, ApiKey):
        return dump(state)
    return _PREFIX[type(state)] + json_text(replace(state, spec=UNSET))[1:]


def dump_spec(state: Aggregate) -> str:
    """The specification as JSON; '' for a key, which has none."""
    return "" if isinstance(state, ApiKey) else json_text(state.spec)


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
    return decoder(kind)(text)  # type: ignore[no-any-return]


def shape_of(text: bytes) -> int:
    """The shape number of a snapshot's JSON; 0 if it is none."""
    found = _SHAPE.match(text)
    return int(found[1]) if found else 0


def read(ref: str, version: bytes, state: bytes, spec: bytes, fence: bytes) -> Snapshot:
    """The snapshot in the FIELDS of the hash of an aggregate (b'' = not there); see `load`."""
    if not version:
        return NOTHING
    if ref.startswith("apikey:"):
        return Snapshot(state=load(ApiKey, state), version=version.decode())
    text = b'%b,"spec":%b}' % (state[:-1], spec)
    loaded = load(Job, text) if ref.startswith("job:") else load(Run, text)
    return Snapshot(state=loaded, version=version.decode(), fence=fence.decode())
