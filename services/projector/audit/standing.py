"""What stands in Redis, against the fold at the same moment: snapshots, due index and work streams."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from services.projector.audit.lines import Invariant
from services.projector.audit.runs import has_ended
from shared.domain import ids, kinds, run
from shared.domain.run import Status
from shared.eventlog import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.projector.audit.fold import Fold, Standing
    from services.projector.audit.lines import Findings
    from services.projector.job_rows import JobEntry
    from shared.domain.kinds import Aggregate
    from shared.domain.run import Run
    from shared.eventlog.position import Position

POSTPONED_MS = 60_000  # a timer puts off what it can't decide by so much, at most
_NO_LEASE = timedelta()


class Seen(NamedTuple):
    """An aggregate in Redis: the fields of its hash (None = not there), and its score in the due index (ms)."""

    ref: str
    version: bytes | None
    state: bytes | None
    spec: bytes | None
    fence: bytes | None
    score: int | None


class Entry(NamedTuple):
    """An entry of a work stream; `job` is '' unless a job follows the run."""

    id: str
    run: str
    job: str


class Work(NamedTuple):
    """Which work stream."""

    queue: str
    priority: int


def check(findings: Findings, fold: Fold, seen: Seen, *, now_ms: int) -> None:
    """Look at one aggregate; the fold stands at the position that Redis had when it was seen."""
    kind, _, identifier = seen.ref.partition(":")
    if not fold.knows(seen.ref):
        findings.unchecked(Invariant.SNAPSHOTS)
    elif kind == "job" and (entry := fold.jobs.get(identifier)) is not None:
        _check_job(findings, entry, seen, now_ms)
    elif kind == "run" and (standing := fold.runs.get(identifier)) is not None:
        _check_run(findings, fold, standing, seen, now_ms)
    elif (other := fold.others.get(seen.ref)) is not None:
        _check_snapshot(findings, seen, other.state, other.version, may_be_gone=other.state.over)
        due = kinds.of_state(other.state).due_at(other.state)
        _check_due(findings, seen, None if due is None else ids.to_ms(due), now_ms)
    else:
        _check_stranger(findings, seen, has_been=kind == "run" and has_ended(fold.stories, identifier))


def is_queued(fold: Fold, run_id: str) -> tuple[Work, str] | None:
    """In which work stream a run must stand, and under which id; None if in none."""
    standing = fold.runs.get(run_id)
    if standing is None or not standing.run.offered:
        return None
    return Work(standing.run.spec.queue, standing.run.spec.priority), str(standing.version)


def check_entries(findings: Findings, fold: Fold, work: Work, entries: Iterable[Entry]) -> None:
    """Look at entries of a work stream: each must be a run that is queued there."""
    for entry in entries:
        if not fold.knows(f"run:{entry.run}"):
            findings.unchecked(Invariant.STRAYS)
            continue
        standing = fold.runs.get(entry.run)
        follower = standing.run.job_id if standing is not None and standing.run.follows else ""
        findings.expect(
            Invariant.STRAYS,
            is_queued(fold, entry.run) == (work, entry.id) and entry.job == follower,
            f"work stream {work.queue}:{work.priority} has {entry.id}, run {entry.run}, which is {_told(standing)}",
        )


def check_queued(findings: Findings, run_id: str, work: Work, entry_id: str, *, found: bool) -> None:
    """Look at a queued run: it must stand in its work stream."""
    findings.expect(
        Invariant.STANDING,
        found,
        f"run {run_id} is not in work stream {work.queue}:{work.priority} at {entry_id}",
    )


def _check_job(findings: Findings, entry: JobEntry, seen: Seen, now_ms: int) -> None:
    job = entry.job
    if job is None:
        return
    _check_snapshot(findings, seen, job, entry.version, may_be_gone=job.over)
    due_ms = None if job.due_at is None else ids.to_ms(job.due_at)
    _check_due(findings, seen, due_ms, now_ms)
    findings.expect(
        Invariant.STANDING,
        bool(job.active) or not job.waiting,
        f"{seen.ref} has nothing active, and {len(job.waiting)} runs that wait for its end",
    )


def _check_run(findings: Findings, fold: Fold, standing: Standing, seen: Seen, now_ms: int) -> None:
    state = standing.run
    _check_snapshot(findings, seen, state, standing.version, may_be_gone=state.ended)
    if seen.version is not None:
        fence = (seen.fence or b"").decode()
        findings.expect(
            Invariant.FENCES,
            fence == standing.fence,
            f"{seen.ref}: {fence or 'none'}, not {standing.fence or 'none'}",
        )
    match state.status:
        case Status.RUNNING:  # heartbeats move its time
            findings.expect(
                Invariant.STANDING, seen.score is not None, f"{seen.ref} is running, and has no lease"
            )
        case Status.HELD:
            _check_held(findings, fold, state, seen, now_ms)
        case _:
            due = run.due_at(state, now=ids.from_ms(0), lease=_NO_LEASE)
            _check_due(findings, seen, None if due is None else ids.to_ms(due), now_ms)


def _check_held(findings: Findings, fold: Fold, state: Run, seen: Seen, now_ms: int) -> None:
    due = run.due_at(state, now=ids.from_ms(0), lease=_NO_LEASE)
    _check_due(findings, seen, None if due is None else ids.to_ms(due), now_ms)
    entry = fold.jobs.get(state.job_id)
    waits = entry is not None and entry.job is not None and state.id in entry.job.waiting
    findings.expect(
        Invariant.STANDING,
        waits or seen.score is not None,
        f"{seen.ref} is held, and neither its job nor the due index has it",
    )


def _check_snapshot(
    findings: Findings, seen: Seen, state: Aggregate, version: Position, *, may_be_gone: bool
) -> None:
    if seen.version is None and may_be_gone:
        return
    if snapshot.shape_of(seen.state or b"") > snapshot.SHAPES[type(state)]:
        findings.unchecked(Invariant.SNAPSHOTS)
        return
    findings.checked(Invariant.SNAPSHOTS)
    if seen.version is None:
        findings.wrong(Invariant.SNAPSHOTS, f"{seen.ref} is not in Redis")
        return
    findings.expect(
        Invariant.VERSIONS,
        seen.version.decode() == str(version),
        f"{seen.ref}: {seen.version.decode()}, not {version}",
    )
    expected = {"state": snapshot.dump_apart(state), "spec": snapshot.dump_spec(state)}
    for name, told in (("state", seen.state or b""), ("spec", seen.spec or b"")):
        if told != expected[name].encode() and not _was_written_before(seen, state):
            findings.wrong(
                Invariant.SNAPSHOTS, f"{seen.ref}: its {name} is {_differing(told, expected[name])}"
            )
            return


def _was_written_before(seen: Seen, state: Aggregate) -> bool:
    """Whether an older build wrote what is read as this very state, or its specification, which stays as it is."""
    is_older = snapshot.shape_of(seen.state or b"") < snapshot.SHAPES[type(state)]
    if not is_older and seen.state != snapshot.dump_apart(state).encode():
        return False
    try:
        return snapshot.read(seen.ref, b"0-0", seen.state or b"", seen.spec or b"", b"").state == state
    except Exception:  # noqa: BLE001 - whatever stands there, it isn't that
        return False


def _check_due(findings: Findings, seen: Seen, due_ms: int | None, now_ms: int) -> None:
    """The due index must have the time that the state says, unless that has come and the timer has put it off."""
    if due_ms is None:
        findings.expect(
            Invariant.STRAYS, seen.score is None, f"due has {seen.ref}, which is to be woken at no time"
        )
        return
    findings.expect(
        Invariant.STANDING, seen.score is not None, f"due hasn't {seen.ref}, to be woken at {due_ms}"
    )
    if seen.score is None:
        return
    is_put_off = due_ms <= now_ms and due_ms < seen.score <= now_ms + POSTPONED_MS
    findings.expect(
        Invariant.DUE_TIMES, seen.score == due_ms or is_put_off, f"{seen.ref}: {seen.score}, not {due_ms}"
    )


def _check_stranger(findings: Findings, seen: Seen, *, has_been: bool) -> None:
    """Something that is over, or that no event tells of."""
    if seen.score is not None:
        what = "a run that has ended" if has_been else "of which no event tells"
        findings.expect(Invariant.STRAYS, False, f"due has {seen.ref}, {what}")
    if seen.version is not None and not has_been:
        findings.checked(Invariant.SNAPSHOTS)
        findings.wrong(Invariant.SNAPSHOTS, f"{seen.ref} is in Redis, and no event tells of it")


def _told(standing: Standing | None) -> str:
    if standing is None:
        return "over, or unknown"
    return f"{standing.run.status} since {standing.version}"


def _differing(told: bytes, expected: str) -> str:
    """Both texts from where they differ."""
    text = told.decode(errors="replace")
    at = next(
        (i for i, (a, b) in enumerate(zip(text, expected, strict=False)) if a != b),
        min(len(text), len(expected)),
    )
    begin = max(0, at - 20)
    return f"…{text[begin : at + 40]!r}, and should be …{expected[begin : at + 40]!r}"
