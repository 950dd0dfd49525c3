"""What became, or would become, of one occurrence of a job, as it is compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from shared.domain.schedule import next_after

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from shared.domain.events import OccurrencesSkipped, RunRequested
    from shared.domain.job import Job

DECIDED_MAX = 10_000  # occurrences, on one side of a comparison


class TooMany(Exception):  # noqa: N818 - an answer to a client, like a refusal
    """More than DECIDED_MAX occurrences were, or would be, decided."""


class Decided(NamedTuple):
    """What was decided, or would be, about an occurrence.

    Attributes:
        at: its nominal time.
        fires_at: that with jitter; None: it doesn't run.
        decided_at: when.
        reason: why it doesn't run; None: it does.
        by: as of OccurrencesSkipped.
        run_id: its run.
        held: whether that waits for others.
        beside: the run that was active then, whatever the policy made of that.
        guessed: whether that run is thought to be active only by an estimate.
        place: of the event.
    """

    at: datetime
    decided_at: datetime
    fires_at: datetime | None = None
    reason: str | None = None
    by: str | None = None
    run_id: str | None = None
    held: bool = False
    beside: str | None = None
    guessed: bool = False
    place: str = ""

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return self.reason is None


def run_of(
    run_id: str, event: RunRequested, *, place: str = "", beside: str | None = None, guessed: bool = False
) -> Decided:
    """That an occurrence runs."""
    return Decided(
        event.scheduled_for,
        event.requested_at,
        fires_at=event.fires_at,
        run_id=run_id,
        held=event.held,
        beside=beside,
        guessed=guessed,
        place=place,
    )


def skipped(
    job: Job,
    event: OccurrencesSkipped,
    now: datetime,
    *,
    place: str = "",
    beside: str | None = None,
    guessed: bool = False,
) -> Iterator[Decided]:
    """That occurrences don't, one by one; `job`: as it was before."""
    at: datetime | None = event.from_
    overlaps_ = event.reason == "overlap"
    while at is not None and at <= event.to:
        yield Decided(
            at,
            now,
            reason=event.reason,
            by=event.by,
            beside=(beside or event.by) if overlaps_ else None,
            guessed=guessed and overlaps_,
            place=place,
        )
        if at == event.to:
            return
        at = next_after(job.spec.schedule, at, anchor_at=job.anchor_at)
