"""A job and its runs under whatever comes, in any order: what overlap_policy promises holds after each step."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shared.domain import ids
from shared.domain.commands import DeleteJob, InterruptRun, PauseJob, ResumeJob, UpdateJob
from shared.domain.events import OccurrencesSkipped
from shared.domain.job import Status as JobStatus
from shared.domain.refusals import IllegalTransition
from shared.domain.retry import RetryPolicy
from shared.domain.run import Status
from shared.testing import a_spec

from .one_job import OneJob

pytestmark = pytest.mark.thorough
LIMITING = ("skip", "queue_one", "queue_all", "replace")
SPEC = {
    "every": 10,
    "misfire_grace_seconds": 300,
    "start_deadline_seconds": 60,
    "max_lost": 2,
    "retry": RetryPolicy(max_retries=1, initial_seconds=5, jitter=0),
}


class Overlapping(RuleBasedStateMachine):
    """Wakes, starts, ends, losses, cancels, triggers, edits, pauses; at last a deletion."""

    @initialize(policy=st.sampled_from(LIMITING))
    def create(self, policy):
        self.one = OneJob(**SPEC, overlap_policy=policy)
        self.seconds = 0

    def some(self, draw, *statuses):
        """One of the runs that stand so, or None."""
        found = self.one.runs(*statuses)
        return found[draw % len(found)] if found else None

    @property
    def alive(self):
        return self.one.job.status is not JobStatus.DELETED

    @rule(seconds=st.integers(0, 45))
    def time_passes(self, seconds):
        """The timer wakes what is due, the job and its runs."""
        self.seconds += seconds
        self.one.wake(self.seconds)
        while due := [r for r in self.one.due_runs() if self.one.run(r).status is not Status.RUNNING]:
            self.one.wake_run(due[0])

    @precondition(lambda self: self.alive)
    @rule(policy=st.sampled_from((None, *LIMITING)))
    def trigger(self, policy):
        try:
            self.one.trigger(policy)
        except IllegalTransition:
            assert self.one.job.active, "nothing stood in the way"

    @rule(draw=st.integers(0, 1_000))
    def start(self, draw):
        """An executor starts what stands in a work stream, or what it claimed a moment before that was replaced."""
        run_id = self.some(draw, Status.QUEUED)
        if run_id is not None:
            wanted = self.one.run(run_id).offered
            self.one.start(run_id)
            assert (self.one.run(run_id).status is Status.RUNNING) is (
                wanted and not self.one.run(run_id).ended
            )

    @rule(draw=st.integers(0, 1_000), how=st.sampled_from(("succeed", "fail", "wake_run", "interrupt")))
    def end(self, draw, how):
        """A handler returns or raises; or its worker is lost, or stops."""
        run_id = self.some(draw, Status.RUNNING)
        if run_id is None:
            return
        if how == "interrupt":
            self.one.do(InterruptRun(fence=self.one.fences[f"run:{run_id}"]), run_id)
        else:
            getattr(self.one, how)(run_id)

    @rule(draw=st.integers(0, 1_000))
    def cancel(self, draw):
        run_id = self.some(draw, Status.HELD, Status.QUEUED, Status.RUNNING, Status.RETRYING)
        if run_id is not None:
            self.one.cancel(run_id)

    @precondition(lambda self: self.alive)
    @rule(policy=st.sampled_from(LIMITING))
    def edit(self, policy):
        self.one.do(UpdateJob(spec=a_spec(**SPEC, overlap_policy=policy)))

    @precondition(lambda self: self.alive)
    @rule(command=st.sampled_from((PauseJob(by="ann"), ResumeJob(by="ann"))))
    def pause_or_resume(self, command):
        self.one.do(command)

    @precondition(lambda self: self.alive and self.seconds > 100)
    @rule()
    def delete(self):
        self.one.do(DeleteJob(by="ann"))
        assert not self.one.job.waiting

    @invariant()
    def holds(self):
        if hasattr(self, "one"):
            self.one.check()
            self.one.check_order()
            assert len(self.one.job.active) <= 1
            for change in self.one.told:
                if isinstance(change.event, OccurrencesSkipped) and change.event.reason == "overlap":
                    assert change.event.by is not None
                    ids.parse(change.event.by)

    def teardown(self):
        """Let all end: then nobody is left."""
        if not hasattr(self, "one"):
            return
        if self.alive:
            self.one.do(PauseJob(by="ann"))
        for _ in range(10_000):
            self.one.check()
            if not self.one.job.active:
                break
            (run_id,) = self.one.job.active
            state = self.one.run(run_id)
            if state.status is Status.RUNNING:
                self.one.succeed(run_id)
            elif state.offered:
                self.one.start(run_id)
            else:
                self.one.now = max(self.one.now, state.wake_at or self.one.now)
                self.one.wake_run(run_id)
        assert all(self.one.run(run_id).ended for run_id in self.one.runs())


Overlapping.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrder = Overlapping.TestCase
