"""Which command an event has come of, where somebody gave one: what follows by a job's own rules has come of none."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

from shared.domain import following, overlaps, settling
from shared.domain.commands import (
    CreateJob,
    FollowRun,
    JobCommand,
    PauseJob,
    ReplanJob,
    ResumeJob,
    RetryRun,
    SkipOccurrence,
    SuspendJob,
    TriggerJob,
    UnskipOccurrence,
    UpdateJob,
)
from shared.domain.events import (
    Change,
    JobCreated,
    JobPaused,
    JobResumed,
    JobUpdated,
    OccurrenceExcluded,
    OccurrenceIncluded,
    RunCancelled,
    RunCancelRequested,
    RunRequested,
    ScheduleReplanned,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from shared.domain.events import Event
    from shared.domain.job import Job
    from shared.domain.spec import OverlapPolicy

SUSPENDS = "timer"  # who pauses a job whose schedule can't be decided


def command_of(job: Job | None, change: Change, *, replaced: Collection[str]) -> JobCommand | None:  # noqa: C901 - a table
    """The command that an event has come of, if none of the job's rules has brought it about.

    Args:
        job: before it.
        change: the event.
        replaced: why the same unit ends runs for the sake of others.
    """
    match change.event:
        case JobCreated(spec=spec, owner=owner, tenant=tenant):
            job_id = change.subject.removeprefix("job:")
            return CreateJob(job_id=job_id, spec=spec, owner=owner, tenant=tenant)
        case JobUpdated(spec=spec):
            return UpdateJob(spec=spec)
        case JobPaused(by=following.BY):
            return None
        case JobPaused(by=by, reason=reason) if by == SUSPENDS:
            return SuspendJob(by=by, reason=reason)
        case JobPaused(by=by, reason=reason, until=until, catch_up=catch_up, switch=switch):
            return PauseJob(by=by, reason=reason, until=until, catch_up=catch_up, switch=switch)
        case JobResumed(by=by, catch_up=catch_up) if by != settling.BY:
            return ResumeJob(by=by, catch_up=catch_up)
        case OccurrenceExcluded(scheduled_for=at, by=by, reason=reason):
            return SkipOccurrence(scheduled_for=at, by=by, reason=reason)
        case OccurrenceIncluded(scheduled_for=at, by=by):
            return UnskipOccurrence(scheduled_for=at, by=by)
        case ScheduleReplanned(from_=before, to=tables):
            return ReplanJob(tables=tables, before=before)
        case RunRequested() as event if event.trigger not in {"schedule", "backfill"}:
            return _asking(job, change.subject.removeprefix("run:"), event, replaced=replaced)
        case _:
            return None


def _asking(job: Job | None, run_id: str, event: RunRequested, *, replaced: Collection[str]) -> JobCommand:
    """Who asked for a run asked for it so; where the job's policy would have said something else, they did."""
    corr = event.correlation_id
    if event.trigger == "chain":
        return FollowRun(run_id=run_id, correlation_id=corr, of=event.of or "", depth=event.depth)
    asked = _asked(job, run_id, event, replaced=replaced)
    if event.trigger == "retry":
        return RetryRun(
            run_id=run_id,
            correlation_id=corr,
            of=event.of or "",
            scheduled_for=event.scheduled_for,
            revision=event.revision,
            spec=event.spec,
            overlap_policy=asked,
        )
    return TriggerJob(
        run_id=run_id,
        correlation_id=corr,
        priority=event.spec.priority,
        overlap_policy=asked,
    )


def _asked(
    job: Job | None, run_id: str, event: RunRequested, *, replaced: Collection[str]
) -> OverlapPolicy | None:
    if job is None or not job.active:
        return None
    own = job.spec.overlap_policy
    if not event.held:
        return None if own == "allow" else "allow"
    if overlaps.replaced_by(run_id) in replaced:
        return "replace"
    would_wait = overlaps.waits(job, own) and overlaps.in_the_way(job, own) is None
    would_replace = own == "replace" and bool(job.waiting or overlaps.go_on(job))
    return None if would_wait and not would_replace else "queue_all"


def is_replaced(event: Event) -> TypeGuard[RunCancelled | RunCancelRequested]:
    """Whether a run was ended, or is to, for the sake of another."""
    if not isinstance(event, RunCancelled | RunCancelRequested):
        return False
    return event.by == overlaps.BY and event.reason.startswith(overlaps.replaced_by(""))
