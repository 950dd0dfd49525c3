"""A job in a log in memory, whose story is kept as the archive would have it: each event with its time and place."""

from __future__ import annotations

from datetime import timedelta

from shared.domain import ids
from shared.domain.commands import CreateJob, FailRun, StartRun, SucceedRun, TriggerJob, Wake
from shared.domain.decided import run_of, skipped
from shared.domain.events import Failure, OccurrencesSkipped, RunRequested
from shared.domain.happened import Happened, Told
from shared.domain.job import evolve
from shared.domain.refusals import Refused
from shared.domain.run import Status
from shared.domain.simulation import Simulation
from shared.testing import NOON, a_job_id, a_spec

from .memory_log import MemoryLog

ERROR = Failure(class_="ValueError", message="no")


class Recorded:
    """One job.

    Attributes:
        now: as the log has it.
        told: its story so far.
        decided: what was decided about its occurrences.
    """

    def __init__(self, now=NOON, **spec):
        self.log, self.id, self.now = MemoryLog(), a_job_id(), now
        self.told, self.decided = [], []
        self._numbers = iter(range(10**6))
        made = CreateJob(job_id=self.id, spec=a_spec(**spec), owner="ann", tenant="t")
        self.do(made, must=True)

    @property
    def job(self):
        return self.log.states[f"job:{self.id}"]

    def do(self, command, run_id=None, *, lag=timedelta(), must=False):
        """Carry it out, or be refused; `lag`: so much later it is committed."""
        ref = f"job:{self.id}" if run_id is None else f"run:{run_id}"
        seen, before = len(self.log.changes), self.log.states.get(f"job:{self.id}")
        try:
            self.log.decide(ref, command, self.now)
        except Refused:
            if must:
                raise
        for number, change in enumerate(self.log.changes[seen:], start=seen + 1):
            self.told.append(Told(change, self.now + lag, f"0:1-{number}"))
            match change.event:
                case RunRequested(trigger="schedule") as event:
                    self.decided.append(run_of(change.subject.removeprefix("run:"), event))
                case OccurrencesSkipped() as event:
                    self.decided += skipped(before, event, self.now)
        return self.log.changes[seen:]

    def wait(self, seconds):
        self.now += timedelta(seconds=seconds)

    def wake(self):
        """Let a timer do all that is due, each unit a millisecond after the one before."""
        while due := self.log.due(self.now):
            ref = due[1]
            self.do(Wake(), None if ref.startswith("job:") else ref.removeprefix("run:"))
            self.wait(0.001)

    def runs(self, *statuses):
        found = [state for ref, state in self.log.states.items() if ref.startswith("run:")]
        return [state.id for state in found if state.status in statuses]

    def start(self):
        while queued := self.runs(Status.QUEUED):
            self.do(StartRun(worker="w"), queued[0])

    def end(self, run_id, *, fails=False):
        fence = self.log.fence(f"run:{run_id}")
        if fails:
            self.do(FailRun(fence=fence, error=ERROR, names=("ValueError",), draw=0.5), run_id)
        else:
            self.do(SucceedRun(fence=fence), run_id)

    def trigger(self, policy=None):
        run_id = ids.chance_id(self.now, 0, next(self._numbers))
        self.do(TriggerJob(run_id=run_id, correlation_id="c", overlap_policy=policy))

    def happened(self, since=0):
        """The job after so many events, or as many more as were written with them; and what the record tells then."""
        while 0 < since < len(self.told) and self.told[since].at == self.told[since - 1].at:
            since += 1
        job = None
        for told in self.told[:since]:
            if f"job:{self.id}" in told.change.advances:
                job = evolve(job, told.change)
        return job, self.told[since:]

    def simulated(self, since=0, edit=lambda spec: spec, usual=60, until=None):
        """What was decided from there on, and what would have been."""
        job, told = self.happened(since)
        happened = Happened(job=job)
        list(happened.steps(told))
        began = told[0].at if told else self.now
        copy = Simulation(job, began, happened=happened, edit=edit, usual=timedelta(seconds=usual))
        copy.begin()
        list(copy.steps(happened.facts, until or self.now))
        return happened, copy

    def go_on(self, until, usual):
        """Let all be in time: what is due is woken, and a run ends when it has been active for so many seconds."""
        usual, stops = timedelta(seconds=usual), timedelta(seconds=1)
        ends = {run_id: max(self.now, self.active_at(run_id) + usual) for run_id in self.job.active}
        while True:
            self.start()
            for run_id in self.runs(Status.RUNNING):
                ends.setdefault(run_id, self.now + usual)
                if self.log.states[f"run:{run_id}"].cancel is not None:
                    ends[run_id] = min(ends[run_id], self.now + stops)
            ending = {run_id: ends[run_id] for run_id in self.runs(Status.RUNNING)}
            due = self.log.due(until)
            first = min(ending, key=ending.get, default=None)
            if (
                first is not None
                and ending[first] <= until
                and (due is None or ending[first] <= max(due[0], self.now))
            ):
                self.now = max(self.now, ending[first])
                self.end(first)
            elif due is not None:
                self.now = max(self.now, due[0])
                self.do(Wake(), None if due[1].startswith("job:") else due[1].removeprefix("run:"))
            else:
                self.now = until
                return

    def active_at(self, run_id):
        """Since when a run waits for no other."""
        return self.stories()[run_id].active_at

    def stories(self):
        """What became of its runs."""
        happened = Happened(job=None)
        list(happened.steps(self.told))
        return happened.runs
