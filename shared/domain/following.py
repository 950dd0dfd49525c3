"""What the end of a run leads to on the job that follows it, in the same unit: so that nothing is ever in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.events import TERMINAL, Change, JobPaused
from shared.domain.job import Job, Status, evolve

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

BY = "daybook"  # who pauses a job whose runs keep failing


def has_followed(changes: Iterable[Change]) -> bool:
    """Whether one of `changes` ends a run that its job follows: then the job's state must be known."""
    return any(change.both and isinstance(change.event, TERMINAL) for change in changes)


def consequences(job: Job, changes: Iterable[Change], now: datetime) -> tuple[Change, ...]:
    """What follows from `changes`, of which some end runs of `job`; `job` is as it was before them."""
    for change in changes:
        if f"job:{job.id}" in change.advances:
            job = evolve(job, change)
    return tuple(_paused_by_failures(job, now))


def _paused_by_failures(job: Job, now: datetime) -> list[Change]:
    most = job.spec.pause_after_failures
    if most is None or job.failures < most or job.status is not Status.PENDING:
        return []
    reason = f"{job.failures} runs in a row have failed" if job.failures > 1 else "a run has failed"
    return [Change(subject=f"job:{job.id}", event=JobPaused(by=BY, reason=reason, paused_at=now))]
