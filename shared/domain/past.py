"""The difference between what should have run and what did: occurrences that have gone by, and the runs asked for.

What should have run is what a job's present schedule says of a span, also of one before the job was there. What its
schedule is still to decide is none of it. What ran stands in the ledger; whoever asks has waited until that has it all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shared.domain import ids
from shared.domain.job import Status
from shared.domain.schedule import TICK, next_after

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from shared.domain.events import Which
    from shared.domain.job import Job

LEFT_OUT = ("excluded", "calendar")  # skipped as they were not to run: nothing is missing
_BAD = frozenset({"failed", "cancelled", "expired"})


class Ran(NamedTuple):
    """What became of an occurrence.

    Attributes:
        newest: status of the run that was asked for last.
        unfinished: whether one of its runs has not ended.
    """

    newest: str
    unfinished: bool


class Range(NamedTuple):
    """Occurrences that were skipped, from the first to the last."""

    first: datetime
    last: datetime


def gone_by(job: Job, since: datetime, until: datetime) -> Iterator[datetime]:
    """The occurrences from `since` (inclusive) to `until` (exclusive) that the schedule is done with, in order."""
    until = _done_with(job, until)
    schedule, anchor_at = job.spec.schedule, job.anchor_at
    at = next_after(schedule, since - TICK, anchor_at=anchor_at)
    while at is not None and at < until:
        yield at
        at = next_after(schedule, at, anchor_at=anchor_at)


def owed(
    which: Which,
    occurrences: Iterable[datetime],
    ran: Mapping[datetime, Ran],
    left_out: Iterable[Range] = (),
) -> list[datetime]:
    """Those that a backfill is to run, in order.

    Args:
        which: `missing`: no run was asked for; `failed`: the newest one ended badly, and none is under way; `all`.
        occurrences: in order.
        ran: what became of those that runs were asked for.
        left_out: what was not to run; neither missing nor to be run again, unless somebody has run it all the same.
    """
    wanted = [at for at in occurrences if _is_wanted(which, ran.get(at))]
    spans = sorted(left_out)
    return [at for at in wanted if at in ran or not any(first <= at <= last for first, last in spans)]


def _is_wanted(which: Which, what: Ran | None) -> bool:
    match which:
        case "missing":
            return what is None
        case "failed":
            return what is not None and not what.unfinished and what.newest in _BAD
        case "all":
            return True


def _done_with(job: Job, until: datetime) -> datetime:
    """Before when the schedule has decided everything: what a paused job has passed over, too."""
    if job.status is Status.PENDING and job.next_for is not None:
        until = min(until, job.next_for)
    if job.spec.schedule.is_used_up(job.runs):  # what comes after its last run is no occurrence
        until = min(until, job.decided_to + TICK) if job.decided_to else until
    return until


def in_ms(times: Iterable[datetime]) -> tuple[int, ...]:
    """As events have them."""
    return tuple(map(ids.to_ms, times))
