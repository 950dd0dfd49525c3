"""A job and its runs as the log has them, without a log: each decision with what it leads to, whole or not at all."""

from shared.domain import following, ids, kinds, overlaps
from shared.domain.commands import (
    CancelRun,
    CreateJob,
    FailRun,
    StartRun,
    SucceedRun,
    TriggerJob,
    Wake,
)
from shared.domain.events import TERMINAL, Failure, RunQueued, RunRequested, RunStarted
from shared.domain.kinds import Seen
from shared.domain.run import Status, due_at
from shared.testing import LEASE, NOON, a_job_id, a_spec, at

TO_END = FailRun(fence="", error=Failure(class_="ValueError", message="no"), names=("ValueError",), draw=0.5)


class OneJob:
    """Carries commands out as the Decider does.

    Attributes:
        changes: all there were.
        told: those of the last command.
        units: those of each decision.
    """

    def __init__(self, **spec):
        self.id, self.now = a_job_id(), NOON
        self.states, self.fences = {}, {}
        self.changes, self.told, self.units = [], [], []
        self.do(CreateJob(job_id=self.id, spec=a_spec(**spec), owner="ann", tenant="t"))

    @property
    def job(self):
        return self.states[f"job:{self.id}"]

    def run(self, run_id):
        return self.states[f"run:{run_id}"]

    def runs(self, *statuses):
        """Ids of runs that stand so, in the order in which they were asked for."""
        found = [state for ref, state in self.states.items() if ref.startswith("run:")]
        return [state.id for state in found if not statuses or state.status in statuses]

    def do(self, command, run_id=None):
        """Carry it out, on the job or one of its runs; the events."""
        ref = f"job:{self.id}" if run_id is None else f"run:{run_id}"
        self.told = []
        while True:
            seen = Seen(self.fences.get(ref, ""), {})
            decision = kinds.of_ref(ref).decide(self.states.get(ref), command, self.now, seen)
            self._take(decision.changes)
            if decision.settled:
                return [change.event for change in self.told]

    def _take(self, changes):
        if following.has_followed(changes):
            job = following.after(self.job, changes)
            run_id = following.next_to_run(job)
            changes += following.consequences(job, changes, run_id and self.run(run_id), self.now)
        self.units.append(changes)
        for change in changes:
            for ref in change.advances:
                self.states[ref] = kinds.of_ref(ref).evolve(self.states.get(ref), change)
            if isinstance(change.event, RunStarted):
                self.fences[change.subject] = f"1-{len(self.changes)}"
            self.changes.append(change)
            self.told.append(change)

    # What happens to it.

    def wake(self, seconds):
        """Let it be so many seconds after NOON, and the job be woken for as long as it is due."""
        self.now = at(seconds)
        told = self.do(Wake())
        while self.job.due_at is not None and self.job.due_at <= self.now:
            told += self.do(Wake())
        return told

    def trigger(self, policy=None):
        """The id of a run that was asked for."""
        run_id = ids.chance_id(self.now, 0, len(self.changes))
        self.do(TriggerJob(run_id=run_id, correlation_id="c", overlap_policy=policy))
        return run_id

    def start(self, run_id):
        return self.do(StartRun(worker="w"), run_id)

    def succeed(self, run_id):
        return self.do(SucceedRun(fence=self.fences[f"run:{run_id}"]), run_id)

    def fail(self, run_id):
        return self.do(FailRun(**{**_fields(TO_END), "fence": self.fences[f"run:{run_id}"]}), run_id)

    def cancel(self, run_id):
        return self.do(CancelRun(by="ann"), run_id)

    def wake_run(self, run_id):
        return self.do(Wake(), run_id)

    def due_runs(self):
        """Runs that a timer finds due; leases are not its to tell."""
        found = []
        for run_id in self.runs():
            state = self.run(run_id)
            woken_at = due_at(state, now=self.now, lease=LEASE)
            if woken_at is not None and woken_at <= self.now:
                found.append(run_id)
        return found

    # What must hold.

    def check(self):
        """What holds whatever was done to a job that follows its runs."""
        job = self.job
        assert job.active or not job.waiting, "somebody waits for nothing"
        assert set(job.stopping) <= set(job.active)
        assert len(job.waiting) <= overlaps.WAITING_MAX
        followed = [self.run(run_id) for run_id in self.runs() if self.run(run_id).follows]
        unfinished = {state.id: state for state in followed if not state.ended}
        assert set(unfinished) == {*job.active, *job.waiting}
        for run_id in job.waiting:
            assert unfinished[run_id].status is Status.HELD
        for run_id in job.active:
            assert unfinished[run_id].status is not Status.HELD
        for run_id in job.stopping:
            assert unfinished[run_id].cancel is not None
        ends = [change.subject for change in self.changes if isinstance(change.event, TERMINAL)]
        assert len(ends) == len(set(ends)), "a run has ended twice"

    def check_order(self):
        """Those that waited were released in the order in which they came."""
        asked = [change.subject for change in self.changes if isinstance(change.event, RunRequested)]
        released = [
            asked.index(change.subject)
            for change in self.changes
            if isinstance(change.event, RunQueued) and change.event.reason == "released"
        ]
        assert released == sorted(released)


def _fields(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}
