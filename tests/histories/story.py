"""What happens in a recorded history: as many kinds of events as a deployment can see, by commands on a real log."""

import json
from datetime import UTC, datetime, timedelta

from shared.domain import ids
from shared.domain.commands import (
    CalendarContent,
    CancelBackfill,
    CancelRun,
    ChangeCalendar,
    CreateJob,
    DeleteCalendar,
    DeleteJob,
    EraseJob,
    FailRun,
    FollowRun,
    InterruptRun,
    IssueApiKey,
    Output,
    PauseJob,
    RequestBackfill,
    ResumeJob,
    RevokeApiKey,
    SkipOccurrence,
    StartRun,
    SucceedRun,
    TellRelay,
    TriggerJob,
    UnskipOccurrence,
    UpdateJob,
    Wake,
)
from shared.domain.events import ChainLink, Failure
from shared.domain.spec import Chain
from shared.eventlog.unit import Done
from shared.personal.sealing import JOB_DATA, KEY_BYTES, Place, seal
from shared.testing import NOON, TESTER, a_spec

BEGAN = NOON


class Stage:
    """A log whose clock and ids are the story's own."""

    def __init__(self, bench):
        self.bench, self.now, self._made = bench, BEGAN, 0
        bench.log.now = lambda *_: self.now
        bench.decider._chance = self._chance

    def _chance(self):
        self._made += 1
        return self._made << 40

    def later(self, seconds):
        self.now += timedelta(seconds=seconds)

    def an_id(self):
        return ids.chance_id(self.now, 0, self._chance())

    async def decide(self, ref, command, **options):
        self.later(0.25)
        return await self.bench.decider.decide(ref, command, TESTER, **options)

    async def create(self, **spec):
        job_id = self.an_id()
        await self.decide(
            f"job:{job_id}", CreateJob(job_id=job_id, spec=a_spec(**spec), owner="ann", tenant="t")
        )
        return job_id

    async def trigger(self, job_id):
        run_id = self.an_id()
        await self.decide(f"job:{job_id}", TriggerJob(run_id=run_id, correlation_id="request-1"))
        return run_id

    async def start(self, run_id):
        ref = f"run:{run_id}"
        held = (await self.bench.log.load(ref))[ref]
        done = Done(held.state.spec.queue, held.state.spec.priority, held.version)
        return (await self.decide(ref, StartRun(worker="w1"), held=held, done=done)).after.fence

    async def runs(self):
        """Id of each run that was requested, and of the backfill that it is for."""
        entries = await self.bench.redis.xrange(self.bench.log.keys(0).log)
        asked = [fields for _, fields in entries if fields[b"type"] == b"RunRequested"]
        return [
            (each[b"subject"].decode().removeprefix("run/"), json.loads(each[b"data"]).get("backfill"))
            for each in asked
        ]


async def jobs(stage):
    """One is created, changed, paused, resumed, and deleted; occurrences run, and are skipped."""
    job_id = await stage.create(every=10, tags=("a", "ü"), description='quote " and \\ slash')
    ref = f"job:{job_id}"
    await stage.decide(ref, UpdateJob(spec=a_spec(every=20, name="another name")))
    for _ in range(2):
        stage.later(100)
        await stage.decide(ref, Wake())  # the one before is still there: overlap
    await stage.decide(ref, PauseJob(by="ann", reason="holidays"))
    stage.later(200)
    await stage.decide(ref, ResumeJob(by="bob"))
    await stage.decide(ref, DeleteJob(by="ann"))
    await stage.decide(ref, EraseJob(by="ann", reason="ticket 4711"))


async def erased(stage):
    """One with personal data, which is erased while it is due and one of its runs is at work."""
    job_id = stage.an_id()
    sealed = seal("ann@example.com", b"k" * KEY_BYTES, Place(job_id, JOB_DATA).inner("recipient"))
    spec = a_spec(every=60, job_type="email_notification", job_data={"recipient": sealed, "body": "b"})
    await stage.decide(f"job:{job_id}", CreateJob(job_id=job_id, spec=spec, owner="ann", tenant="t"))
    run_id = await stage.trigger(job_id)
    fence = await stage.start(run_id)
    stage.later(60)
    await stage.decide(f"job:{job_id}", EraseJob(by="ann", reason="ticket 4712"))
    await stage.decide(f"run:{run_id}", SucceedRun(fence=fence, result={"sent": 1}))


async def completed(stage):
    """One that runs once."""
    job_id = await stage.create(once=stage.now + timedelta(seconds=60))
    stage.later(61)
    await stage.decide(f"job:{job_id}", Wake())
    await stage.decide(f"job:{job_id}", Wake())


async def clocks(stage):
    """One that is due at a time which a zone steps over, then at one that it has twice."""
    stage.now = datetime(2027, 3, 27, 12, tzinfo=UTC)
    job_id = await stage.create(cron="30 2 * * *", timezone="Europe/Berlin")
    stage.now = datetime(2027, 3, 28, 12, tzinfo=UTC)
    await stage.decide(f"job:{job_id}", Wake())
    stage.now = datetime(2027, 10, 31, 12, tzinfo=UTC)
    await stage.decide(f"job:{job_id}", Wake())


async def attempts(stage):
    """One execution fails, is tried again, loses its worker, is handed back, and is cancelled."""
    run_id = await stage.trigger(await stage.create())
    ref, error = f"run:{run_id}", Failure(class_="ValueError", message="ouch")
    fence = await stage.start(run_id)
    await stage.decide(ref, FailRun(fence=fence, error=error, names=("ValueError",), draw=0.5))
    stage.later(600)
    await stage.decide(ref, Wake())
    await stage.start(run_id)
    stage.later(600)
    await stage.decide(ref, Wake())
    fence = await stage.start(run_id)
    await stage.decide(ref, InterruptRun(fence=fence))
    fence = await stage.start(run_id)
    await stage.decide(ref, CancelRun(by="ann", reason="too late"))
    await stage.decide(ref, InterruptRun(fence=fence, output=Output(text="the end\n", dropped=3)))


async def ends(stage):
    """One succeeds, one fails for good, one is cancelled in the queue, one expires."""
    job_id = await stage.create(overlap_policy="allow")
    run_id = await stage.trigger(job_id)
    fence = await stage.start(run_id)
    await stage.decide(f"run:{run_id}", SucceedRun(fence=fence, result={"n": 1.5, "of": ["a", None, True]}))
    run_id = await stage.trigger(job_id)
    error = Failure(class_="OSError", message="no")
    failed = FailRun(fence=await stage.start(run_id), error=error, names=("OSError",), draw=0.5, give_up=True)
    await stage.decide(f"run:{run_id}", failed)
    await stage.decide(f"run:{await stage.trigger(job_id)}", CancelRun(by="ann"))


async def expired(stage):
    """One that nobody starts in time."""
    run_id = await stage.trigger(await stage.create(start_deadline_seconds=5))
    stage.later(6)
    await stage.decide(f"run:{run_id}", Wake())


async def keys(stage):
    """An API key is given and taken."""

    key_hash = "0" * 63 + "a"
    issue = IssueApiKey(
        id=stage.an_id(), hash=key_hash, prefix="dbk_0123", name="ci", role="operator", tenant="t", owner="ci",
        by="ann", expires_at=stage.now + timedelta(days=30),
    )  # fmt: skip
    await stage.decide(f"apikey:{key_hash}", issue)
    await stage.decide(f"apikey:{key_hash}", RevokeApiKey(by="ann"))


async def chains(stage):
    """One leads to another."""

    follower = await stage.create()
    run_id = await stage.trigger(await stage.create(chain=Chain(on_success=(follower,))))
    await stage.decide(f"run:{run_id}", SucceedRun(fence=await stage.start(run_id), result=None))
    other = stage.an_id()
    await stage.decide(f"job:{follower}", FollowRun(run_id=other, correlation_id="r", of=run_id, depth=1))
    links = (ChainLink(job_id=follower, run_id=other), ChainLink(job_id="gone", refused="no-such-job"))
    await stage.decide(f"relay:{run_id}", TellRelay(links=links))


async def excluded(stage):
    """An occurrence is taken out by hand, and another one, which is put back; a calendar takes out days."""

    job_id = await stage.create(every=60)
    first = stage.now + timedelta(seconds=60)
    for at in (first, first + timedelta(seconds=60)):
        command = SkipOccurrence(scheduled_for=at, by="ann", reason="release")
        await stage.decide(f"job:{job_id}", command)
    await stage.decide(f"job:{job_id}", UnskipOccurrence(scheduled_for=at, by="bob"))
    stage.later(61)
    await stage.decide(f"job:{job_id}", Wake())
    content = CalendarContent(description="", dates=(), weekdays=("sat", "sun"), timezone="UTC")
    calendar = "calendar:t:weekends"
    await stage.decide(calendar, ChangeCalendar(name="weekends", tenant="t", by="ann", content=content))
    await stage.decide(calendar, DeleteCalendar(by="ann"))


async def backfills(stage):
    """What was missed is run, one after the other, and another backfill is cancelled."""

    job_id = await stage.create(every=60, misfire_policy="skip")
    since = stage.now
    stage.later(600)
    await stage.decide(f"job:{job_id}", Wake())
    times = tuple(ids.to_ms(since) + 60_000 * n for n in (1, 2))
    for is_cancelled in (False, True):
        backfill = stage.an_id()
        command = RequestBackfill(
            backfill_id=backfill, which="missing", from_=since, to=stage.now, times=times, max_parallel=2,
            by="ann", correlation_id="c",
        )  # fmt: skip
        await stage.decide(f"job:{job_id}", command)
        if is_cancelled:
            await stage.decide(f"backfill:{backfill}", CancelBackfill(by="ann"))
            continue
        await stage.decide(f"backfill:{backfill}", Wake())
        for run_id in [run for run, of in await stage.runs() if of == backfill]:
            fence = await stage.start(run_id)
            await stage.decide(f"run:{run_id}", SucceedRun(fence=fence, result=None))
        await stage.decide(f"backfill:{backfill}", Wake())


SCENES = (jobs, erased, completed, clocks, attempts, ends, expired, keys, chains, excluded, backfills)
