"""Runs that are asked for at once: by somebody, by the end of another job's run, or to do an ended one again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.domain import overlaps
from shared.domain.commands import FollowRun, RetryRun, TriggerJob
from shared.domain.events import Change, RunRequested
from shared.domain.spec import run_spec

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.job import Job
    from shared.domain.spec import OverlapPolicy

Asking = TriggerJob | FollowRun | RetryRun


def requested(job: Job, command: Asking, now: datetime) -> Change:
    """The run that `command` asks for: queued, or held where the overlap policy has it wait."""
    event = RunRequested(
        job_id=job.id,
        fires_at=now,
        held=overlaps.waits(job, policy(job, command)),
        follows=job.follows,
        correlation_id=command.correlation_id,
        requested_at=now,
        **_own(job, command, now),
    )
    return Change(subject=f"run:{command.run_id}", event=event, job=job.id, both=job.follows)


def policy(job: Job, command: Asking) -> OverlapPolicy:
    """What becomes of the run while others of the job are active."""
    return asked_policy(command) or job.spec.overlap_policy


def asked_policy(command: Asking) -> OverlapPolicy | None:
    """What the wish says instead of its job's policy."""
    return None if isinstance(command, FollowRun) else command.overlap_policy


def _own(job: Job, command: Asking, now: datetime) -> dict[str, Any]:
    """What tells a run of this kind from others."""
    match command:
        case TriggerJob(job_data=data, priority=priority):
            return {
                "trigger": "manual",
                "scheduled_for": now,
                "revision": job.revision,
                "spec": run_spec(job.spec, tenant=job.tenant, job_data=data, priority=priority),
            }
        case FollowRun(job_data=over):
            data = None if over is None else job.spec.job_data | over
            return {
                "trigger": "chain",
                "of": command.of,
                "depth": command.depth,
                "scheduled_for": now,
                "revision": job.revision,
                "spec": run_spec(job.spec, tenant=job.tenant, job_data=data),
            }
        case RetryRun():
            return {
                "trigger": "retry",
                "of": command.of,
                "scheduled_for": command.scheduled_for,
                "revision": command.revision,
                "spec": command.spec,
            }
