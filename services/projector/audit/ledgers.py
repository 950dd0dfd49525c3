"""The ledgers and the snapshots in Postgres, row by row, against the fold of the archive."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import asdict

from services.projector import hours as hour_rows
from services.projector import job_rows, projections, run_rows
from services.projector.audit.fold import HOUR_MS, hour_of
from services.projector.audit.lines import Invariant
from services.projector.audit.runs import has_ended
from shared.domain import ids
from shared.domain.job import Job
from shared.domain.spec import JobSpec
from shared.eventlog.envelope import decoder
from shared.eventlog.snapshot import SHAPES, load

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from services.projector.audit.fold import Fold
    from services.projector.audit.lines import Findings
    from shared.eventlog.envelope import Recorded

JOB_COLUMNS = (
    "id", "partition", "owner", "tenant", "name", "description", "tags", "job_type", "queue", "priority", "spec",
    "revision", "status", "state", "active_runs", "next_run_time", "last_run_id", "last_run_status",
    "last_run_finished_at", "paused", "skipped", "created_at", "updated_at", "epoch", "pos",
)  # fmt: skip
_JSON = frozenset({"tags", "spec", "paused", "skipped", "result"})
_SHOWN = 200  # characters of a value in an example


class Refusal(NamedTuple):
    """A row of `book.projection_errors`: the table (or `event`), the key of its row (or the event's id)."""

    model: str
    key: str
    message: str


class Refusals:
    """What the ledgers have refused, and whether it is right by now: a wrong row that was refused is told of here."""

    def __init__(self, refused: Sequence[Refusal]) -> None:
        self._refused = {(each.model, each.key): each for each in refused}
        self._behind: dict[tuple[str, str], Refusal] = {}
        self._wrong = {each for each in refused if each.model == "event"}  # until the event is seen

    def saw(self, recorded: Recorded) -> None:
        """An event: if the projector could not read it, what it would have changed is excused."""
        refusal = self._refused.get(("event", recorded.id))
        if refusal is None:
            return
        self._wrong.discard(refusal)
        job_id, run_id = projections.job_of(recorded), projections.run_of(recorded)
        for thing in (("jobs", job_id), ("runs", run_id), ("run_hourly", hour_of(recorded.at // HOUR_MS))):
            self._behind[thing] = refusal

    def excuse(self, model: str, *keys: str) -> bool:
        """Whether a row that is wrong was refused, under one of these keys."""
        for key in keys:
            refusal = self._refused.get((model, key)) or self._behind.get((model, key))
            if refusal is not None:
                self._wrong.add(refusal)
                return True
        return False

    def tell(self, findings: Findings, fold: Fold) -> None:
        """The line of them, when all rows have been looked at."""
        for refusal in self._refused.values():
            is_right = refusal not in self._wrong and refusal.key not in fold.unreadable
            findings.expect(
                Invariant.REFUSED, is_right, f"{refusal.model} {refusal.key}: {refusal.message[:_SHOWN]}"
            )


# Jobs.


def check_job(
    findings: Findings, fold: Fold, refusals: Refusals, record: asyncpg.Record, partition: int
) -> str:
    """Look at a row of ledger.jobs; return its id."""
    job_id = str(record["id"])
    entry = fold.jobs.get(job_id)
    if not fold.knows(f"job:{job_id}"):
        findings.unchecked(Invariant.JOBS)
        refusals.excuse("jobs", job_id)
        return job_id
    expected = None
    if entry is not None and entry.job is not None:
        expected = dict(zip(JOB_COLUMNS, job_rows.stored(entry, partition), strict=True))
        if _is_spec(record["spec"], entry.job.spec):
            del expected["spec"]  # an older build may have written it, without what has been added since
    compare(findings, Invariant.JOBS, refusals, ("jobs", job_id), expected, _plain(record))
    return job_id


def _is_spec(text: str, spec: JobSpec) -> bool:
    """Whether a specification is read as this one."""
    try:
        return bool(decoder(JobSpec)(text) == spec)
    except Exception:  # noqa: BLE001 - whatever stands there, it isn't that
        return False


def check_missing_jobs(findings: Findings, fold: Fold, refusals: Refusals, found: set[str]) -> None:
    """Tell of jobs that have no row."""
    for job_id in fold.jobs:
        if job_id not in found and fold.knows(f"job:{job_id}"):
            compare(findings, Invariant.JOBS, refusals, ("jobs", job_id), {"id": job_id}, None)


def check_snapshot(
    findings: Findings, fold: Fold, refusals: Refusals, record: asyncpg.Record, partition: int
) -> str:
    """Look at a row of book.snapshots; return its ref."""
    ref = str(record["ref"])
    entry = fold.jobs.get(ref.removeprefix("job:"))
    if not fold.knows(ref) or record["shape"] > SHAPES[Job]:
        findings.unchecked(Invariant.BOOK_SNAPSHOTS)
        return ref
    expected = (
        None
        if entry is None
        else dict(zip(record.keys(), job_rows.snapshot_row(entry, partition), strict=True))
    )
    if expected is not None and entry is not None and _was_written_before(entry, record):
        expected |= {"shape": record["shape"], "state": record["state"]}
    compare(
        findings,
        Invariant.BOOK_SNAPSHOTS,
        refusals,
        ("jobs", ref.removeprefix("job:")),
        expected,
        dict(record),
    )
    return ref


def _was_written_before(entry: job_rows.JobEntry, record: asyncpg.Record) -> bool:
    """Whether an older build wrote what is read as this very state."""
    if record["shape"] >= SHAPES[Job] or record["state"] is None:
        return False
    try:
        return load(Job, record["state"].encode()) == entry.job
    except Exception:  # noqa: BLE001 - whatever stands there, it isn't that
        return False


def check_missing_snapshots(findings: Findings, fold: Fold, refusals: Refusals, found: set[str]) -> None:
    """Tell of jobs that have no snapshot in Postgres."""
    for job_id in fold.jobs:
        if f"job:{job_id}" not in found and fold.knows(f"job:{job_id}"):
            compare(findings, Invariant.BOOK_SNAPSHOTS, refusals, ("jobs", job_id), {"ref": job_id}, None)


# Runs.


def check_runs(
    findings: Findings,
    fold: Fold,
    refusals: Refusals,
    asked: Sequence[str],
    records: Iterable[asyncpg.Record],
    *,
    last: bool,
    cuts: Mapping[str, datetime],
) -> None:
    """Look at the rows of these runs, and let go of them.

    A row that events to come have gone into waits for them, until the `last` time. One that was deleted with others of
    its age isn't missed: `cuts` has, by status, before when such runs had ended.
    """
    found = {row.id: row for row in (run_rows.loaded(tuple(record)) for record in records)}
    for run_id in asked:
        if not fold.knows(f"run:{run_id}"):
            findings.unchecked(Invariant.RUNS)
            refusals.excuse("runs", run_id)
            fold.rows.pop(run_id, None)
            continue
        expected, stored = fold.rows.get(run_id), found.get(run_id)
        if expected is None or (not last and stored is not None and stored.pos > expected.pos):
            continue
        if stored is None and _may_be_gone(expected, cuts):
            findings.unchecked(Invariant.RUNS)
            del fold.rows[run_id]
            continue
        told = None if stored is None else asdict(stored)
        compare(findings, Invariant.RUNS, refusals, ("runs", run_id), asdict(expected), told)
        del fold.rows[run_id]


def _may_be_gone(row: run_rows.RunRow, cuts: Mapping[str, datetime]) -> bool:
    before = cuts.get(row.status)
    return before is not None and row.finished_at is not None and row.finished_at < before


def check_unheard_of(findings: Findings, fold: Fold, record: asyncpg.Record) -> None:
    """Look at the id of a row of ledger.runs, which must be that of some run; `record` tells when that ended, too."""
    run_id, ended_at = str(record["id"]), record["finished_at"]
    if run_id in fold.untold or (ended_at is not None and ids.to_ms(ended_at) <= fold.whole_from_ms):
        findings.unchecked(Invariant.RUNS)
        return
    known = run_id in fold.stories.told or has_ended(fold.stories, run_id) or not fold.knows(f"run:{run_id}")
    if not known:
        findings.wrong(Invariant.RUNS, f"run {run_id} has a row, and no event in the archive")


# Hours.


def check_hours(
    findings: Findings, fold: Fold, refusals: Refusals, records: Iterable[asyncpg.Record], partition: int
) -> None:
    """Look at all rows of ledger.run_hourly of a partition."""
    names = ("partition", "hour", "job_type", *hour_rows.Hour.__slots__)
    expected = {
        (values[1], values[2]): dict(zip(names, values, strict=True))
        for values in hour_rows.stored(fold.hours, partition)
    }
    found = {(record["hour"], record["job_type"]): dict(record) for record in records}
    for key in {**expected, **found}:
        hour, job_type = key
        number = ids.to_ms(hour) // HOUR_MS
        if number in fold.unknown_hours or number <= fold.whole_from_ms // HOUR_MS:
            findings.unchecked(Invariant.HOURS)
            continue
        row, told = expected.get(key), found.get(key)
        findings.checked(Invariant.HOURS)
        if row != told and not refusals.excuse(
            "run_hourly", f"{hour.isoformat()} {job_type}", hour.isoformat()
        ):
            findings.wrong(
                Invariant.HOURS,
                f"{hour.isoformat()} {job_type} of partition {partition}: {_difference(row, told)}",
            )


# Comparing.


def compare(
    findings: Findings,
    invariant: Invariant,
    refusals: Refusals,
    refused_as: tuple[str, str],
    expected: dict[str, Any] | None,
    told: dict[str, Any] | None,
) -> None:
    """Look at a row that was refused under a key, if it was: what it should be, and what it is; None: no row."""
    findings.checked(invariant)
    difference = _difference(expected, told)
    if difference and not refusals.excuse(*refused_as):
        findings.wrong(invariant, f"{refused_as[1]}: {difference}")


def _difference(expected: dict[str, Any] | None, told: dict[str, Any] | None) -> str:
    """How a row differs from what it should be; '' if it doesn't."""
    if expected is None or told is None:
        return "" if expected is told else "there is no row" if told is None else "there should be no row"
    for name, value in expected.items():
        has = told.get(name)
        if value != has and not (name in _JSON and _json(value) == _json(has)):
            return f"{name} should be {str(value)[:_SHOWN]!r} and is {str(has)[:_SHOWN]!r}"
    return ""


def _plain(record: asyncpg.Record) -> dict[str, Any]:
    """A row of ledger.jobs in the words of `job_rows.stored`."""
    told = dict(record)
    for name in ("id", "last_run_id"):
        told[name] = None if told[name] is None else str(told[name])
    told["tags"] = json.dumps(told["tags"])
    return told


def _json(text: Any) -> Any:
    """What JSON text says. Numbers are compared as what they are: Postgres writes 1e23 with all its zeros."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal) if isinstance(text, str) else text
