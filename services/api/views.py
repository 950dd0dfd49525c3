"""Answers made: a job or an execution as the ledger has it, or as the write model does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pydantic import TypeAdapter

from services.api.responses import (
    BackfillView,
    BackoffView,
    CancelView,
    DstView,
    ErasureView,
    ExecutionView,
    HeldView,
    JobSpecView,
    JobStatus,
    JobView,
    LastRunView,
    OutputView,
    PausedView,
    ProgressView,
    RangeView,
    SkipView,
)
from shared.domain import job as jobs
from shared.domain import run as runs
from shared.domain.spec import Chain, JobSpec
from shared.domain.walk import DstPolicy
from shared.eventlog.envelope import decoder
from shared.eventlog.position import Position

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import asyncpg

    from shared.domain.backfill import Backfill
    from shared.domain.events import Change, PersonalDataErased, RunRequested
    from shared.domain.exclude import Span
    from shared.domain.job import Job
    from shared.domain.run import Run


_SKIPS = TypeAdapter(list[SkipView])


class Seen(NamedTuple):
    """What the write side doesn't know of a job."""

    active_runs: int = 0
    last_run: LastRunView | None = None


def job_of_row(row: asyncpg.Record) -> JobView:
    """The job as the ledger has it."""
    paused = None if row["paused"] is None else PausedView.model_validate_json(row["paused"])
    return JobView(
        **_specified(decoder(JobSpec)(row["spec"])),
        id=str(row["id"]),
        owner=row["owner"],
        tenant=row["tenant"],
        status=row["status"],
        revision=row["revision"],
        next_run_time=row["next_run_time"],
        last_run=seen(row).last_run,
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        paused=paused,
        skipped=_SKIPS.validate_json(row["skipped"]),
    )


def job_of_state(job: Job, known: Seen) -> JobView:
    """The job as the write model has it, with what the ledger `known`."""
    return JobView(
        **_specified(job.spec),
        id=job.id,
        owner=job.owner,
        tenant=job.tenant,
        status=_status(job, known),
        revision=job.revision,
        next_run_time=job.next_run_time,
        last_run=known.last_run,
        created_at=job.created_at,
        updated_at=job.updated_at,
        paused=paused_of_state(job),
        skipped=[
            SkipView(scheduled_for=each.scheduled_for, by=each.by, at=each.at, reason=each.reason)
            for each in job.skipped
        ],
    )


def paused_of_state(job: Job) -> PausedView | None:
    """By whom, since when and until when the job is paused; None if it isn't."""
    if job.paused is None or job.status is not jobs.Status.PAUSED:
        return None
    paused = job.paused
    return PausedView(
        by=paused.by,
        at=paused.at,
        reason=paused.reason,
        until=paused.until,
        catch_up=paused.catch_up,
        switch=paused.switch,
    )


def erasure_of_state(job: Job) -> ErasureView:
    """Who has erased a job that was erased."""
    told = cast("jobs.Erasure", job.erased)
    return ErasureView(job_id=job.id, by=told.by, at=told.at, reason=told.reason)


def erasure_of_event(job_id: str, event: PersonalDataErased) -> ErasureView:
    """The same, as the event says."""
    return ErasureView(job_id=job_id, by=event.by, at=event.erased_at, reason=event.reason)


def job_of_spec(spec: JobSpec) -> JobSpecView:
    """What a client has set of a job."""
    return JobSpecView(**_specified(spec))


def body_of_spec(spec: JobSpec) -> dict[str, Any]:
    """The body that makes a job of this specification, as JSON."""
    return job_of_spec(spec).model_dump(mode="json", by_alias=True)


def seen(row: asyncpg.Record | None) -> Seen:
    """What a row of `ledger.jobs` adds to the write model."""
    if row is None:
        return Seen()
    last = None
    if row["last_run_id"] is not None:
        last = LastRunView(
            id=str(row["last_run_id"]), status=row["last_run_status"], finished_at=row["last_run_finished_at"]
        )
    return Seen(row["active_runs"], last)


def etag(revision: int, position: Position) -> str:
    """The ETag of a job: what the client edits, and all that is folded into the row."""
    return f'"{revision}.{position}"'


def etag_of_row(row: asyncpg.Record) -> str:
    """The ETag of a row of `ledger.jobs`."""
    return etag(row["revision"], Position(row["epoch"], row["pos"]))


def execution_of_row(row: asyncpg.Record, progress: ProgressView | None = None) -> ExecutionView:
    """The run as the ledger has it; `progress` is the write side's."""
    told = dict(row)
    return ExecutionView.model_validate(
        told
        | {
            "id": str(row["id"]),
            "job_id": str(row["job_id"]),
            "backfill": None if row["backfill"] is None else str(row["backfill"]),
            "duration_seconds": _seconds(row["duration_ms"]),
            "lateness_seconds": _seconds(row["lateness_ms"]),
            "result": _json(row["result"]),
            "error": _json(row["error"]),
            "attempts": _json(row["attempts"]),
            "cancel": _json(row["cancel"]),
            "held": _json(row["held"]),
            "progress": progress,
        }
    )


def execution_requested(change: Change, *, at: datetime) -> ExecutionView:
    """A run as the event that requested it says; `at` is the commit's time."""
    requested = cast("RunRequested", change.event)
    run = runs.evolve(None, change)
    return execution_of_state(run, queued_at=at, of=requested.of, fires_at=requested.fires_at)


def execution_of_state(
    run: Run, *, queued_at: datetime | None, of: str | None = None, fires_at: datetime | None = None
) -> ExecutionView:
    """A run as it was requested, which is as the ledger has it until it starts.

    `queued_at` is the commit's time; one that is held is not queued yet.
    """
    return ExecutionView(
        id=run.id,
        job_id=run.job_id,
        job_name=run.spec.job_name,
        job_type=run.spec.job_type,
        status=run.status.value,
        trigger=run.trigger,
        of=of,
        backfill=run.backfill,
        revision=run.revision,
        queue=run.spec.queue,
        priority=run.spec.priority,
        attempt=run.attempt,
        max_attempts=run.spec.retry.max_retries + 1,
        scheduled_for=run.scheduled_for,
        fires_at=fires_at or run.wanted_at,
        queued_at=None if run.status is runs.Status.HELD else queued_at,
        started_at=None,
        finished_at=None,
        duration_seconds=None,
        lateness_seconds=None,
        result=None,
        error=None,
        worker=None,
        progress=None,
        cancel=None,
        held=_held(run),
        correlation_id=run.correlation_id,
        attempts=[],
    )


def execution_of_run(run: Run, row: asyncpg.Record | None) -> ExecutionView:
    """The run as the write model has it, with what an older row of the ledger knows."""
    view = execution_of_state(run, queued_at=None) if row is None else execution_of_row(row)
    wished = run.cancel and CancelView(by=run.cancel.by, at=run.cancel.at, reason=run.cancel.reason)
    return view.model_copy(
        update={
            "status": run.status.value,
            "cancel": wished,
            "held": _held(run),
            "attempt": run.attempt,
            "worker": run.worker or None,
        }
    )


def _held(run: Run) -> HeldView | None:
    if run.hold is None or run.status is not runs.Status.HELD:
        return None
    return HeldView(reason=run.hold.reason, key=run.hold.key, until=run.hold.until)


def backfill_of_row(row: asyncpg.Record) -> BackfillView:
    """The backfill as the ledger has it."""
    told = dict(row) | {"id": str(row["id"]), "job_id": str(row["job_id"]), "cancel": _json(row["cancel"])}
    running = row["requested"] - row["succeeded"] - row["failed"]
    return BackfillView.model_validate(told | {"from": row["since"], "to": row["until"], "running": running})


def backfill_of_state(backfill: Backfill) -> BackfillView:
    """The backfill as the write model has it."""
    wanted, cancel = backfill.spec, backfill.cancel
    return BackfillView.model_validate(
        {
            "id": backfill.id,
            "job_id": backfill.job_id,
            "status": backfill.status.value,
            "which": wanted.which,
            "from": wanted.from_,
            "to": wanted.to,
            "total": len(wanted.times),
            "requested": backfill.requested,
            "running": len(backfill.unfinished),
            "succeeded": backfill.succeeded,
            "failed": backfill.failed,
            "max_parallel": wanted.max_parallel,
            "revision": wanted.revision,
            "by": wanted.by,
            "reason": wanted.reason,
            "created_at": wanted.requested_at,
            "finished_at": backfill.finished_at,
            "cancel": cancel and CancelView(by=cancel.by, at=cancel.at, reason=cancel.reason),
        }
    )


def progress(text: str | None) -> ProgressView | None:
    """How far a handler has told that it is."""
    return None if text is None else ProgressView.model_validate_json(text)


def output_of_rows(rows: Sequence[asyncpg.Record], attempt: int | None) -> OutputView | None:
    """What one attempt has logged, the latest that has unless `attempt` says which; None if that hasn't."""
    attempts = [row["attempt"] for row in rows]
    if attempt is None and not rows:
        return OutputView(attempt=None, text="", dropped_bytes=0, at=None, attempts=[])
    for row in reversed(rows):
        if attempt in {None, row["attempt"]}:
            return OutputView(
                attempt=row["attempt"],
                text=row["text"],
                dropped_bytes=row["dropped"],
                at=row["at"],
                attempts=attempts,
            )
    return None


def _specified(spec: JobSpec) -> dict[str, Any]:
    """The fields of a job that a client sets."""
    plan, retry, chain = spec.schedule, spec.retry, spec.chain or Chain()
    return {
        "name": spec.name,
        "description": spec.description,
        "tags": list(spec.tags),
        "job_type": spec.job_type,
        "job_data": spec.job_data,
        "cron_expression": list(each) if isinstance(each := plan.cron_expression, tuple) else each,
        "interval_seconds": plan.interval_seconds,
        "run_at": plan.run_at,
        "start_at": plan.start_at,
        "end_at": plan.end_at,
        "max_runs": plan.max_runs,
        "jitter_seconds": plan.jitter_seconds,
        "exclude": [excluded(span) for span in plan.exclude],
        "exclude_calendars": list(plan.exclude_calendars),
        "timezone": plan.timezone,
        "dst_policy": _dst(plan.dst_policy or DstPolicy()),
        "timeout_seconds": spec.timeout_seconds,
        "max_retries": retry.max_retries,
        "retry_backoff": BackoffView(
            initial_seconds=retry.initial_seconds,
            multiplier=retry.multiplier,
            max_seconds=retry.max_seconds,
            jitter=retry.jitter,
        ),
        "retry_on": list(retry.retry_on),
        "give_up_on": list(retry.give_up_on),
        "priority": spec.priority,
        "queue": spec.queue,
        "misfire_policy": spec.misfire_policy,
        "misfire_grace_seconds": spec.misfire_grace_seconds,
        "overlap_policy": spec.overlap_policy,
        "start_deadline_seconds": spec.start_deadline_seconds,
        "max_lost": spec.max_lost,
        "pause_after_failures": spec.pause_after_failures,
        "on_success": list(chain.on_success),
        "on_failure": list(chain.on_failure),
        "notify_on_failure": list(chain.mail_on_failure),
        "concurrency_key": spec.concurrency_key,
        "concurrency_limit": spec.concurrency_limit,
    }


def excluded(span: Span) -> str | RangeView:
    """Excluded dates as bodies have them."""
    if span.from_ == span.to:
        return span.to.isoformat()
    return RangeView.model_validate({"from": span.from_.isoformat(), "to": span.to.isoformat()})


def _dst(policy: DstPolicy) -> DstView:
    return DstView(gap=policy.gap, overlap=policy.overlap)


def _status(job: Job, known: Seen) -> JobStatus:
    """API.md: `deleted > paused > running > failed > completed > pending`; a deleted job is not shown."""
    if job.status is jobs.Status.PAUSED:
        return "paused"
    if known.active_runs or job.active:
        return "running"
    if job.status is not jobs.Status.COMPLETED:
        return "pending"
    failed = known.last_run is not None and known.last_run.status == "failed"
    return "failed" if failed else "completed"


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)
