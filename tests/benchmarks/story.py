"""What became of runs, as the archive and the handlers' notes tell it: a column for each thing, a row a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.domain import ids

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .hand import Hand
    from .plugin import Note
    from .stand import Raw

_ENDS = ("RunSucceeded", "RunFailed")
_RUN_EVENTS = """
    select substr(subject, 5) as run, type, (extract(epoch from at) * 1000)::bigint as at_ms
    from book.events
    where type in ('RunRequested', 'RunStarted', 'RunSucceeded', 'RunFailed')
    order by partition, pos
"""


@dataclass(slots=True)
class Times:
    """One run: `at` (Unix ms) of its first request, first start, last end; how often it started and ended."""

    requested_ms: int | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    starts: int = 0
    ends: int = 0
    succeeded: int = 0


async def times(hand: Hand) -> dict[str, Times]:
    """Of every run in the archive, by its id."""
    found: dict[str, Times] = {}
    for run, kind, at_ms in await hand.pool.fetch(_RUN_EVENTS):
        told = found.setdefault(run, Times())
        if kind == "RunRequested":
            told.requested_ms = at_ms
        elif kind == "RunStarted":
            told.starts += 1
            told.started_ms = told.started_ms or at_ms
        elif kind in _ENDS:
            told.ends += 1
            told.succeeded += kind == "RunSucceeded"
            told.ended_ms = at_ms
    return found


async def counted(hand: Hand, kind: str) -> int:
    """How many events of a type the archive has."""
    return int(await hand.pool.fetchval("select count(*) from book.events where type = $1", kind))


def columns(told: Sequence[Times], *, base_ms: int) -> Raw:
    """The raw rows of these runs, times in ms after `base_ms`, null for what didn't happen."""
    return {
        "base_ms": base_ms,
        "requested_ms": [_since(base_ms, each.requested_ms) for each in told],
        "started_ms": [_since(base_ms, each.started_ms) for each in told],
        "ended_ms": [_since(base_ms, each.ended_ms) for each in told],
        "starts": [each.starts for each in told],
        "ends": [each.ends for each in told],
        "succeeded": [each.succeeded for each in told],
    }


def handled(runs: Iterable[str], notes: Iterable[Note]) -> list[int]:
    """How often the handler of each run began."""
    counts = Counter(note.run_id for note in notes)
    return [counts[run] for run in runs]


def occurrence_run(job_id: str, nominal_ms: int) -> str:
    """The id of the run of an occurrence: it follows from job and nominal time (DESIGN §5.1)."""
    at = ids.from_ms(nominal_ms)
    return ids.derived_id(at, ids.partition_of(job_id), job_id, str(nominal_ms), "schedule")


def _since(base_ms: int, at_ms: int | None) -> int | None:
    return None if at_ms is None else at_ms - base_ms
