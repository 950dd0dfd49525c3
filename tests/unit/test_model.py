"""The domain against a model of it: whatever is done to jobs, in whatever order and time, both decide alike.

After each step the log is looked at, too: each occurrence decided once, each run ended once, nothing stuck, and all
of it read back from what was written.
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import UNSET
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
    SkipOccurrence,
    StartRun,
    SucceedRun,
    SuspendJob,
    TriggerJob,
    UnskipOccurrence,
    UpdateJob,
    Wake,
)
from shared.domain.events import (
    Failure,
    JobCreated,
    OccurrenceExcluded,
    OccurrenceIncluded,
    OccurrencesSkipped,
    RunRequested,
)
from shared.domain.refusals import Refused
from shared.domain.spec import JobSpec

from .job_model import JobModel, Step, name_of
from .memory_log import MemoryLog
from .model_draws import (
    OVERLAPS,
    STARTS,
    ahead,
    beginnings,
    drawn_for,
    picks,
    policies,
    schedule_of,
    schedules,
    seconds,
    switches,
    windows,
    words,
)
from .run_model import Refusal, RunModel
from .timeline import after

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.domain.commands import Command
    from shared.domain.events import Change

WAKES_MAX = 40  # a timer that has done so many is gone until the next step
JOBS_MAX = 3
WINDOW = ("start_at", "end_at", "max_runs", "jitter_seconds", "exclude")


class Jobs(RuleBasedStateMachine):
    """Jobs, their runs and the time: each rule is done to the domain and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.log = self.made_log()
        self.jobs: dict[str, JobModel] = {}
        self.runs: dict[str, RunModel] = {}
        self.job_of: dict[str, str] = {}  # of a run
        self.decided: dict[str, set[datetime]] = {}
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
            made = JobModel.create(spec, self.now, partial(drawn_for, job))
        except Refusal as refusal:
            self._is_refused(f"job:{job}", command, refusal, [])
            return
        assert [type(change.event) for change in self._do(f"job:{job}", command)] == [JobCreated]
        self.jobs[job], self.decided[job] = made, set()
        self._agree(job)

    @rule(pick=picks, change=schedules | st.tuples(windows) | st.tuples(policies, st.none()))
    def edit(self, pick, change):
        match change:
            case (window,):
                self._move_the_window(pick, window)
            case (policy, None):
                self._edit(pick, **policy)
            case drawn:
                self._edit(pick, schedule=schedule_of(drawn, self.now))

    def _move_the_window(self, pick, changed):
        spec = self.jobs[self._picked(pick)].spec
        if spec.schedule.cron_expression or spec.schedule.interval_seconds:
            moved = schedule_of(changed, self.now)
            self._edit(
                pick, schedule=replace(spec.schedule, **{name: getattr(moved, name) for name in WINDOW})
            )

    def _edit(self, pick, **changes):
        job = self._picked(pick)
        spec = replace(self.jobs[job].spec, **changes)
        in_pause = not self.jobs[job].fires_alike(spec)
        self._command(job, UpdateJob(spec=spec), lambda model: model.edit(spec, self.now), in_pause=in_pause)

    @rule(
        pick=picks, until=st.none() | st.just(UNSET) | ahead, catch_up=st.just(UNSET) | words, switch=switches
    )
    def pause(self, pick, until, catch_up, switch):
        until = self.now + timedelta(seconds=until) if isinstance(until, int) else until
        command = PauseJob(by="ann", until=until, catch_up=catch_up, switch=switch)
        self._command(
            self._picked(pick), command, lambda model: model.pause(until, catch_up, switch), in_pause=False
        )

    @precondition(lambda self: any(job.status == "paused" for job in self.jobs.values()))
    @rule(pick=picks, catch_up=st.none() | words, switch=switches)
    def resume(self, pick, catch_up, switch):
        paused = [job for job, model in self.jobs.items() if model.status == "paused"]
        job = paused[pick % len(paused)]
        command = ResumeJob(by="ann", catch_up=catch_up, switch=switch)
        in_pause = self.jobs[job].skips_what_fell_due(catch_up, switch)
        self._command(job, command, lambda model: model.resume(self.now, catch_up, switch), in_pause=in_pause)

    @precondition(lambda self: len(self.runs) > 3)
    @rule(pick=picks)
    def give_up(self, pick):
        command = SuspendJob(by="timer", reason="can't")
        self._command(self._picked(pick), command, lambda model: model.suspend(), settles=False)

    @rule(pick=picks, which=st.integers(-1, 4), aside=st.sampled_from([0, 0, 0, 7]), wished=st.booleans())
    def skip_by_hand(self, pick, which, aside, wished):
        job = self._picked(pick)
        if (at := self.jobs[job].some_occurrence(which)) is None:
            return
        at += timedelta(seconds=aside)
        if wished:
            command = SkipOccurrence(scheduled_for=at, by="ann")
            self._command(job, command, lambda model: model.skip(at, "ann"), in_pause=False)
        else:
            command = UnskipOccurrence(scheduled_for=at, by="ann")
            self._command(job, command, lambda model: model.unskip(at), in_pause=False)

    @rule(pick=picks, overlap=st.none() | st.none() | st.sampled_from(OVERLAPS))
    def trigger(self, pick, overlap):
        run = self._an_id()
        command = TriggerJob(run_id=run, correlation_id="c", overlap_policy=overlap)
        self._request(self._picked(pick), run, command, overlap)

    @precondition(lambda self: any(run.ended for run in self.runs.values()))
    @rule(pick=picks, overlap=st.none() | st.sampled_from(OVERLAPS))
    def retry(self, pick, overlap):
        ended = [each for each, run in self.runs.items() if run.ended]
        of, run = ended[pick % len(ended)], self._an_id()
        command = RetryRun(
            run_id=run,
            correlation_id="c",
            of=of,
            scheduled_for=self.now,
            revision=1,
            spec=self.runs[of].spec,
            overlap_policy=overlap,
        )
        self._request(self.job_of[of], run, command, overlap)

    def _request(self, job, run, command, overlap):
        self._command(job, command, lambda model: model.trigger(run, overlap), in_pause=False)

    @precondition(lambda self: len(self.jobs) == JOBS_MAX)
    @rule(pick=picks)
    def delete(self, pick):
        self._command(self._picked(pick), DeleteJob(by="ann"), lambda model: model.delete(self.now))

    # What workers do.

    @precondition(lambda self: self._in("queued"))
    @rule(pick=picks)
    def start(self, pick):
        self._on_run(self._of(pick, "queued"), StartRun(worker="w"), lambda run: run.start(self.now))

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
        self._on_run(run, command, act)

    def _work(self):
        for run in self._in("queued")[:WAKES_MAX]:
            self._on_run(run, StartRun(worker="w"), lambda run: run.start(self.now))
            if self.runs[run].status == "running":
                done = SucceedRun(fence=self.log.fence(f"run:{run}"))
                self._on_run(run, done, lambda run: run.succeed())

    @precondition(lambda self: self.runs)
    @rule(pick=picks, status=st.sampled_from(["held", "queued", "running", "retrying", "succeeded"]))
    def cancel(self, pick, status):
        if self._in(status):
            self._on_run(self._of(pick, status), CancelRun(by="ann"), lambda run: run.cancel())

    # What time does.

    @rule(passed=seconds, lag_ms=st.sampled_from([0, 0, 3, 2_000]), works=st.booleans())
    def time_passes(self, passed, lag_ms, works):
        """The timer wakes what falls due, each at its time or a little later; `works`: executors do it at once."""
        self._pass(passed, lag_ms, works)

    def _pass(self, passed, lag_ms, works):
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

    @rule(passed=seconds, rounds=st.integers(0, 3))
    def the_timer_is_down(self, passed, rounds):
        """When it is back, it does so many rounds."""
        self.now += timedelta(seconds=passed)
        for _ in range(rounds):
            if (head := self.log.due(self.now)) is not None:
                self._wake(head[1])

    @rule(passed=seconds, works=st.booleans())
    def the_timer_catches_up(self, passed, works):
        self.now += timedelta(seconds=passed)
        while (head := self.log.due(self.now)) is not None:
            self._wake(head[1])
            if works:
                self._work()

    @rule(passed=ahead, works=st.booleans())
    def all_goes_well(self, passed, works):
        self._pass(passed, 0, works)

    # Comparing.

    def _wake(self, ref):
        kind, _, identifier = ref.partition(":")
        if kind == "run":
            self._on_run(identifier, Wake(), lambda run: run.wake(self.now))
            return
        expected = list(self.jobs[identifier].copy().settle(self.now, in_pause=False))
        assert expected, f"{ref} is woken, and nothing is due"
        said = self._said(identifier, self._do(ref, Wake()))
        assert said, f"{ref} is due, and its wake decides nothing"
        assert said == expected[: len(said)]
        self._settle_as_far(identifier, said, in_pause=False)
        self._agree(identifier)

    def _command(
        self,
        job: str,
        command: Command,
        act: Callable[[JobModel], list[Step]],
        *,
        in_pause: bool = True,
        settles: bool = True,
    ) -> None:
        """Do it to both; `act` is what the model makes of it once all that is due is settled."""
        model, expected = self.jobs[job].copy(), []
        try:
            model.must_be_there()
            expected = list(model.settle(self.now, in_pause=in_pause)) if settles else []
            steps = expected + act(model)
        except Refusal as refusal:
            self._is_refused(f"job:{job}", command, refusal, expected, in_pause=in_pause)
            return
        assert self._said(job, self._do(f"job:{job}", command)) == steps
        self.jobs[job] = model
        self._agree(job)

    def _is_refused(
        self, ref: str, command: Command, refusal: Refusal, expected: list[Step], *, in_pause: bool = False
    ) -> None:
        before = len(self.log.changes)
        with pytest.raises(Refused) as refused:
            self._do(ref, command)
        assert type(refused.value).__name__ == refusal.args[0]
        if settled := self.log.changes[before:]:  # more was due than goes into one unit
            job = ref.removeprefix("job:")
            said = self._said(job, settled)
            assert said == expected[: len(said)]
            self._settle_as_far(job, said, in_pause=in_pause)

    def _settle_as_far(self, job: str, said: list[Step], *, in_pause: bool) -> None:
        steps = self.jobs[job].settle(self.now, in_pause=in_pause)
        for _ in said:
            next(steps)

    def _said(self, job: str, changes: list[Change]) -> list[Step]:
        """What `changes` say, one step for each occurrence; its runs are made and ended as they say."""
        steps = []
        for change in changes:
            event, run = change.event, change.subject.removeprefix("run:")
            match event:
                case RunRequested():
                    steps.append(self._requested(job, run, event))
                case OccurrencesSkipped():
                    steps += self._skipped(job, event)
                case OccurrenceExcluded() | OccurrenceIncluded():
                    steps.append(Step(type(event).__name__, event.scheduled_for))
                case _ if run in self.runs:
                    self.runs[run].hears(type(event).__name__, self.now)
                    steps.append(Step(type(event).__name__, None, self.runs[run].name))
                case _:
                    steps.append(Step(type(event).__name__))
        return [
            step._replace(by=self._name_of(step.by)) if step.what == "overlap" else step for step in steps
        ]

    def _name_of(self, run: str) -> str:
        """Of one that stood in the way; what replaces others may be requested by a later unit only."""
        return self.runs[run].name if run in self.runs else name_of(ids.time_of(run))

    def _requested(self, job: str, run: str, event: RunRequested) -> Step:
        of_schedule = event.trigger == "schedule"
        deadline = event.spec.start_deadline_seconds
        self.runs[run] = RunModel(
            name=name_of(event.scheduled_for) if of_schedule else run,
            follows=event.follows,
            spec=event.spec,
            start_by=None if deadline is None else event.fires_at + timedelta(seconds=deadline),
            status="held" if event.held else "queued",
        )
        self.job_of[run] = job
        assert event.requested_at == self.now
        if not of_schedule:
            return Step("RunRequested", None, run)
        assert event.scheduled_for <= event.fires_at <= self.now
        self._decides(job, event.scheduled_for)
        return Step("run", event.scheduled_for)

    def _skipped(self, job: str, event: OccurrencesSkipped) -> list[Step]:
        model = self.jobs[job]
        times = [event.from_, *islice(after(model.spec.schedule, model.anchor, event.from_), event.count - 1)]
        assert times[-1] == event.to
        for at in times:
            self._decides(job, at)
        return [Step(event.reason, at, event.by) for at in times]

    def _decides(self, job: str, at: datetime) -> None:
        assert at not in self.decided[job], "an occurrence is decided twice"
        self.decided[job].add(at)

    def _on_run(self, run: str, command: Command, act: Callable[[RunModel], None]) -> None:
        model, job = self.runs[run], self.job_of[run]
        try:
            act(model)
        except Refusal as refusal:
            self._is_refused(f"run:{run}", command, refusal, [])
            return
        changes = self._do(f"run:{run}", command)
        others = [change for change in changes if change.subject != f"run:{run}"]
        expected = self.jobs[job].ended(model) if model.ended and model.follows else []
        assert self._said(job, others) == expected
        self._agree_on_run(run)
        self._agree(job)

    def _do(self, ref: str, command: Command) -> list[Change]:
        return self.log.decide(ref, command, self.now)

    def _agree(self, job: str) -> None:
        state, model = self.log.states[f"job:{job}"], self.jobs[job]
        assert state.status == model.status
        assert (state.next_for, state.fires_next_at) == (model.next_for, model.next_fires)
        assert (state.due_at, state.next_run_time) == (model.due_at, model.next_run_time)
        told = (
            state.anchor_at,
            state.revision,
            state.runs,
            state.late_runs,
            state.failures,
            state.decided_to,
        )
        assert told == (
            model.anchor, model.revision, model.runs, model.late_runs, model.failures, model.newest
        )  # fmt: skip
        assert [self.runs[run].name for run in state.active] == model.active
        assert [self.runs[run].name for run in state.waiting] == model.waiting
        assert {skip.scheduled_for: skip.by for skip in state.skipped} == model.skipped
        assert state.spec == model.spec
        assert (state.catching_up is None) == (model.catching is None)
        if model.status == "paused":
            pause = state.paused
            assert (pause.until, pause.catch_up, pause.switch) == (model.until, model.catch_up, model.switch)
        for run in (*state.active, *state.waiting):
            self._agree_on_run(run)

    def _agree_on_run(self, run: str) -> None:
        state, model = self.log.states[f"run:{run}"], self.runs[run]
        assert (state.status, state.attempt, state.lost) == (model.status, model.attempt, model.lost)
        assert state.ended is model.ended
        assert self.log.due_at(state) == model.due_at(self.log.due_at(state))
        if model.status == "held":
            assert model.name in self.jobs[self.job_of[run]].waiting, "it would wait for ever"

    def teardown(self):
        for job in self.jobs:
            self._agree(job)
        for run in self.runs:
            self._agree_on_run(run)
        assert self.log.fold() == self.log.states
        self.log.close()

    def _picked(self, pick: int) -> str:
        return list(self.jobs)[pick % len(self.jobs)]

    def _in(self, status: str) -> list[str]:
        return [each for each, run in self.runs.items() if run.status == status]

    def _of(self, pick: int, status: str) -> str:
        some = self._in(status)
        return some[pick % len(some)]

    def _an_id(self) -> str:
        return ids.chance_id(self.now, 1, next(self._chance))


def tried(machine: type[Jobs], *, examples: int, steps: int, shrinks: bool = True) -> None:
    """`shrinks`: look for the shortest story that fails, which takes minutes."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.generate, Phase.shrink] if shrinks else [Phase.generate],
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.thorough
def test_the_domain_decides_as_its_model_whatever_is_done_in_whatever_order():
    tried(Jobs, examples=80, steps=30, shrinks=False)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_domain_decides_as_its_model_for_a_long_time():
    tried(Jobs, examples=int(os.environ.get("DAYBOOK_MODEL_EXAMPLES", "2000")), steps=60)
