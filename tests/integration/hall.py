"""A hall with executors in it, on a real server, and handlers that the test writes as functions."""

import asyncio
import contextlib
from datetime import timedelta

from services.executor.resources import of_settings
from services.executor.service import Executor
from shared import settings
from shared.domain import ids
from shared.domain.commands import CreateJob, TriggerJob, Wake
from shared.domain.retry import RetryPolicy
from shared.eventlog import envelope
from shared.eventlog.decider import Decider
from shared.eventlog.keys import GROUP
from shared.eventlog.snapshot import NOTHING
from shared.job_types import of_plugins
from shared.job_types.catalog import catalog_of
from shared.job_types.job_type import JobType
from shared.job_types.plugins import Plugin
from shared.lifecycle import Health, Stop
from shared.metrics import Metrics
from shared.personal.keys import PersonalKeys
from shared.testing import TESTER, a_job_id, a_spec, chance, wait_until

NO_RETRIES = RetryPolicy(max_retries=0)


class Away:
    """A Postgres that nobody reaches."""

    def __getattr__(self, name):
        raise ConnectionError("Postgres is away")


class Hall:
    """A bench with executors in it, and handlers that the test writes as functions."""

    def __init__(self, bench, url):
        self.bench, self.url = bench, url
        self.personal = PersonalKeys(bench.redis, Away(), prefix=bench.prefix)
        self.handlers = {}
        self.running = []

    def executor(self, *, name=None, lease=15.0, **options):
        """One that isn't running yet; each has its own metrics, as each is a process of its own."""
        metrics = Metrics()
        log = self.bench.another_log(f"executor-{len(self.running)}-{chance()}")
        log.saw(ids.to_ms(self.bench.log.now()))  # as a service does when it starts
        plugins = {
            each: Plugin(
                job_type=JobType(name=each, description="", model=None),
                handler=call,
                blocking=False,
            )
            for each, call in self.handlers.items()
        }
        chosen = settings.load(
            redis_url=self.url, prefix=self.bench.prefix, partitions=self.bench.partitions,
            lease_seconds=lease,
            **{"concurrency": 4, "drain_seconds": 5.0} | options,
        )  # fmt: skip
        executor = Executor(
            log=log,
            decider=Decider(log, lease=timedelta(seconds=lease), chance=chance),
            settings=chosen,
            redis_url=self.url,
            known=of_plugins(plugins),
            resources=of_settings(chosen, catalog_of(chosen)),
            personal=self.personal,
            metrics=metrics,
            health=Health(),
            name=name,
        )
        executor.metrics = metrics
        return executor

    def start(self, executor=None, **options):
        executor = executor or self.executor(**options)
        stop = Stop()
        executor.stop, executor.task = stop, asyncio.create_task(executor.run(stop))
        self.running.append(executor)
        return executor

    async def stop(self, executor):
        executor.stop.set()
        async with asyncio.timeout(20):
            await executor.task

    async def a_run(self, *, partition=0, overlap_policy="allow", tenant="t", job=None, **spec):
        """A queued run of a new job, whose id may be brought along; the run's id."""
        job = job or a_job_id(partition)
        created = CreateJob(
            job_id=job, spec=a_spec(overlap_policy=overlap_policy, **spec), owner="o", tenant=tenant
        )
        await self.bench.decider.decide(f"job:{job}", created, TESTER, held=NOTHING)
        run = ids.chance_id(self.bench.log.now(), partition, chance())
        await self.bench.decider.decide(
            f"job:{job}", TriggerJob(run_id=run, correlation_id="the-cause"), TESTER
        )
        return run

    async def a_run_of(self, handler, **spec):
        """A queued run that calls `handler`; executors must be made after this."""
        name = f"test_{len(self.handlers)}"
        self.handlers[name] = handler
        return await self.a_run(job_type=name, **{"job_data": {}} | spec)

    async def state(self, run):
        return (await self.bench.log.load(f"run:{run}"))[f"run:{run}"].state

    async def ended(self, run, **options):
        async def look():
            state = await self.state(run)
            return state if state.ended else None

        return await wait_until(look, f"run {run} has ended", **options)

    async def running_now(self, run):
        async def look():
            return (await self.state(run)).status == "running"

        await wait_until(look, f"run {run} is running")

    async def events(self, run):
        """Its events, in order."""
        partition = ids.partition_of(run)
        entries = await self.bench.redis.xrange(self.bench.log.keys(partition).log)
        recorded = [envelope.from_entry(partition, *entry) for entry in entries]
        return [each for each in recorded if each.subject == f"run/{run}"]

    async def types(self, run):
        return [each.type for each in await self.events(run)]

    async def lose(self, run):
        """What the timer does when the lease has run out."""
        due = self.bench.log.keys(ids.partition_of(run)).due
        await self.bench.redis.zadd(due, {f"run:{run}": 1})
        await self.bench.decider.decide(f"run:{run}", Wake(), TESTER, woken="1")

    async def wake(self, run):
        """What the timer does when the run's time in the due index has come."""
        due = self.bench.log.keys(ids.partition_of(run)).due
        score = await self.bench.redis.zscore(due, f"run:{run}")
        await self.bench.decider.decide(f"run:{run}", Wake(), TESTER, woken=f"{score:.0f}")

    async def progress(self, run):
        return await self.bench.log.progress(f"run:{run}")

    async def streams(self, queue="default"):
        """Length and pending entries of all work streams, summed."""
        length = pending = 0
        for partition in range(self.bench.partitions):
            for priority in range(1, 11):
                key = self.bench.log.keys(partition).work(queue, priority)
                length += await self.bench.redis.xlen(key)
                with contextlib.suppress(Exception):
                    pending += (await self.bench.redis.xpending(key, GROUP))["pending"]
        return length, pending


def value(metrics, name, **labels):
    """A sample of a metric; 0 if there is none yet."""
    return metrics.registry.get_sample_value(f"daybook_{name}", labels or None) or 0
