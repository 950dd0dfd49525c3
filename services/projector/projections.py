"""From events to rows: a batch of one partition folded per key, without a clock and without I/O.

The same archive gives the same rows, however it was cut into batches: a rebuild is compared with the
original.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.projector import backfill_rows, calendar_rows, hours, job_rows, key_rows, run_rows
from shared.domain import ids
from shared.domain.events import JobCreated, PersonalDataErased, RunRequested
from shared.domain.occurrences import decided_again

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, MutableMapping

    from services.projector.backfill_rows import BackfillRow
    from services.projector.calendar_rows import CalendarRow
    from services.projector.hours import Hours
    from services.projector.job_rows import JobEntry
    from services.projector.key_rows import KeyRow
    from services.projector.run_rows import RunRow
    from shared.domain.events import Change
    from shared.eventlog.envelope import Recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An event that this build can't read or fold: a newer Daybook wrote it, or nobody of ours."""

    recorded: Recorded
    message: str


@dataclass(slots=True, kw_only=True)
class Folded:
    """What a batch comes to.

    Attributes:
        jobs: job id → entry, of the jobs touched.
        snapshots: ids of those whose state an event has advanced.
        waypoints: jobs as they stood here and there, to be kept for looking back.
        runs: run id → row, of the runs touched.
        hours: what to add.
        keys: hash → row, of the API keys touched.
        backfills: id → row, of those touched.
        calendars: ref → row, of the calendars touched.
        erased: ids of jobs whose personal data nobody is to read any more.
        unreadable: events that are in the archive only.
        duplicated: occurrences that these events decide, though others had decided them.
    """

    jobs: dict[str, JobEntry] = field(default_factory=dict)
    snapshots: set[str] = field(default_factory=set)
    waypoints: list[JobEntry] = field(default_factory=list)
    runs: dict[str, RunRow] = field(default_factory=dict)
    hours: Hours = field(default_factory=dict)
    keys: dict[str, KeyRow] = field(default_factory=dict)
    backfills: dict[str, BackfillRow] = field(default_factory=dict)
    calendars: dict[str, CalendarRow] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    unreadable: list[Unreadable] = field(default_factory=list)
    duplicated: int = 0


def begins(recorded: Recorded) -> bool:
    """Whether nothing need be known of the aggregate before this event."""
    return recorded.type in {JobCreated.__name__, RunRequested.__name__}


def job_of(recorded: Recorded) -> str:
    """The job whose row an event touches, or ''."""
    return recorded.subject[4:] if recorded.subject.startswith("job/") else recorded.job


def run_of(recorded: Recorded) -> str:
    """The run whose row an event touches, or ''."""
    return recorded.subject[4:] if recorded.subject.startswith("run/") else ""


def needed(
    events: Iterable[Recorded], jobs: MutableMapping[str, JobEntry], runs: MutableMapping[str, RunRow]
) -> tuple[list[str], list[str]]:
    """Ids of the jobs and runs that must be loaded before `events` can be folded."""
    want_jobs: dict[str, bool] = {}
    want_runs: dict[str, bool] = {}
    for recorded in events:
        begun = begins(recorded)
        run_id = run_of(recorded)
        if run_id and run_id not in runs:
            want_runs.setdefault(run_id, not begun)
        job_id = job_of(recorded)
        if job_id and job_id not in jobs:
            want_jobs.setdefault(job_id, not (begun and not run_id))
    return list(_ours(want_jobs)), list(_ours(want_runs))


def fold(
    events: Iterable[Recorded], jobs: MutableMapping[str, JobEntry], runs: MutableMapping[str, RunRow]
) -> Folded:
    """Fold `events`, in their order, into `jobs` and `runs` (what is known); tell what they touched."""
    folded = Folded()
    for recorded in events:
        _note_erasure(folded, recorded)
        try:
            change = recorded.change()
            _fold_run(folded, jobs, runs, recorded, change)
            _fold_job(folded, jobs, recorded, change)
            _fold_other(folded, recorded, change)
            _fold_backfill(folded, recorded, change)
        except Exception as error:  # noqa: BLE001 - whatever it is, one event must not stop the projector
            folded.unreadable.append(
                Unreadable(recorded=recorded, message=f"{type(error).__name__}: {error}")
            )
            _give_up(folded, jobs, recorded)
    return folded


def _note_erasure(folded: Folded, recorded: Recorded) -> None:
    """By the envelope alone: what a newer Daybook has written of it can't be read here, and is meant all the same."""
    if recorded.type == PersonalDataErased.__name__:
        folded.erased.update(_ours({job_of(recorded): True}))


def _fold_run(
    folded: Folded,
    jobs: MutableMapping[str, JobEntry],
    runs: MutableMapping[str, RunRow],
    recorded: Recorded,
    change: Change,
) -> None:
    run_id = run_of(recorded)
    if not run_id:
        return
    job = jobs.get(job_of(recorded))
    tenant = "" if job is None else job.tenant
    row = run_rows.fold(runs.get(run_id), recorded, change.event, tenant=tenant)
    if row is not None:
        runs[run_id] = folded.runs[run_id] = row
        hours.count(folded.hours, change.event, recorded.at, row)


def _fold_job(
    folded: Folded, jobs: MutableMapping[str, JobEntry], recorded: Recorded, change: Change
) -> None:
    job_id = job_of(recorded)
    if not job_id:
        return
    before = jobs.get(job_id)
    entry = job_rows.fold(before, recorded, change)
    if entry is None or entry is before:
        return
    jobs[job_id] = folded.jobs[job_id] = entry
    if before is not None and before.job is not None:
        folded.duplicated += decided_again(before.job, change.event)
    if entry.version == recorded.position:
        folded.snapshots.add(job_id)
        if job_rows.is_waypoint(entry):
            folded.waypoints.append(entry)


def _fold_other(folded: Folded, recorded: Recorded, change: Change) -> None:
    kind, _, identifier = change.subject.partition(":")
    if kind == "apikey":
        row = key_rows.fold(folded.keys.get(identifier), recorded, change)
        if row is not None:
            folded.keys[identifier] = row
    elif kind == "calendar":
        folded.calendars[change.subject] = calendar_rows.fold(recorded, change)


def _fold_backfill(folded: Folded, recorded: Recorded, change: Change) -> None:
    kind, _, identifier = change.subject.partition(":")
    if kind != "backfill":
        return
    row = backfill_rows.fold(folded.backfills.get(identifier), recorded, change)
    if row is not None:
        folded.backfills[ids.parse(identifier)] = row


def _give_up(folded: Folded, jobs: MutableMapping[str, JobEntry], recorded: Recorded) -> None:
    """Don't let a job's snapshot pass over an event that advanced it but was not folded in."""
    job_id = job_of(recorded)
    entry = jobs.get(job_id)
    if entry is not None and (recorded.advances == "both" or recorded.subject.startswith("job/")):
        jobs[job_id] = folded.jobs[job_id] = job_rows.unreadable(entry, recorded)
        folded.snapshots.add(job_id)


def _ours(wanted: dict[str, bool]) -> Iterator[str]:
    """The ids that are to be loaded and can be: others would make Postgres refuse the question."""
    for identifier, wants in wanted.items():
        if wants:
            try:
                yield ids.parse(identifier)
            except ids.BadId:
                continue
