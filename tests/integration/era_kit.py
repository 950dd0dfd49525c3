"""A whole system that lives at a time which the test sets: only the time isn't real.

Valkey reads its clock through libfaketime, and all of Daybook goes by Valkey's: so the API, a timer and executors in
this process live then too. Postgres computes no times. Tests let hours go by in no time, and see both changes of the
clocks of a year.
"""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from services.executor.resources import of_settings
from services.executor.service import Executor
from shared import settings
from shared.domain import ids
from shared.domain.commands import Wake
from shared.eventlog.decider import Decider
from shared.eventlog.envelope import Context
from shared.eventlog.log import EventLog
from shared.job_types.catalog import catalog_of
from shared.loop import Stop
from shared.metrics import Metrics
from shared.ops import Health
from shared.personal.keys import PersonalKeys
from shared.readmodel import archive
from shared.recovery import recorded
from shared.testing import LEASE, chance, wait_until
from tests.acceptance.shifted_clock import Clock, ShiftedValkey
from tests.integration.api_stage import KNOWN, stage_on
from tests.integration.test_timer import Running

TIMER = Context(actor="timer")
SECOND = timedelta(seconds=1)


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Wall:
    """The clock on a machine's wall, as a timer is given it."""

    def __init__(self, clock):
        self._clock, self._loop = clock, asyncio.get_running_loop()

    def now(self):
        return self._clock.now()

    def monotonic(self):
        return self._loop.time()

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)


class Era:
    """A stage, its time, and what may be at work over it."""

    def __init__(self, stage, clock):
        self.stage, self.clock = stage, clock
        self.redis, self.prefix, self.partitions = stage.redis, stage.prefix, stage.partitions
        self.metrics = Metrics()

    def another_log(self, process):
        """The log as another process sees it: what a timer or an executor is given."""
        return EventLog(
            self.redis,
            prefix=self.prefix,
            partitions=self.partitions,
            process=f"{process}-{chance()}",
            metrics=Metrics(),
            reopen=self.stage.reopen,
        )

    async def be(self, moment):
        """It is this time, and goes on from there."""
        self.clock.set(moment if isinstance(moment, datetime) else utc(moment))
        await self.stage.log.sync()

    async def passes(self, span):
        await self.be(self.clock.now() + span)

    async def sync(self):
        return await self.stage.log.sync()

    @contextlib.asynccontextmanager
    async def timer(self, name="timer-1"):
        """A whole timer at work."""
        running = Running(self, self.stage.redis_url, name, Wall(self.clock))
        running.log.saw(ids.to_ms(await self.sync()))
        async with running:
            yield running

    @contextlib.asynccontextmanager
    async def executor(self, name="w7", **options):
        """A whole executor at work."""
        log = self.another_log("executor")
        log.saw(ids.to_ms(await self.sync()))
        chosen = settings.load(
            redis_url=self.stage.redis_url, prefix=self.prefix, partitions=self.partitions, lease_seconds=15,
            **{"concurrency": 2, "drain_seconds": 0.2} | options,
        )  # fmt: skip
        executor = Executor(
            log=log,
            decider=Decider(log, lease=LEASE, chance=chance),
            settings=chosen,
            redis_url=self.stage.redis_url,
            known=KNOWN,
            resources=of_settings(chosen, catalog_of(chosen)),
            metrics=Metrics(),
            health=Health(),
            name=name,
            personal=PersonalKeys(self.redis, self.stage.pool, prefix=self.prefix),
        )
        stop = Stop()
        task = asyncio.create_task(executor.run(stop))
        try:
            yield executor
        finally:
            stop.set()
            async with asyncio.timeout(20):
                await task

    async def wakes(self, *refs):
        """What a timer does when their time has come."""
        for ref in refs:
            await self.stage.deps.decider.decide(ref, Wake(), TIMER)

    async def tells(self, ref, command, actor="executor"):
        """Carry a command out, as a process would."""
        return await self.stage.deps.decider.decide(ref, command, Context(actor=actor))

    async def asks(self, method, path, status=200, **json):
        return (await self.stage.ask(method, path, status=status, **({"json": json} if json else {}))).json

    async def creates(self, **job):
        return await self.stage.create(**job)

    async def explains(self, job, at=None, status=200):
        """GET /jobs/{id}/explain."""
        text = at.isoformat() if isinstance(at, datetime) else at
        query = "" if text is None else f"?at={quote(text)}"
        answer = await self.stage.ask("GET", f"jobs/{_id(job)}/explain{query}", status=status)
        return Told(answer.json) if status == 200 else answer.json

    async def explains_run(self, run):
        """GET /executions/{id}/explain."""
        answer = await self.stage.ask("GET", f"executions/{_id(run)}/explain", status=200)
        return Told(answer.json)

    async def events(self, job, *types, run=None):
        """The archived events of a job and its runs, oldest first."""
        await self.stage.level()
        partition = ids.partition_of(_id(job))
        rows = await archive.events_after(self.stage.pool, partition, 0, limit=10_000)
        found = [recorded(row) for row in rows]
        mine = [each for each in found if _id(job) in {each.job, each.subject.partition("/")[2]}]
        return [
            each
            for each in mine
            if (not types or each.type in types) and (run is None or each.subject.endswith(_id(run)))
        ]

    async def event(self, job, kind, **options):
        """The last one of a type."""
        return (await self.events(job, kind, **options))[-1]

    async def comes(self, job, kind, count=1):
        """Wait for that many events of a type; they come by themselves."""

        async def are_there():
            found = await self.events(job, kind)
            return found if len(found) >= count else None

        return (await wait_until(are_there, f"{count} {kind} of {_id(job)}"))[count - 1]

    async def has_run(self, job):
        """Wait for a run; its id."""
        return (await self.comes(job, "RunRequested")).subject.removeprefix("run/")


class Told:
    """An explanation as it was answered."""

    def __init__(self, answer):
        self.answer, self.summary = answer, answer["summary"]

    @property
    def codes(self):
        return [each["code"] for each in self.answer["findings"]]

    def of(self, code):
        """The first finding of a code."""
        found = [each for each in self.answer["findings"] if each["code"] == code]
        assert found, f"{code} is not among {self.codes}"
        return found[0]

    def says(self, code, *events, **details):
        """A finding of this code is told from exactly these events, and has these details."""
        finding = self.of(code)
        assert [each["id"] for each in finding["events"]] == [each.id for each in events], (
            f"{code}: {finding['events']}"
        )
        assert [each["position"] for each in finding["events"]] == [each.place for each in events]
        told = {name: finding["details"].get(name) for name in details}
        assert told == details, f"{code}: {finding}"
        return finding


def _id(thing):
    return thing if isinstance(thing, str) else thing["id"]


@contextlib.asynccontextmanager
async def an_era(postgres, directory, valkey, clock, moment, **options):
    """An era that begins at this moment."""
    clock.set(utc(moment))
    async with stage_on(valkey, postgres, directory, **options) as stage:
        yield Era(stage, clock)


def shifted_valkey(directory):
    """A Valkey that is to live at a clock's time, and the clock."""
    clock = Clock(directory / "clock", utc("2026-03-02T08:00:00"))
    return ShiftedValkey(directory, clock), clock
