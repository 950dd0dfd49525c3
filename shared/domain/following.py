"""What the end of a run leads to on the job that follows it, in the same unit: so that nothing is ever in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.events import TERMINAL, Change, JobPaused, RunFailed, RunQueued
from shared.domain.job import Job, Status, evolve

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from shared.domain.run import Run

BY = "daybook"  # who pauses a job whose runs keep failing


def has_followed(changes: Iterable[Change]) -> bool:
    """Whether one of `changes` ends a run that its job follows: then the job's state must be known."""
    return any(change.both and isinstance(change.event, TERMINAL) for change in changes)


def after(job: Job, changes: Iterable[Change]) -> Job:
    """The job after `changes`, of which some may be others'."""
    for change in changes:
        if f"job:{job.id}" in change.advances:
            job = evolve(job, change)
    return job


def next_to_run(job: Job) -> str | None:
    """The run that has waited longest, if nothing is active any more."""
    return job.waiting[0] if job.waiting and not job.active else None


def consequences(
    job: Job, changes: Iterable[Change], released: Run | None, now: datetime
) -> tuple[Change, ...]:
    """What follows from the ends of runs of `job`.

    Args:
        job: as `changes` have left it.
        changes: these ends, and whatever stands in the same unit.
        released: its `next_to_run`, if there is one.
        now: when it is decided.
    """
    return (*_released(job, released), *_paused_by_failures(job, changes, now))


def _released(job: Job, run: Run | None) -> list[Change]:
    if run is None:
        return []
    queued = RunQueued(queue=run.spec.queue, priority=run.spec.priority, reason="released")
    return [Change(subject=f"run:{run.id}", event=queued, job=job.id, both=True)]


def _paused_by_failures(job: Job, changes: Iterable[Change], now: datetime) -> list[Change]:
    most = job.spec.pause_after_failures
    if not any(change.both and isinstance(change.event, RunFailed) for change in changes):
        return []
    if most is None or job.failures < most or job.status is not Status.PENDING:
        return []
    reason = f"{job.failures} runs in a row have failed" if job.failures > 1 else "a run has failed"
    return [Change(subject=f"job:{job.id}", event=JobPaused(by=BY, reason=reason, paused_at=now))]
