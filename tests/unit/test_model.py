"""The domain against a model of it: whatever is done to jobs, in whatever order and time, both decide alike.

After each step the log is looked at, too: each occurrence decided once, each run ended once, nothing stuck, and all
of it read back from what was written.
"""

from __future__ import annotations

import os
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from shared.domain import ids
from shared.domain.commands import (
    CancelRun,
    CreateJob,
    DeleteJob,
    FailRun,
    InterruptRun,
    PauseJob,
    ResumeJob,
    RetryRun,
    StartRun,
    SucceedRun,
    TriggerJob,
    UpdateJob,
    Wake,
)
from shared.domain.events import Failure, JobPaused, OccurrencesSkipped, RunRequested
from shared.domain.refusals import Refused
from shared.domain.retry import RetryPolicy
from shared.domain.schedule import Schedule
from shared.domain.spec import JobSpec
from shared.domain.walk import DstPolicy

from .job_model import Decision, JobModel, Refusal, RunModel, name_of
from .memory_log import MemoryLog
from .schedules import utc

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.domain.commands import Command
    from shared.domain.events import Change

STARTS = [utc("2026-03-28T20:00"), utc("2026-10-24T20:00"), utc("2026-04-04T08:00")]  # clocks change soon
JOBS_MAX = 3
WAKES_MAX = 40  # a timer that has done so many is gone until the next step
HOUR = 3600

seconds = st.sampled_from([0, 1, 7, 59, 60, 61, 600, HOUR, 5 * HOUR, 12 * HOUR, 24 * HOUR, 10 * 24 * HOUR])
offsets = st.sampled_from(
    [-24 * HOUR, -HOUR, -30, 0, 1, 30, HOUR, 6 * HOUR, 30 * HOUR]
)  # from now, in seconds
picks = st.integers(0, 10**6)
crons = st.fixed_dictionaries(
    {
        "cron_expression": st.sampled_from(
            [
                "30 2 * * *",
                "*/30 * * * *",
                "0 0 * * *",
                "15 2-2 * * *",
                "0 3 L * *",
                ("30 2 * * *", "0 */6 * * *"),
            ]
        ),
        "timezone": st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
        "dst_policy": st.sampled_from(
            [None, DstPolicy(gap="skip", overlap="both"), DstPolicy(overlap="last")]
        ),
    }
)
intervals = st.fixed_dictionaries({"interval_seconds": st.sampled_from([45, HOUR, 12 * HOUR])})
windows = st.fixed_dictionaries(
    {
        "start_at": st.none() | offsets,
        "end_at": st.none() | st.none() | offsets,
        "max_runs": st.sampled_from([None, 1, 3]),
    }
)
recurring = st.tuples(crons | intervals, st.just({}) | windows | windows).map(lambda both: both[0] | both[1])
beginnings = st.tuples(crons | intervals, st.sampled_from([{}, {"max_runs": 2}])).map(
    lambda both: both[0] | both[1]
)
schedules = recurring | recurring | st.fixed_dictionaries({"run_at": offsets}) | st.just({})
policies = st.fixed_dictionaries(
    {
        "misfire_policy": st.sampled_from(["latest", "skip", "all"]),
        "misfire_grace_seconds": st.sampled_from([0, 60, HOUR]),
        "overlap_policy": st.sampled_from(["skip", "allow"]),
        "start_deadline_seconds": st.sampled_from([None, None, 30]),
        "max_lost": st.sampled_from([1, 2]),
        "pause_after_failures": st.sampled_from([None, None, 1, 2]),
        "retry": st.sampled_from(
            [RetryPolicy(max_retries=0), RetryPolicy(max_retries=2, initial_seconds=5.0, jitter=0.0)]
        ),
    }
)


def schedule_of(drawn: dict[str, Any], now: datetime) -> Schedule:
    """As it was drawn, its moments counted from now."""
    moments = {
        name: now + timedelta(seconds=drawn[name])
        for name in ("start_at", "end_at", "run_at")
        if drawn.get(name) is not None
    }
    return Schedule(**(drawn | moments))


class Jobs(RuleBasedStateMachine):
    """Jobs, their runs and the time: each rule is done to the domain and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.log = self.made_log()
        self.jobs: dict[str, JobModel] = {}
        self.runs: dict[str, RunModel] = {}
        self.job_of: dict[str, str] = {}  # of a run
        self.decided: dict[str, set[datetime]] = {}
        self.specs: dict[str, Any] = {}  # of runs, to retry them
        self._chance = count(1)

    def made_log(self) -> Any:
        return MemoryLog()

    @initialize(start=st.sampled_from(STARTS), drawn=beginnings, policy=policies)
    def begin(self, start, drawn, policy):
        self.now = start
        self._create(drawn, policy)

    # What clients do.

    @precondition(lambda self: len(self.jobs) < JOBS_MAX)
    @rule(drawn=schedules, policy=policies)
    def create(self, drawn, policy):
        self._create(drawn, policy)

    def _create(self, drawn, policy):
        job = self._an_id()
        spec = JobSpec(name="j", job_type="custom", schedule=schedule_of(drawn, self.now), **policy)
        command = CreateJob(job_id=job, spec=spec, owner="ann", tenant="t")
        try:
            made = JobModel.create(spec, self.now)
        except Refusal as refusal:
            self._is_refused(f"job:{job}", command, refusal)
            return
        (change,) = self._do(f"job:{job}", command)
        assert change.event.next_for == made.next_for
        self.jobs[job], self.decided[job] = made, set()
        self._agree(job)

    @rule(pick=picks, drawn=schedules)
    def reschedule(self, pick, drawn):
        self._edit(pick, schedule=schedule_of(drawn, self.now))

    @rule(pick=picks, changed=windows)
    def move_the_window(self, pick, changed):
        spec = self.jobs[self._picked(pick)].spec
        if spec.schedule.cron_expression or spec.schedule.interval_seconds:
            moved = schedule_of(changed, self.now)
            window = {name: getattr(moved, name) for name in ("start_at", "end_at", "max_runs")}
            self._edit(pick, schedule=replace(spec.schedule, **window))

    @rule(pick=picks, policy=policies)
    def change_policies(self, pick, policy):
        self._edit(pick, **policy)

    def _edit(self, pick, **changes):
        job = self._picked(pick)
        spec = replace(self.jobs[job].spec, **changes)
        self._command(
            job,
            UpdateJob(spec=spec),
            lambda model: ["JobUpdated"] * model.edit(spec, self.now),
            in_pause=True,
        )

    @rule(pick=picks)
    def pause(self, pick):
        self._command(
            self._picked(pick),
            PauseJob(by="ann"),
            lambda model: ["JobPaused"] * model.pause(),
            in_pause=False,
        )

    @rule(pick=picks)
    def resume(self, pick):
        self._command(
            self._picked(pick),
            ResumeJob(by="ann"),
            lambda model: ["JobResumed"] * model.resume(),
            in_pause=True,
        )

    @rule(pick=picks, overlap=st.sampled_from([None, None, "skip", "allow"]))
    def trigger(self, pick, overlap):
        run = self._an_id()
        command = TriggerJob(run_id=run, correlation_id="c", overlap_policy=overlap)
        self._request(self._picked(pick), run, command, overlap)

    @precondition(lambda self: any(run.ended for run in self.runs.values()))
    @rule(pick=picks)
    def retry(self, pick):
        ended = [each for each, run in self.runs.items() if run.ended]
        of, run = ended[pick % len(ended)], self._an_id()
        command = RetryRun(
            run_id=run, correlation_id="c", of=of, scheduled_for=self.now, revision=1, spec=self.specs[of]
        )
        self._request(self.job_of[of], run, command, None)

    def _request(self, job, run, command, overlap):
        def act(model: JobModel) -> list[str]:
            model.trigger(overlap)
            if model.follows:
                model.active.append(run)
            return ["RunRequested"]

        self._command(job, command, act, in_pause=False)

    @precondition(lambda self: len(self.jobs) > 1)
    @rule(pick=picks)
    def delete(self, pick):
        self._command(
            self._picked(pick),
            DeleteJob(by="ann"),
            lambda model: ["JobDeleted"] * (model.delete() or 1),
            in_pause=True,
        )

    # What workers do.

    @precondition(lambda self: self._in("queued"))
    @rule(pick=picks)
    def start(self, pick):
        self._run(pick, "queued", StartRun(worker="w"), lambda run: run.start(self.now))

    @precondition(lambda self: self._in("running"))
    @rule(pick=picks, how=st.sampled_from(["succeed", "succeed", "fail", "fail", "interrupt", "lose"]))
    def end(self, pick, how):
        run = self._of(pick, "running")
        fence = self.log.fence(f"run:{run}")
        error = Failure(class_="E", message="m")
        command, act = {
            "succeed": (SucceedRun(fence=fence), lambda run: run.succeed()),
            "fail": (
                FailRun(fence=fence, error=error, names=("E",), draw=0.5),
                lambda run: run.fail(self.now),
            ),
            "interrupt": (InterruptRun(fence=fence), lambda run: run.interrupt()),
            "lose": (Wake(), lambda run: run.wake(self.now)),
        }[how]
        self._run(pick, "running", command, act)

    @precondition(lambda self: self._in("queued"))
    @rule()
    def the_workers_are_quick(self):
        self._work()

    def _work(self):
        for run in self._in("queued")[:WAKES_MAX]:
            self._on_run(run, StartRun(worker="w"), lambda run: run.start(self.now))
            if self.runs[run].status == "running":
                done = SucceedRun(fence=self.log.fence(f"run:{run}"))
                self._on_run(run, done, lambda run: run.succeed())

    @precondition(lambda self: self.runs)
    @rule(pick=picks, status=st.sampled_from(["queued", "running", "retrying", "succeeded"]))
    def cancel(self, pick, status):
        if self._in(status):
            self._run(pick, status, CancelRun(by="ann"), lambda run: run.cancel())

    # What time does.

    @rule(passed=seconds, lag_ms=st.sampled_from([0, 0, 3, 2_000]), works=st.booleans())
    def time_passes(self, passed, lag_ms, works):
        """The timer wakes what falls due, each at its time or a little later; `works`: executors do it at once."""
        until = self.now + timedelta(seconds=passed)
        for _ in range(WAKES_MAX):
            head = self.log.due(until)
            if head is None:
                break
            self.now = min(max(self.now, head[0] + timedelta(milliseconds=lag_ms)), until)
            self._wake(head[1])
            if works:
                self._work()
        self.now = until

    @rule(passed=seconds)
    def the_timer_is_down(self, passed):
        self.now += timedelta(seconds=passed)

    @rule(rounds=st.integers(1, 3))
    def a_round_of_wakes(self, rounds):
        for _ in range(rounds):
            if (head := self.log.due(self.now)) is not None:
                self._wake(head[1])

    @rule()
    def the_timer_is_quick(self):
        while (head := self.log.due(self.now)) is not None:
            self._wake(head[1])

    # Comparing.

    def _wake(self, ref):
        kind, _, identifier = ref.partition(":")
        if kind == "run":
            self._on_run(identifier, Wake(), lambda run: run.wake(self.now))
            return
        model = self.jobs[identifier]
        expected = list(model.copy().settle(self.now, in_pause=False))
        changes = self._do(ref, Wake())
        assert expected, f"{ref} is woken, and nothing is due"
        assert changes, f"{ref} is due, and its wake decides nothing"
        done, tail = self._decisions(identifier, changes, expected)
        self._settle_as_far(identifier, done)
        assert tail == ["JobCompleted"] * (self.jobs[identifier].status == "completed")
        self._agree(identifier)

    def _command(
        self, job: str, command: Command, act: Callable[[JobModel], list[str]], *, in_pause: bool
    ) -> None:
        """Do it to both; `act` is what the model makes of it once all that is due is settled."""
        model = self.jobs[job].copy()
        try:
            model.must_be_there()
            before = model.status
            expected = list(model.settle(self.now, in_pause=in_pause))
            own = ["JobCompleted"] * (model.status == "completed" != before) + act(model)
        except Refusal as refusal:
            self._is_refused(f"job:{job}", command, refusal)
            return
        changes = self._do(f"job:{job}", command)
        done, tail = self._decisions(job, changes, expected)
        assert len(done) == len(expected)
        assert tail == own
        self.jobs[job] = model
        self._agree(job)

    def _is_refused(self, ref: str, command: Command, refusal: Refusal) -> None:
        before = len(self.log.changes)
        with pytest.raises(Refused) as refused:
            self._do(ref, command)
        assert type(refused.value).__name__ == refusal.args[0]
        job = ref.removeprefix("job:")
        if settled := self.log.changes[before:]:  # more was due than goes into one unit
            in_pause = not isinstance(command, PauseJob | TriggerJob | RetryRun)
            expected = list(self.jobs[job].copy().settle(self.now, in_pause=in_pause))
            done, tail = self._decisions(job, settled, expected)
            assert tail == []
            self._settle_as_far(job, done, in_pause=in_pause)

    def _settle_as_far(self, job: str, done: list[Decision], *, in_pause: bool = False) -> None:
        steps = self.jobs[job].settle(self.now, in_pause=in_pause)
        for _ in done:
            next(steps)
        if self.jobs[job].next_for is None:
            next(steps, None)  # it completes

    def _decisions(
        self, job: str, changes: list[Change], expected: list[Decision]
    ) -> tuple[list[Decision], list[str]]:
        """What `changes` decide on occurrences first, which is what is expected first; the names of the rest."""
        left, tail = list(expected), []
        for change in changes:
            event = change.event
            match event:
                case RunRequested(trigger="schedule"):
                    some = [Decision(event.scheduled_for, "run")]
                    assert event.requested_at == self.now
                    self._requested(job, change, name_of(event.scheduled_for))
                case OccurrencesSkipped():
                    by = None if event.by is None else self.runs[event.by].name
                    some = [Decision(each.at, event.reason, by) for each in left[: event.count]]
                    assert (event.from_, event.to, event.count) == (some[0].at, some[-1].at, len(some))
                case RunRequested():
                    self._requested(job, change, change.subject.removeprefix("run:"))
                    tail.append("RunRequested")
                    continue
                case _:
                    tail.append(type(event).__name__)
                    continue
            assert not tail, "what is due is decided before anything else"
            assert some == left[: len(some)]
            del left[: len(some)]
            assert not left or event.next_for == left[0].at
            moments = {each.at for each in some}
            assert not moments & self.decided[job], "an occurrence is decided twice"
            self.decided[job] |= moments
        return expected[: len(expected) - len(left)], tail

    def _requested(self, job: str, change: Change, name: str) -> None:
        run, event = change.subject.removeprefix("run:"), change.event
        deadline = event.spec.start_deadline_seconds
        start_by = None if deadline is None else event.fires_at + timedelta(seconds=deadline)
        self.runs[run] = RunModel(name=name, follows=event.follows, spec=event.spec, start_by=start_by)
        self.job_of[run], self.specs[run] = job, event.spec

    def _run(self, pick: int, status: str, command: Command, act: Callable[[RunModel], None]) -> None:
        self._on_run(self._of(pick, status), command, act)

    def _on_run(self, run: str, command: Command, act: Callable[[RunModel], None]) -> None:
        model, job = self.runs[run], self.job_of[run]
        try:
            act(model)
        except Refusal as refusal:
            self._is_refused(f"run:{run}", command, refusal)
            return
        changes = self._do(f"run:{run}", command)
        pauses = model.ended and model.follows and self.jobs[job].ended(model)
        assert pauses == any(isinstance(change.event, JobPaused) for change in changes)
        self._agree_on_run(run)
        self._agree(job)

    def _do(self, ref: str, command: Command) -> list[Change]:
        return self.log.decide(ref, command, self.now)

    def _agree(self, job: str) -> None:
        state, model = self.log.states[f"job:{job}"], self.jobs[job]
        told = (state.status, state.next_for, state.anchor_at, state.revision, state.runs, state.late_runs)
        assert told == (
            model.status, model.next_for, model.anchor, model.revision, model.runs, model.late_runs
        )  # fmt: skip
        assert [self.runs[run].name for run in state.active] == model.active
        assert (state.failures, state.decided_to, state.spec) == (model.failures, model.newest, model.spec)
        assert state.due_at == (model.next_for if model.status == "pending" else None)
        assert model.status == "deleted" or (state.paused is not None) == (model.status == "paused")

    def _agree_on_run(self, run: str) -> None:
        state, model = self.log.states[f"run:{run}"], self.runs[run]
        assert (state.status, state.attempt, state.lost) == (model.status, model.attempt, model.lost)
        assert state.ended is model.ended
        if model.status == "retrying":
            assert self.log.due_at(state) == model.wake_at

    def teardown(self):
        for job in self.jobs:
            self._agree(job)
        for run in self.runs:
            self._agree_on_run(run)
        assert self.log.fold() == self.log.states

    def _picked(self, pick: int) -> str:
        return list(self.jobs)[pick % len(self.jobs)]

    def _in(self, status: str) -> list[str]:
        return [each for each, run in self.runs.items() if run.status == status]

    def _of(self, pick: int, status: str) -> str:
        some = self._in(status)
        return some[pick % len(some)]

    def _an_id(self) -> str:
        return ids.chance_id(self.now, 1, next(self._chance))


def tried(machine: type[Jobs], *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_domain_decides_as_its_model_whatever_is_done_in_whatever_order():
    tried(Jobs, examples=60, steps=30)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_domain_decides_as_its_model_for_a_long_time():
    tried(Jobs, examples=int(os.environ.get("DAYBOOK_MODEL_EXAMPLES", "2000")), steps=60)
