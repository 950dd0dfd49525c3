"""The decisions of the schedule, event by event: each occurrence once, in order, and only while the job goes on.

Each decision announces the job's next occurrence (`next_for`). So the decisions of a job form a chain, and one that is
left out or made twice shows without a search in the schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import field

from services.projector.audit.lines import Invariant
from shared.domain.events import (
    JobCompleted,
    JobDeleted,
    JobResumed,
    JobUpdated,
    OccurrencesSkipped,
    RunRequested,
    ScheduleReplanned,
)
from shared.domain.job import Status
from shared.domain.schedule import is_occurrence
from shared.domain.value import Value

if TYPE_CHECKING:
    from datetime import datetime

    from services.projector.audit.lines import Findings
    from shared.domain.events import Change, Event
    from shared.domain.job import Job


_OF_PAUSED = frozenset({"paused", "edited", "deleted"})  # why occurrences of a paused job are skipped


class Decided(Value, frozen=True, kw_only=True):
    """How far the schedules of a partition's jobs were decided.

    Attributes:
        last: job id → the occurrence decided last.
    """

    last: dict[str, datetime] = field(default_factory=dict)


def check(findings: Findings, decided: Decided, job: Job, change: Change, place: str) -> None:
    """Look at an event of a job or of one of its runs.

    Args:
        findings: where to tell.
        decided: how far this was; updated.
        job: as it was before the event.
        change: the event.
        place: where it stands.
    """
    match change.event:
        case RunRequested(trigger="schedule", scheduled_for=at) as event:
            _check_decision(findings, decided, job, (at, at), place, skipped=None)
            _check_jitter(findings, job, event, place)
            _check_excluded(findings, job, (at, at), place, skipped=None)
        case OccurrencesSkipped(from_=first, to=last, reason=reason):
            _check_decision(findings, decided, job, (first, last), place, skipped=reason)
            _check_excluded(findings, job, (first, last), place, skipped=reason)
        case JobUpdated() | JobResumed() | JobDeleted() | JobCompleted() | ScheduleReplanned() as event:
            _check_nothing_is_swallowed(findings, job, event, place)
        case _:
            pass


def _check_decision(
    findings: Findings,
    decided: Decided,
    job: Job,
    span: tuple[datetime, datetime],
    place: str,
    *,
    skipped: str | None,
) -> None:
    """A firing, or a range of occurrences skipped for a reason."""
    first, last = span
    findings.checked(Invariant.FIRINGS)
    is_ours = job.status is Status.PENDING or (job.status is Status.PAUSED and skipped in _OF_PAUSED)
    if not is_ours:
        what = "fires" if skipped is None else "skips"
        findings.wrong(Invariant.FIRINGS, f"{place} {what} {first} of job {job.id}, which is {job.status}")
        return
    before = decided.last.get(job.id)
    is_again = first == before
    had = "been decided" if is_again else f"announced {job.next_for}"
    findings.expect(
        Invariant.OCCURRENCES,
        first == job.next_for and not is_again,
        f"{place} decides {first} of job {job.id}, which had {had}",
    )
    rises = before is None or first > before or is_again
    findings.expect(
        Invariant.ORDER, first <= last and rises, f"{place} decides {first} of job {job.id} after {before}"
    )
    decided.last[job.id] = last


def _check_jitter(findings: Findings, job: Job, event: RunRequested, place: str) -> None:
    """It fires when that was announced, is decided no earlier, and what comes next comes later.

    That it is the one that was announced, and that times rise, are lines of their own.
    """
    at, fires, following = event.scheduled_for, event.fires_at, event.next_for
    findings.expect(
        Invariant.JITTER,
        (fires == job.fires_next_at or at != job.next_for)
        and at <= fires <= event.requested_at
        and (following is None or fires < following or following <= at),
        f"{place} fires {at} of job {job.id} at {fires}, which had announced {job.fires_next_at}; "
        f"it was decided at {event.requested_at}, and {following} comes next",
    )


def _check_excluded(
    findings: Findings, job: Job, span: tuple[datetime, datetime], place: str, *, skipped: str | None
) -> None:
    """What somebody wanted skipped; a pause, an edit or a deletion may come before that."""
    first, last = span
    ends = {job.skips(first), job.skips(last)}
    findings.expect(
        Invariant.EXCLUDED,
        ends == {True}
        if skipped == "excluded"
        else skipped in _OF_PAUSED or (ends == {False} and not _wished_between(job, first, last)),
        f"{place} {'fires' if skipped is None else f'skips as {skipped}'} {first} of job {job.id}, "
        f"which somebody {'wanted' if True in ends else 'had not wanted'} skipped",
    )


def _wished_between(job: Job, first: datetime, last: datetime) -> bool:
    """Whether somebody wanted an occurrence between these skipped: what isn't one any more stays on that list."""
    return any(
        first < skip.scheduled_for < last
        and is_occurrence(job.spec.schedule, skip.scheduled_for, anchor_at=job.anchor_at)
        for skip in job.skipped
    )


def _check_nothing_is_swallowed(findings: Findings, job: Job, event: Event, place: str) -> None:
    """What was announced and due when somebody changed the job must have been decided before that.

    So must be what jitter still held back, where a change did away with it. What a resume catches up is decided after
    it: until that is done, the job's next change can't come. What fell due in a pause waits for its end, unless an edit
    announces something else.
    """
    due = job.fires_next_at if _keeps(job, event) else job.next_for
    if due is None or job.status not in {Status.PENDING, Status.PAUSED}:
        return
    if isinstance(event, JobResumed) and event.catch_up != "skip":
        return
    if job.status is Status.PAUSED and isinstance(event, JobUpdated) and _fires_as_announced(job, event):
        return
    now = _time_of(event)
    findings.expect(
        Invariant.OCCURRENCES,
        now is not None and due > now,
        f"{place} {type(event).__name__}: {job.next_for} of job {job.id} was never decided",
    )


def _keeps(job: Job, event: Event) -> bool:
    """Whether the occurrence that was announced is still ahead after the change."""
    match event:
        case JobUpdated(next_for=at):
            return at == job.next_for
        case JobResumed():
            return True
        case _:
            return False


def _fires_as_announced(job: Job, event: JobUpdated) -> bool:
    return (event.next_for, event.next_fires_at) == (job.next_for, job.next_fires_at)


def _time_of(event: Event) -> datetime | None:
    """When a user changed the job; None for its completion, before which all must have been decided."""
    match event:
        case JobUpdated(updated_at=at) | JobResumed(resumed_at=at) | JobDeleted(deleted_at=at):
            return at
        case ScheduleReplanned(replanned_at=at):
            return at
        case _:
            return None
