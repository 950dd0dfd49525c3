"""Pauses: who may begin one, say more of it and end it, and what its end leaves to be caught up.

A job has one pause at a time. It is somebody's, or a switch's, which stops many jobs at once: a switch leaves alone
what was paused by anything else, and lets go on only what it has paused itself. Who pauses or resumes one job means
that job, whatever has paused it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import UNSET

from shared.domain.events import Change, JobPaused, JobResumed
from shared.domain.job import Job, Pause, Status
from shared.domain.refusals import IllegalTransition

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.commands import PauseJob, ResumeJob, SuspendJob
    from shared.domain.spec import CatchUp


def paused(job: Job, command: PauseJob, now: datetime) -> list[Change]:
    """The pause as it is wished, on from the one that there is if that is the same switch's, or also somebody's.

    Raises:
        IllegalTransition: the job is completed.
    """
    if job.status is Status.COMPLETED:
        raise IllegalTransition("the job is completed: it has no occurrence left", current=job.status)
    present = job.paused if job.status is Status.PAUSED else None
    if present is not None and command.switch not in {None, present.switch}:
        return []
    goes_on = present if present is not None and present.switch == command.switch else None
    before = goes_on or Pause(by=command.by, reason="", at=now, switch=command.switch)
    event = JobPaused(
        by=command.by,
        reason=before.reason if command.reason is UNSET else command.reason,
        paused_at=now,
        until=before.until if command.until is UNSET else command.until,
        catch_up=before.catch_up if command.catch_up is UNSET else command.catch_up,
        switch=command.switch,
    )
    is_same = (event.reason, event.until, event.catch_up) == (before.reason, before.until, before.catch_up)
    return [] if goes_on is not None and is_same else [Change(subject=f"job:{job.id}", event=event)]


def resumed(job: Job, command: ResumeJob, now: datetime) -> list[Change]:
    """The end of the job's pause, if it has one that is meant."""
    if job.status is not Status.PAUSED or not _means(command, job):
        return []
    event = JobResumed(by=command.by, resumed_at=now, catch_up=_catch_up(job, command))
    return [Change(subject=f"job:{job.id}", event=event)]


def leaves_undecided(job: Job, command: ResumeJob) -> bool:
    """Whether what fell due in the pause isn't skipped before `command`: it is to be caught up, or isn't meant."""
    return not _means(command, job) or _catch_up(job, command) != "skip"


def suspended(job: Job, command: SuspendJob, now: datetime) -> list[Change]:
    """A pause without an end, of a job that goes on or is going to."""
    has_end = job.paused is not None and job.paused.until is not None
    if job.status is not Status.PENDING and not (job.status is Status.PAUSED and has_end):
        return []
    event = JobPaused(by=command.by, reason=command.reason, paused_at=now)
    return [Change(subject=f"job:{job.id}", event=event)]


def _means(command: ResumeJob, job: Job) -> bool:
    return command.switch is None or (job.paused is not None and job.paused.switch == command.switch)


def _catch_up(job: Job, command: ResumeJob) -> CatchUp:
    return command.catch_up or ("skip" if job.paused is None else job.paused.catch_up)
