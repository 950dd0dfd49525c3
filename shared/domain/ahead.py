"""What a job is told of its next occurrence: its time, when it fires, and whether the job then runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from shared.domain.jitter import fires_at
from shared.domain.schedule import next_after

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from shared.domain.job import Skip
    from shared.domain.schedule import Schedule


class Ahead(TypedDict):
    """Fields of every event that announces an occurrence; `shared.domain.events` says what they mean."""

    next_for: datetime | None
    next_fires_at: datetime | None
    next_run_at: datetime | None


def announced(
    next_for: datetime | None,
    *,
    schedule: Schedule,
    job_id: str,
    anchor_at: datetime,
    skipped: Sequence[Skip] = (),
) -> Ahead:
    """What to tell of the occurrence at `next_for`; `skipped` is what somebody wants skipped.

    The schedule is searched only where there is jitter, or `next_for` is to be skipped.
    """
    if next_for is None or not (schedule.jitter_seconds or skipped):
        return Ahead(next_for=next_for, next_fires_at=None, next_run_at=None)

    def following(at: datetime) -> datetime | None:
        return next_after(schedule, at, anchor_at=anchor_at)

    def fires(at: datetime) -> datetime | None:
        later = fires_at(schedule, job_id, at, following(at)) if schedule.jitter_seconds else at
        return None if later == at else later

    runs: datetime | None = next_for
    wanted_out = {skip.scheduled_for for skip in skipped}
    while runs is not None and runs in wanted_out:
        runs = following(runs)
    at = None if runs in {None, next_for} else runs
    return Ahead(
        next_for=next_for,
        next_fires_at=fires(next_for),
        next_run_at=at and (fires(at) or at),
    )
