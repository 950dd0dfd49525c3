"""The ledger of jobs: what the domain says of a job, and what its runs have come to.

The state is the domain's own fold (the snapshot, to the byte); beside it stands what the write side doesn't
keep of a job that doesn't follow its runs: how many are unfinished, and how the last one ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from msgspec.structs import replace

from shared.domain import ids
from shared.domain import job as jobs
from shared.domain.events import (
    OUTCOMES,
    Change,
    JobCreated,
    RunRequested,
)
from shared.domain.job import Job
from shared.domain.value import Value
from shared.eventlog import snapshot
from shared.eventlog.envelope import json_text, rfc3339
from shared.eventlog.position import Position

if TYPE_CHECKING:
    from datetime import datetime

    from shared.eventlog.envelope import Recorded
    from shared.recovery.brought_forward import Brought


APART = 256  # events that advance a job lie between two of its waypoints, about: 10 ms to fold


class LastRun(NamedTuple):
    """The run of a job that ended last."""

    id: str
    status: str
    finished_at: datetime


class JobEntry(Value, frozen=True):
    """What is known of a job.

    Attributes:
        id: of the job.
        job: the domain's state; None once one of its events could not be read.
        version: position of the last event that advanced it.
        active_runs: runs without a terminal event.
        last_run: the run that ended last, if one has.
        position: of the last event folded in.
        tenant: whose it is, also when its state can't be read; '' if that was never known.
    """

    id: str
    job: Job | None
    version: Position
    active_runs: int
    last_run: LastRun | None
    position: Position
    tenant: str


def fold(entry: JobEntry | None, recorded: Recorded, change: Change) -> JobEntry | None:
    """The entry after an event of the job or of one of its runs; None if nothing is known of the job.

    Raises:
        ValueError: the event is not one that the job can have had (BadId, or before its JobCreated).
    """
    if isinstance(change.event, JobCreated):
        return _created(recorded, change)
    if entry is None:
        return None
    if change.subject.startswith("run:"):
        entry = _run_counted(entry, recorded, change)
    if entry.job is not None and f"job:{entry.id}" in change.advances:
        entry = replace(entry, job=jobs.evolve(entry.job, change), version=recorded.position)
    return replace(entry, position=recorded.position)


def unreadable(entry: JobEntry, recorded: Recorded) -> JobEntry:
    """The entry after an event that can't be read: its state is unknown from here on."""
    return replace(entry, job=None, version=recorded.position, position=recorded.position)


def status_of(job: Job, active_runs: int, last_run: LastRun | None) -> str:
    """The one word for clients; API.md has the precedence."""
    if job.status in {jobs.Status.DELETED, jobs.Status.PAUSED}:
        return job.status.value
    if active_runs:
        return "running"
    if job.status is jobs.Status.COMPLETED and last_run is not None and last_run.status == "failed":
        return "failed"
    return job.status.value


def stored(entry: JobEntry, partition: int) -> tuple[Any, ...]:
    """The row of `ledger.jobs`, in the order of its columns."""
    job = entry.job
    assert job is not None  # noqa: S101 - an unreadable job has no row to write
    spec, last = job.spec, entry.last_run
    return (
        entry.id,
        partition,
        job.owner,
        job.tenant,
        spec.name,
        spec.description,
        json_text(spec.tags),
        spec.job_type,
        spec.queue,
        spec.priority,
        json_text(spec),
        job.revision,
        status_of(job, entry.active_runs, last),
        job.status.value,
        entry.active_runs,
        job.next_run_time,
        *(last or (None, None, None)),
        _paused(job),
        _skipped(job),
        job.created_at,
        job.updated_at,
        *entry.position,
    )


def snapshot_row(entry: JobEntry, partition: int) -> tuple[Any, ...]:
    """The row of `book.snapshots`, in the order of its columns."""
    text = None if entry.job is None else snapshot.dump(entry.job)
    return (f"job:{entry.id}", partition, *entry.version, snapshot.SHAPES[jobs.Job], text)


def is_waypoint(entry: JobEntry) -> bool:
    """Whether the state after the event that has advanced a job last is kept: one of APART is, as chance has it.

    The position alone decides, so the same archive gives the same ones however it is cut into batches, and nothing need
    be counted. The checksum mixes it: positions of one job may lie at regular distances.
    """
    return entry.job is not None and crc32(entry.version.pos.to_bytes(8)) % APART == 0


def waypoint_row(entry: JobEntry, partition: int) -> tuple[Any, ...]:
    """The row of `book.waypoints`, in the order of its columns."""
    job = entry.job
    assert job is not None  # noqa: S101 - see is_waypoint
    epoch, pos = entry.version
    told = (snapshot.SHAPES[jobs.Job], snapshot.dump(job), entry.active_runs)
    return (entry.id, pos, partition, epoch, *told, *(entry.last_run or (None, None, None)))


def loaded(record: tuple[Any, ...]) -> JobEntry:
    """The entry as it was stored; load_jobs.sql has the order of the columns.

    Raises:
        NewerShape: a newer Daybook wrote it.
    """
    job_id, state, epoch, pos, active_runs, run_id, run_status, run_at, row_epoch, row_pos, tenant = record
    job = None if state is None else snapshot.load(jobs.Job, state.encode())
    return JobEntry(
        id=job_id,
        job=job,
        version=Position(epoch, pos),
        active_runs=active_runs or 0,
        last_run=None if run_id is None else LastRun(str(run_id), run_status, run_at),
        position=Position(epoch, pos) if row_pos is None else Position(row_epoch, row_pos),
        tenant=(tenant or "") if job is None else job.tenant,
    )


def brought(each: Brought) -> JobEntry:
    """The entry of a job as it was brought forward from what was dropped of the archive."""
    last, job = each.last_run, each.state
    assert isinstance(job, Job)  # noqa: S101 - whoever calls has looked
    return JobEntry(
        id=job.id,
        job=job,
        version=each.version,
        active_runs=each.active_runs,
        last_run=None if last is None else LastRun(*last),
        position=each.told,
        tenant=job.tenant,
    )


def _created(recorded: Recorded, change: Change) -> JobEntry:
    job = jobs.evolve(None, change)
    return JobEntry(
        id=ids.parse(change.subject.removeprefix("job:")),
        job=job,
        version=recorded.position,
        active_runs=0,
        last_run=None,
        position=recorded.position,
        tenant=job.tenant,
    )


def _run_counted(entry: JobEntry, recorded: Recorded, change: Change) -> JobEntry:
    if isinstance(change.event, RunRequested):
        return replace(entry, active_runs=entry.active_runs + 1)
    outcome = OUTCOMES.get(type(change.event))
    if outcome is None:
        return entry
    ended = LastRun(change.subject.removeprefix("run:"), outcome, ids.from_ms(recorded.at))
    return replace(entry, active_runs=max(0, entry.active_runs - 1), last_run=ended)


def _paused(job: Job) -> str | None:
    if job.paused is None or job.status is not jobs.Status.PAUSED:
        return None
    paused = job.paused
    told = {
        "by": paused.by,
        "at": rfc3339(paused.at),
        "reason": paused.reason,
        "until": None if paused.until is None else rfc3339(paused.until),
        "catch_up": paused.catch_up,
        "switch": paused.switch,
    }
    return json_text(told)


def _skipped(job: Job) -> str:
    return json_text(
        [
            {
                "scheduled_for": rfc3339(skip.scheduled_for),
                "by": skip.by,
                "at": rfc3339(skip.at),
                "reason": skip.reason,
            }
            for skip in job.skipped
        ]
    )
