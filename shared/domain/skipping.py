"""Occurrences that people skip by hand: which they may, and what comes of it.

What is to be skipped stays an occurrence. When its time has come the wake decides it as any other, and records that
it was skipped and by whom: `settling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from shared.domain.ahead import announced
from shared.domain.commands import SkipOccurrence
from shared.domain.events import Change, OccurrenceExcluded, OccurrenceIncluded
from shared.domain.job import Job, Skip, Status
from shared.domain.refusals import IllegalTransition, NoSuchOccurrence
from shared.domain.schedule import TICK, is_occurrence, next_after

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from shared.domain.commands import UnskipOccurrence

SKIPS_MAX = 1_000  # of one job at a time


def decide(job: Job, command: SkipOccurrence | UnskipOccurrence, now: datetime) -> list[Change]:
    """What comes of the wish to skip an occurrence of a job that has nothing due, or to run it after all.

    Raises:
        NoSuchOccurrence: it isn't one; the refusal names those around it.
        IllegalTransition: it was decided, the job has none left, or too many are to be skipped.
    """
    if isinstance(command, SkipOccurrence):
        return _excluded(job, command, now)
    return _included(job, command, now)


def _excluded(job: Job, command: SkipOccurrence, now: datetime) -> list[Change]:
    at = command.scheduled_for
    if job.skips(at):
        return []
    _refuse_unless_ahead(job, at)
    if len(job.skipped) >= SKIPS_MAX:
        raise IllegalTransition(
            f"{SKIPS_MAX:,} occurrences of the job are to be skipped, which is the limit: exclude dates, or pause it",
            current=job.status,
        )
    skip = Skip(scheduled_for=at, by=command.by, reason=command.reason, at=now)
    event = OccurrenceExcluded(
        scheduled_for=at,
        by=command.by,
        reason=command.reason,
        excluded_at=now,
        next_run_at=_next_run_at(job, (*job.skipped, skip)),
    )
    return [Change(subject=f"job:{job.id}", event=event)]


def _included(job: Job, command: UnskipOccurrence, now: datetime) -> list[Change]:
    at = command.scheduled_for
    if not job.skips(at):
        _refuse_unless_ahead(job, at)
        return []
    left = tuple(skip for skip in job.skipped if skip.scheduled_for != at)
    event = OccurrenceIncluded(
        scheduled_for=at, by=command.by, included_at=now, next_run_at=_next_run_at(job, left)
    )
    return [Change(subject=f"job:{job.id}", event=event)]


def _next_run_at(job: Job, skipped: Sequence[Skip]) -> datetime | None:
    ahead = announced(
        job.next_for, schedule=job.spec.schedule, job_id=job.id, anchor_at=job.anchor_at, skipped=skipped
    )
    return ahead["next_run_at"]


def _refuse_unless_ahead(job: Job, at: datetime) -> None:
    """Only an occurrence that nobody has decided can be skipped, or not be.

    Raises:
        NoSuchOccurrence: it isn't one; the refusal names those around it.
        IllegalTransition: it was decided, or the job has none left.
    """
    schedule, first = job.spec.schedule, job.next_for
    if job.status is Status.COMPLETED:
        raise IllegalTransition("the job is completed: it has no occurrence left", current=job.status)
    if first is None:
        raise NoSuchOccurrence("The job has no schedule, so there is no occurrence to skip.")
    if at == first or (at > first and is_occurrence(schedule, at, anchor_at=job.anchor_at)):
        return
    if job.decided_to is not None and at <= job.decided_to and _was_one(job, at):
        raise IllegalTransition(
            f"what was scheduled for {_said(at)} has been decided; the next occurrence is {_said(first)}",
            current=job.status,
        )
    raise NoSuchOccurrence(f"The job is not scheduled for {_said(at)}; {_nearest(job, first, at)}.")


def _was_one(job: Job, at: datetime) -> bool:
    """As far as can be told from the schedule that the job has now."""
    return at == job.decided_to or (
        at >= job.created_at and is_occurrence(job.spec.schedule, at, anchor_at=job.anchor_at)
    )


def _nearest(job: Job, first: datetime, at: datetime) -> str:
    """The undecided occurrences around `at`, as the end of a sentence."""
    if at < first:
        return f"its next occurrence is {_said(first)}"
    before, after = first, next_after(job.spec.schedule, at, anchor_at=job.anchor_at)
    bound = at
    while bound - before > TICK:  # the last one before `at` lies in [before, bound)
        middle = before + (bound - before) // 2
        found = next_after(job.spec.schedule, middle, anchor_at=job.anchor_at)
        if found is not None and found < at:
            before = found
        else:
            bound = middle
    around = f"the nearest occurrence before is {_said(before)}"
    return f"{around}, there is none after" if after is None else f"{around}, after it {_said(after)}"


def _said(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
