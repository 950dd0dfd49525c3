"""Snapshots: an aggregate's present state in Redis, the fold of its events, kept for deciding quickly.

The JSON carries a shape number. A shape newer than ours is not ours to write (a rolling upgrade is under way: the
newer replica does it); an older one is lifted when read, like events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from shared.domain.job import Job
from shared.domain.run import Run
from shared.eventlog.envelope import adapter, json_text

SHAPES: dict[type[Job | Run], int] = {Job: 1, Run: 1}
_PREFIX = '{"shape":%d,'
State = TypeVar("State", Job, Run)


class NewerShape(ValueError):  # noqa: N818 - named for what is wrong
    """The snapshot was written by a newer Daybook; this build must leave it alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a load returns.

    Attributes:
        state: None if there is no such aggregate.
        version: position of its last event, as it stands in Redis; None if its key isn't there (then the guard
            is "none", also when the state came from the archive).
        fence: position of the latest start (runs).
    """

    state: Job | Run | None = None
    version: str | None = None
    fence: str = ""


NOTHING = Snapshot()


def dump(state: Job | Run) -> str:
    """The state as JSON, shape number first; equal states give equal text."""
    return _PREFIX % SHAPES[type(state)] + json_text(state)[1:]


def load(kind: type[State], text: str) -> State:
    """The state of a snapshot's JSON.

    Raises:
        NewerShape: see there.
    """
    shape, _, rest = text.removeprefix('{"shape":').partition(",")
    if int(shape) > SHAPES[kind]:
        raise NewerShape(f"{kind.__name__} snapshot of shape {shape}, this build writes {SHAPES[kind]}")
    return adapter(kind).validator.validate_json("{" + rest)  # type: ignore[no-any-return]


def load_ref(ref: str, text: str) -> Job | Run:
    """The state of the snapshot of `job:<id>` or `run:<id>`; see `load`."""
    return load(Job, text) if ref.startswith("job:") else load(Run, text)
