"""Runs beside each other, event by event: who starts, who waits, and that nobody waits for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.projector.audit.lines import Invariant
from shared.domain.events import RunQueued, RunRequested

if TYPE_CHECKING:
    from services.projector.audit.lines import Findings
    from shared.domain.events import Change
    from shared.domain.job import Job


def check(findings: Findings, job: Job, change: Change, place: str) -> None:
    """Look at an event of a job or of one of its runs.

    Args:
        findings: where to tell.
        job: as it was before the event.
        change: the event.
        place: where it stands.
    """
    run_id = change.subject.removeprefix("run:")
    is_released = isinstance(change.event, RunQueued) and change.both
    if job.waiting and not job.active and not is_released:
        what = f"{place} {type(change.event).__name__}: job {job.id} has nothing active"
        findings.wrong(Invariant.OVERLAPS, f"{what}, and {job.waiting[0]} was left waiting")
    if is_released:
        findings.expect(
            Invariant.OVERLAPS,
            not job.active and job.waiting[:1] == (run_id,),
            f"{place} releases {run_id} of job {job.id} beside {_told(job.active)}, with {_told(job.waiting)} waiting",
        )
    if isinstance(change.event, RunRequested) and change.both:
        _check_requested(findings, job, change.event, place)


def _check_requested(findings: Findings, job: Job, event: RunRequested, place: str) -> None:
    """One that waits has something to wait for; one of the schedule that starts has not."""
    if event.held:
        findings.expect(
            Invariant.OVERLAPS,
            bool(job.active),
            f"{place} holds a run of job {job.id}, of which nothing is active",
        )
    elif event.trigger == "schedule" and job.spec.overlap_policy != "allow":
        findings.expect(
            Invariant.OVERLAPS,
            not job.active,
            f"{place} starts a run of job {job.id} beside {_told(job.active)}",
        )


def _told(runs: tuple[str, ...]) -> str:
    return ", ".join(runs) or "nothing"
