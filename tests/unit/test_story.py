"""Each step of a run that somebody decides is one line, with the run's id and what tells it from others of its kind."""

from datetime import UTC, datetime

import pytest

from shared.domain.events import (
    Change,
    Failure,
    JobPaused,
    RunCancelled,
    RunCancelRequested,
    RunExpired,
    RunFailed,
    RunLost,
    RunQueued,
    RunRequested,
    RunStarted,
)
from shared.domain.spec import run_spec
from shared.eventlog import story
from shared.testing import NOON, a_spec


class Lines(list):
    def log(self, level, said, **fields):
        self.append((level, said, fields))


def requested(**changes):
    told = {
        "job_id": "j", "scheduled_for": NOON, "fires_at": NOON, "trigger": "schedule", "revision": 1,
        "spec": run_spec(a_spec(), tenant="t"), "follows": False, "correlation_id": "c", "requested_at": NOON,
    }  # fmt: skip
    return RunRequested(**told | changes)


AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
LOST = RunLost(attempt=2, worker="w")
STEPS = [
    (requested(), "run requested", {"trigger": "schedule", "scheduled_for": AT.isoformat()}),
    (
        requested(trigger="retry", of="r0"),
        "run requested",
        {"trigger": "retry", "scheduled_for": AT.isoformat(), "of": "r0"},
    ),
    (RunQueued(queue="q", priority=5, reason="lost"), "run queued", {"queue": "q", "reason": "lost"}),
    (LOST, "run lost", {"attempt": 2, "worker": "w"}),
    (
        RunFailed(attempt=3, error=Failure(class_="ValueError", message="no")),
        "run failed",
        {"attempt": 3, "error": "ValueError: no"},
    ),
    (RunExpired(start_by=AT), "run expired", {}),
    (RunCancelRequested(by="ann", reason="why", requested_at=AT), "cancel requested", {"reason": "why"}),
    (RunCancelled(attempt=1, by="ann", reason="why", cancelled_at=AT), "run cancelled", {"reason": "why"}),
]


@pytest.mark.parametrize(
    ("event", "said", "about"), STEPS, ids=lambda each: each if isinstance(each, str) else ""
)
def test_a_step_is_a_line(event, said, about):
    lines = Lines()
    story.tell(lines, [Change(subject="run:r", event=event, job="j")], actor="ann")
    ((_, words, fields),) = lines
    assert (words, fields) == (said, {"run_id": "r", "job_id": "j", "actor": "ann"} | about)


def test_what_goes_wrong_is_a_warning_and_the_rest_is_not():
    lines = Lines()
    for event, *_ in STEPS:
        story.tell(lines, [Change(subject="run:r", event=event, job="j")], actor="timer")
    wrong = {said for level, said, _ in lines if level > 20}
    assert wrong == {"run lost", "run failed", "run expired"}


def test_what_the_executor_says_itself_and_what_is_no_runs_step_is_none():
    lines = Lines()
    events = [RunStarted(attempt=1, worker="w"), JobPaused(by="ann", reason="", paused_at=AT)]
    story.tell(lines, [Change(subject="run:r", event=event, job="j") for event in events], actor="ann")
    assert lines == []
