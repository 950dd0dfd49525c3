"""The stories of runs, event by event: one beginning, one end, and starts that follow from each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from services.projector.audit.lines import Invariant
from shared.domain import ids
from shared.domain.events import (
    TERMINAL,
    RunCancelled,
    RunCancelRequested,
    RunExpired,
    RunFailed,
    RunHeld,
    RunInterrupted,
    RunLost,
    RunOutput,
    RunQueued,
    RunRequested,
    RunRetryPlanned,
    RunStarted,
    RunSucceeded,
)
from shared.domain.run import Status

if TYPE_CHECKING:
    from services.projector.audit.lines import Findings
    from shared.domain.events import Event
    from shared.domain.run import Run
    from shared.eventlog.envelope import Recorded

_STARTABLE, _RUNNING, _OVER = "queued", "running", "over"


@dataclass(slots=True)
class _Story:
    """An unfinished run.

    Attributes:
        stands: `queued`, `running`, or `over`: its latest attempt has ended, it was never queued, is held or is to end.
        attempt: of the latest start.
        start: id of that RunStarted.
        wake_ms: before which it isn't to be queued or started again; 0 = at any time.
    """

    stands: str
    attempt: int = 0
    start: str = ""
    wake_ms: int = 0


@dataclass(slots=True)
class Stories:
    """The runs of a partition, as far as the audit has come; those that have ended by their ids only."""

    told: dict[str, _Story] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)


def has_ended(stories: Stories, run_id: str) -> bool:
    """Whether the run's terminal event has been seen."""
    return _number(run_id) in stories.ended


def check(findings: Findings, stories: Stories, recorded: Recorded, event: Event) -> bool:
    """Look at an event about a run; return whether it lies between the run's beginning and its end."""
    run_id, place = recorded.subject.removeprefix("run/"), recorded.place
    findings.checked(Invariant.ENDS)
    if has_ended(stories, run_id):
        findings.wrong(Invariant.ENDS, f"{place} {recorded.type}: run {run_id} had ended")
        return False
    story = stories.told.get(run_id)
    if (story is None) is not isinstance(event, RunRequested):
        what = "was never requested" if story is None else "had been requested before"
        findings.wrong(Invariant.ENDS, f"{place} {recorded.type}: run {run_id} {what}")
        return False
    if isinstance(event, RunRequested):
        stories.told[run_id] = _Story(_OVER if event.held else _STARTABLE)
    elif story is not None:
        _go_on(findings, story, recorded, event)
    if isinstance(event, TERMINAL):
        del stories.told[run_id]
        stories.ended.add(_number(run_id))
    return True


def brought_forward(stories: Stories, state: Run, start_id: str) -> None:
    """Tell the story of a run from where it stood when what was before was dropped; `start_id`: of its latest start."""
    stands = {Status.RUNNING: _RUNNING}.get(state.status, _STARTABLE if state.offered else _OVER)
    wake_ms = 0 if state.wake_at is None else ids.to_ms(state.wake_at)
    stories.told[state.id] = _Story(stands, state.attempt, start_id, wake_ms)


def forget(stories: Stories, run_id: str) -> None:
    """Stop telling the story of a run of which an event could not be read."""
    stories.told.pop(run_id, None)


def _number(run_id: str) -> int:
    """The id in 44 bytes instead of 85: there are as many as runs were ever."""
    return hash(run_id) if len(run_id) != 36 else int(run_id.replace("-", ""), 16)  # noqa: PLR2004 - a UUID's length


def _go_on(findings: Findings, story: _Story, recorded: Recorded, event: Event) -> None:
    where = f"{recorded.place} {recorded.type} of {recorded.subject}"
    match event:
        case RunStarted(attempt=attempt):
            _started(findings, story, recorded, attempt, where)
        case RunQueued() | RunHeld():
            _moved(findings, story, recorded, event, where)
        case RunRetryPlanned(attempt=attempt, wake_at=wake_at):
            _reported(findings, story, recorded, attempt, where)
            story.wake_ms = ids.to_ms(wake_at)
        case RunSucceeded(attempt=attempt) | RunInterrupted(attempt=attempt):
            _reported(findings, story, recorded, attempt, where)
        case RunOutput(attempt=attempt):
            _check_answer(findings, story, recorded, attempt, where)
        case RunFailed(attempt=attempt) | RunCancelled(attempt=attempt) if story.stands == _RUNNING:
            _reported(findings, story, recorded, attempt, where)
        case RunLost(attempt=attempt):
            _check_attempt(findings, story, attempt, where, running=True)
            story.stands = _OVER
        case RunFailed(attempt=attempt):  # of its losses; the RunLost stands before it
            _check_attempt(findings, story, attempt, where, running=False)
        case RunExpired() | RunCancelRequested():
            _not_to_start(findings, story, event, where)
        case _:
            pass


def _moved(findings: Findings, story: _Story, recorded: Recorded, event: Event, where: str) -> None:
    """It comes into its work stream, or leaves that to wait for a limit."""
    before, after = (_OVER, _STARTABLE) if isinstance(event, RunQueued) else (_STARTABLE, _OVER)
    findings.expect(Invariant.RESTARTS, story.stands == before, f"{where}: it was {story.stands}")
    if isinstance(event, RunQueued):
        _check_wake(findings, story, recorded, where)
    story.stands = after


def _not_to_start(
    findings: Findings, story: _Story, event: RunExpired | RunCancelRequested, where: str
) -> None:
    if isinstance(event, RunExpired):
        findings.expect(Invariant.ENDS, story.attempt == 0, f"{where}: it had started")
    elif story.stands == _STARTABLE:  # its job has another that replaces it
        story.stands = _OVER


def _started(findings: Findings, story: _Story, recorded: Recorded, attempt: int, where: str) -> None:
    findings.expect(
        Invariant.ATTEMPTS, attempt == story.attempt + 1, f"{where}: {attempt} after {story.attempt}"
    )
    findings.expect(
        Invariant.RESTARTS, story.stands == _STARTABLE, f"{where}: it was {story.stands}, and not queued"
    )
    _check_wake(findings, story, recorded, where)
    story.stands, story.attempt, story.start, story.wake_ms = _RUNNING, attempt, recorded.id, 0


def _check_wake(findings: Findings, story: _Story, recorded: Recorded, where: str) -> None:
    if story.wake_ms:
        findings.expect(
            Invariant.RETRIES,
            recorded.at >= story.wake_ms,
            f"{where}: {story.wake_ms - recorded.at} ms before its wake time",
        )


def _reported(findings: Findings, story: _Story, recorded: Recorded, attempt: int, where: str) -> None:
    """A worker says that its attempt is over."""
    _check_answer(findings, story, recorded, attempt, where)
    story.stands = _OVER


def _check_answer(findings: Findings, story: _Story, recorded: Recorded, attempt: int, where: str) -> None:
    """What a worker says of its attempt names the RunStarted that it answers as its cause."""
    findings.expect(
        Invariant.RESULTS,
        (story.stands, story.attempt, story.start) == (_RUNNING, attempt, recorded.cause),
        f"{where}: it answers {recorded.cause or 'no start'}, attempt {attempt}; the run is {story.stands}, "
        f"its latest start {story.start or 'none'}, attempt {story.attempt}",
    )


def _check_attempt(findings: Findings, story: _Story, attempt: int, where: str, *, running: bool) -> None:
    """What a timer says of an attempt whose worker was lost."""
    findings.expect(
        Invariant.RESULTS,
        story.attempt == attempt > 0 and story.stands == (_RUNNING if running else _OVER),
        f"{where}: attempt {attempt}; the run is {story.stands}, its latest attempt {story.attempt}",
    )
