"""The bench process's own hand on the system: commands through the decider, looks at log and archive."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from msgspec.structs import replace

from shared.domain import ids
from shared.domain.commands import CreateJob, TriggerJob
from shared.domain.spec import JobSpec
from shared.eventlog.connection import connect
from shared.eventlog.decider import Decider
from shared.eventlog.envelope import Context
from shared.eventlog.log import EventLog
from shared.eventlog.snapshot import NOTHING
from shared.metrics import Metrics
from shared.readmodel.database import connect_pool

from .plugin import JOB_TYPE
from .waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    import asyncpg
    from redis.asyncio import Redis

    from shared.domain.schedule import Schedule
    from shared.eventlog.decider import Decided
    from shared.eventlog.keys import Keys

CONTEXT = Context(actor="bench", corr="bench")
LEASE = timedelta(seconds=15)  # as services have it by default
AT_A_TIME = 400  # commands in flight: about a hundred a batch, with four partitions
TRIAL = 400  # jobs made to see how fast this machine makes them


class Level(NamedTuple):
    """How far log and archive are, positions summed over the partitions, at a wall-clock time (Unix µs)."""

    at_us: int
    logged: int
    archived: int

    @property
    def is_level(self) -> bool:
        """Whether the archive had all that the log held: it never has more."""
        return self.archived >= self.logged


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """Connections to both servers, and a decider: no service of its own, only what one would do."""

    redis: Redis
    pool: asyncpg.Pool
    log: EventLog
    decider: Decider

    # Commands.

    def a_job_id(self, number: int) -> str:
        """An id for the job of that number; neighbours go to different partitions."""
        return ids.chance_id(self.log.now(), number % self.log.partitions, chance())

    async def create(
        self,
        schedules: Iterable[Schedule],
        *,
        overlap: Any = "skip",
        job_type: str = JOB_TYPE,
        job_data: dict[str, Any] | None = None,
    ) -> list[Decided]:
        """A job for each schedule, in their order, all partitions alike.

        Args:
            schedules: of the jobs.
            overlap: their overlap policy.
            job_type: theirs.
            job_data: theirs.
        """
        await self.log.sync()
        spec = JobSpec(name="bench", job_type=job_type, job_data=job_data or {}, overlap_policy=overlap)
        works = (
            self._create(number, replace(spec, name=f"bench {number}", schedule=schedule))
            for number, schedule in enumerate(schedules)
        )
        return await in_flight(works)

    async def _create(self, number: int, spec: JobSpec) -> Decided:
        job_id = self.a_job_id(number)
        command = CreateJob(job_id=job_id, spec=spec, owner="anonymous", tenant="default")
        return await self.decide(f"job:{job_id}", command, held=NOTHING)

    async def trigger(self, job: Decided) -> Decided:
        """Ask for a run of a job that allows overlap: it isn't followed by its job, which stays as it was."""
        job_id = job.ref.removeprefix("job:")
        run_id = ids.chance_id(self.log.now(), job.partition, chance())
        command = TriggerJob(run_id=run_id, correlation_id="bench")
        return await self.decide(f"job:{job_id}", command, held=job.after)

    async def decide(self, ref: str, command: Any, **options: Any) -> Decided:
        """Carry a command out, as the services do."""
        return await self.decider.decide(ref, command, CONTEXT, **options)

    async def seconds_to_create(self, count: int, schedule: Schedule) -> float:
        """About how long so many jobs take here, after a trial with a few that never run."""
        began = time.monotonic()
        await self.create([schedule] * TRIAL)
        return (time.monotonic() - began) * count / TRIAL

    # Looks.

    async def level(self) -> Level:
        """How far log and archive are now, the log's end read first."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for partition in range(self.log.partitions):
                pipe.hget(self.log.keys(partition).meta, "pos")
            ends = await pipe.execute()
        archived = await self.pool.fetchval("select sum(pos)::bigint from book.checkpoints")
        return Level(time.time_ns() // 1000, sum(int(each) for each in ends), int(archived))

    async def settle(self, *, timeout_s: float = 180) -> Level:
        """Wait until the archive has all of the log."""
        return await until(self._settled, "the projector is level", timeout_s=timeout_s)

    async def _settled(self) -> Level | None:
        level = await self.level()
        return level if level.is_level else None

    async def due(self, until_ms: float) -> int:
        """How many entries of the due index stand at or before a time (Unix ms); leases are among them."""
        return sum(await self._counts(lambda pipe, keys: pipe.zcount(keys.due, "-inf", until_ms)))

    async def queued(self) -> int:
        """How many runs wait for an executor."""
        return sum(await self._counts(_queued))

    async def unfinished(self) -> int:
        """How many things are to be woken, run or run out: 0 when nothing will happen any more."""
        return sum(await self._counts(_queued, lambda pipe, keys: pipe.zcard(keys.due)))

    async def _counts(self, *asks: Callable[[Any, Keys], Any]) -> list[int]:
        """What is asked of each partition, all at one moment: entries move between the keys."""
        async with self.redis.pipeline(transaction=True) as pipe:
            for partition in range(self.log.partitions):
                for ask in asks:
                    ask(pipe, self.log.keys(partition))
            return await pipe.execute()

    async def versions(self) -> dict[str, str]:
        """What the servers say they are."""
        server = await self.redis.info("server")
        name = server.get("server_name", "redis")
        return {
            name: str(server.get(f"{name}_version", server["redis_version"])),
            "postgres": str(await self.pool.fetchval("show server_version")),
        }


@asynccontextmanager
async def a_hand(redis_url: str, database_url: str, *, prefix: str, partitions: int) -> AsyncIterator[Hand]:
    """A hand on an open system."""
    redis = connect(redis_url)
    pool = await connect_pool(database_url, max_size=4, statement_timeout_s=120)
    log = EventLog(
        redis,
        prefix=prefix,
        partitions=partitions,
        process=f"bench-{secrets.token_hex(8)}",
        metrics=Metrics(),
        reopen=_refuse,
    )
    try:
        await log.sync()
        yield Hand(redis=redis, pool=pool, log=log, decider=Decider(log, lease=LEASE, chance=chance))
    finally:
        await log.close()
        pool.terminate()
        await redis.aclose()


async def in_flight(works: Iterable[Awaitable[Decided]]) -> list[Decided]:
    """Await all, AT_A_TIME at a time, and return what they return, in order."""
    done: list[Decided] = []
    wave: list[Awaitable[Decided]] = []
    for work in works:
        wave.append(work)
        if len(wave) == AT_A_TIME:
            done += await asyncio.gather(*wave)
            wave = []
    return done + list(await asyncio.gather(*wave))


def _queued(pipe: Any, keys: Keys) -> None:
    pipe.xlen(keys.work("default", 5))


def chance() -> int:
    """Bits for ids."""
    return secrets.randbits(80)


async def _refuse(partition: int) -> NoReturn:
    raise RuntimeError(f"the log of partition {partition} was closed under the bench")
