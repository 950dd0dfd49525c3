"""What tests of archive and projector begin with: a migrated database, and a log opened against it."""

from contextlib import asynccontextmanager

from services.projector.service import Projector
from shared import recovery
from shared.domain.commands import CreateJob, FailRun, StartRun, SucceedRun, TriggerJob
from shared.domain.events import Failure
from shared.eventlog.connection import connect
from shared.eventlog.reader import LogReader
from shared.eventlog.unit import Done
from shared.lease import Share
from shared.ops import Health
from shared.readmodel import archive, database
from shared.testing import LEASE, TESTER, Bench, a_job_id, a_spec, chance
from tests.integration.databases import a_database


class Office:
    """A log of two partitions and its archive: everything of Daybook that stands below the services."""

    def __init__(self, pool, valkey_url, database_url=None):
        self.pool = pool
        self.database_url = database_url
        self.url = valkey_url
        self.bench = Bench(connect(valkey_url))
        self.redis = self.bench.redis
        self.blocking = connect(valkey_url, blocking=True)
        self.log = self.bench.another_log("office")
        self.log._reopen = self.log._writer._reopen = (
            self.open
        )  # the bench opens blindly; the archive is asked
        self.log._writer._settled = self.settled
        self.bench.log = self.log
        self.bench.decider._log = self.log
        self.decider = self.bench.decider
        self.partitions = self.bench.partitions
        self.projectors = []

    def keys(self, partition):
        return self.log.keys(partition)

    async def open(self, partition, lease=LEASE):
        return await recovery.open_log(
            self.pool,
            self.redis,
            prefix=self.bench.prefix,
            partition=partition,
            partitions=self.partitions,
            lease=lease,
            chance=chance,
        )

    async def settled(self, partition, units):
        return await recovery.archived_units(self.pool, partition, units)

    def projector(self, name="p1", metrics=None):
        share = Share(
            self.redis,
            {partition: self.keys(partition).lease("projector") for partition in range(self.partitions)},
            f"{self.bench.prefix}:projectors",
            name,
        )
        made = Projector(
            reader=LogReader(self.blocking, prefix=self.bench.prefix, partitions=self.partitions),
            redis=self.redis,
            pool=self.pool,
            share=share,
            metrics=metrics or self.bench.metrics,
            health=Health(),
            prefix=self.bench.prefix,
            partitions=self.partitions,
            reopen=self.open,
        )
        self.projectors.append(made)
        return made

    async def create(self, partition=0, **spec):
        job_id = a_job_id(partition, self.log.now())
        command = CreateJob(job_id=job_id, spec=a_spec(**spec), owner="ann", tenant="t")
        await self.decider.decide(f"job:{job_id}", command, TESTER)
        return job_id

    async def trigger(self, job_id, *, partition=0):
        run_id = a_job_id(partition, self.log.now())
        await self.decider.decide(f"job:{job_id}", TriggerJob(run_id=run_id, correlation_id="c"), TESTER)
        return run_id

    async def start(self, run_id):
        ref = f"run:{run_id}"
        held = (await self.log.load(ref))[ref]
        spec = held.state.spec if held.state else None
        done = Done(spec.queue, spec.priority, held.version) if spec else None
        decided = await self.decider.decide(ref, StartRun(worker="w"), TESTER, held=held, done=done)
        return decided.after.fence

    async def succeed(self, run_id, fence, result=None):
        await self.decider.decide(f"run:{run_id}", SucceedRun(fence=fence, result=result), TESTER)

    async def fail(self, run_id, fence):
        error = Failure(class_="ValueError", message="ouch")
        await self.decider.decide(
            f"run:{run_id}", FailRun(fence=fence, error=error, names=("ValueError",), draw=0.5), TESTER
        )

    async def run(self, job_id, result=None):
        run_id = await self.trigger(job_id)
        await self.succeed(run_id, await self.start(run_id), result)
        return run_id

    async def archived(self, partition=0):
        """All archived events of a partition."""
        return [
            recovery.recorded(row) for row in await archive.events_after(self.pool, partition, 0, limit=10**6)
        ]

    async def close(self):
        for projector in self.projectors:
            await projector.close()
        await self.log.close()
        await self.redis.aclose()
        await self.blocking.aclose()


@asynccontextmanager
async def an_office(postgres, valkey):
    """An office whose log has been opened for the first time."""
    async with a_database(postgres) as url:
        pool = await database.connect_pool(url)
        office = Office(pool, valkey.endpoint.url, url)
        try:
            for partition in range(office.partitions):
                await office.open(partition)
            await office.log.sync()
            yield office
        finally:
            await office.close()
            await pool.close()


async def all_of(projector, partition=0):
    """Project until nothing is left; return how many events. A projector that is overtaken looks again at once."""
    total = 0
    while count := await projector.run_once(partition) or await projector.run_once(partition):
        total += count
    return total
