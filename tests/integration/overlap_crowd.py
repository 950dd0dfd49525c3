"""Timers, executors and clients over one partition, each with a log of its own, as processes have."""

import asyncio
import contextlib
import random
from datetime import timedelta

from services.executor.claims import Claims
from services.projector.audit import standing
from services.projector.audit.fold import Fold
from services.projector.audit.lines import Findings
from services.projector.audit.write_side import ENTRIES, WriteSide, names
from services.timer.due import DueIndex
from shared.domain import ids
from shared.domain.commands import (
    CancelRun,
    CreateJob,
    DeleteJob,
    FailRun,
    InterruptRun,
    PauseJob,
    StartRun,
    SucceedRun,
    TriggerJob,
    UpdateJob,
    Wake,
)
from shared.domain.events import Failure
from shared.domain.refusals import Refused
from shared.domain.retry import RetryPolicy
from shared.eventlog import envelope
from shared.eventlog.decider import Decider
from shared.eventlog.envelope import Context
from shared.eventlog.snapshot import NOTHING
from shared.testing import TESTER, a_job_id, a_spec, chance, wait_until

LIMITING = ("skip", "queue_one", "queue_all", "replace")
LEASE_MS = 60
SPEC = {
    "every": 1,
    "misfire_grace_seconds": 3600,
    "max_lost": 2,
    "retry": RetryPolicy(max_retries=1, initial_seconds=0.02, jitter=0),
}
FAILURE = {"error": Failure(class_="ValueError", message="no"), "names": ("ValueError",), "draw": 0.5}


class Crowd:
    """All that happens to some jobs of partition 0."""

    def __init__(self, bench, seed):
        self.bench, self.rng = bench, random.Random(seed)
        self.jobs, self.over, self.logs = [], asyncio.Event(), []

    def process(self):
        """A log and a decider that share nothing with the others'."""
        log = self.bench.another_log(f"process-{len(self.logs)}-{chance()}")
        log.saw(ids.to_ms(self.bench.log.now()))
        self.logs.append(log)
        return log, Decider(log, lease=timedelta(milliseconds=LEASE_MS), chance=chance)

    async def create(self, policy, **spec):
        """The id of a job with an interval of a second."""
        job_id = a_job_id()
        command = CreateJob(
            job_id=job_id, spec=a_spec(**SPEC | spec, overlap_policy=policy), owner="o", tenant="t"
        )
        await self.bench.decider.decide(f"job:{job_id}", command, TESTER, held=NOTHING)
        self.jobs.append(job_id)
        return job_id

    async def pause(self, most_s=0.008):
        await asyncio.sleep(self.rng.uniform(0, most_s))

    async def timer(self):
        log, decider = self.process()
        index = DueIndex(log)
        while not self.over.is_set():
            sight = await index.look([0])
            wakes = [
                decider.decide(entry.ref, Wake(), TESTER, held=entry.snapshot(), woken=entry.score)
                for entry in sight.due.get(0, ())
            ]
            await asyncio.gather(*wakes)
            await self.pause()

    async def executor(self, name):
        log, decider = self.process()
        claims = Claims(log, queues=["default"], consumer=name)
        async with asyncio.TaskGroup() as attempts:
            while not self.over.is_set():
                for claim in await claims.take(4):
                    attempts.create_task(self._attempt(log, decider, claims, claim, name))
                await self.pause()

    async def _attempt(self, log, decider, claims, claim, name):
        ref = f"run:{claim.run}"
        await self.pause()  # what was claimed may be replaced before it starts
        try:
            started = await decider.decide(
                ref, StartRun(worker=name), TESTER, held=claim.snapshot(), done=claim.done
            )
        except Refused:
            await claims.drop(claim)
            return
        if started.after.state.ended:
            return
        await self.pause(0.03)
        newest = (await log.load(ref))[ref]
        context = Context(actor=name, cause=started.event_ids[-1])
        report = self._report(newest.state, started.after.fence)
        if report is None:  # kill -9: its lease runs out
            return
        with contextlib.suppress(Refused):  # lost meanwhile
            await decider.decide(ref, report, context, held=started.after, beside=claim.beside())

    def _report(self, state, fence):
        if state.cancel is not None:
            return InterruptRun(fence=fence)
        match self.rng.randrange(10):
            case 0:
                return None
            case 1:
                return InterruptRun(fence=fence)
            case 2 | 3:
                return FailRun(fence=fence, **FAILURE)
            case _:
                return SucceedRun(fence=fence)

    async def client(self, steps):
        log, decider = self.process()
        for _ in range(steps):
            job_id = self.rng.choice(self.jobs)
            held = (await log.load(f"job:{job_id}"))[f"job:{job_id}"]
            await self.pause(0.03)  # and it is older than what is decided upon
            ref, command = self._wish(log, job_id, held.state)
            with contextlib.suppress(Refused):
                await decider.decide(ref, command, TESTER, held=held if ref.startswith("job:") else None)

    def _wish(self, log, job_id, job):
        there = (*job.active, *job.waiting)
        match self.rng.randrange(10):
            case 0 | 1 | 2 if there:
                return f"run:{self.rng.choice(there)}", CancelRun(by="client")
            case 3:
                spec = a_spec(**SPEC, overlap_policy=self.rng.choice(LIMITING))
                return f"job:{job_id}", UpdateJob(spec=spec)
            case _:
                run_id = ids.chance_id(log.now(), 0, chance())
                policy = self.rng.choice((None, *LIMITING))
                command = TriggerJob(run_id=run_id, correlation_id="c", overlap_policy=policy)
                return f"job:{job_id}", command

    async def play(self, *, timers=2, executors=3, clients=3, steps=100):
        """Let them all at it; then no more is asked for, one job is deleted, and all that is there ends."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(timers):
                tasks.create_task(self.timer())
            for number in range(executors):
                tasks.create_task(self.executor(f"executor-{number}"))
            async with asyncio.TaskGroup() as asking:
                for _ in range(clients):
                    asking.create_task(self.client(steps))
            await self._calm()
            self.over.set()
        for log in self.logs:
            await log.close()

    async def _calm(self):
        decider = self.bench.decider
        for job_id in self.jobs[1:]:
            await decider.decide(f"job:{job_id}", PauseJob(by="o"), TESTER)
        await decider.decide(f"job:{self.jobs[0]}", DeleteJob(by="o"), TESTER)
        await wait_until(self._nothing_is_active, "all runs have ended", timeout_s=30)

    async def _nothing_is_active(self):
        states = await self.bench.log.load(*(f"job:{job_id}" for job_id in self.jobs))
        return not any(each.state.active or each.state.waiting for each in states.values())

    # What it has come to.

    async def recorded(self):
        """All events, in order."""
        entries = await self.bench.redis.xrange(self.bench.log.keys(0).log)
        return [envelope.from_entry(0, *entry) for entry in entries]

    async def audit(self):
        """The audit's findings about the log, and about what stands in Redis: those that don't hold."""
        findings, side = Findings(), WriteSide(self.bench.redis, self.bench.log.keys(0))
        fold = Fold(findings, kept=frozenset())
        most = 0
        for recorded in await self.recorded():
            fold.take(recorded, ledgers=False)
            most = max([most, *(len(entry.job.active) for entry in fold.jobs.values())])
        assert most == 1, f"{most} runs of a job were active at once"
        assert all(standing_.run.ended for standing_ in fold.runs.values()), "somebody was forgotten"
        there = (await names(self.bench.redis, [self.bench.log.keys(0)]))[0]
        refs = sorted(there.refs | await side.due() | {f"job:{each}" for each in fold.jobs})
        _, now_ms, page = await side.page(refs)
        for seen in page:
            standing.check(findings, fold, seen, now_ms=now_ms)
        for work in there.work:
            _, entries = await side.entries(work, "0-0")
            assert len(entries) < ENTRIES
            standing.check_entries(findings, fold, work, entries)
        return [(line.name, line.first) for line in findings.lines() if line.violations]


def states_of(recorded):
    """How many events there are of each type."""
    found = {}
    for each in recorded:
        found[each.type] = found.get(each.type, 0) + 1
    return found
