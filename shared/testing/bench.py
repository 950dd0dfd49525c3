"""Builders and waits for Daybook's own tests, and a log on a real server."""

from __future__ import annotations

import asyncio
import inspect
import secrets
import time
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from shared import handlers
from shared.domain import ids
from shared.domain.events import LogOpened
from shared.domain.schedule import Schedule
from shared.domain.spec import JobSpec
from shared.eventlog.cluster import serving
from shared.eventlog.connection import connect
from shared.eventlog.decider import Decider
from shared.eventlog.envelope import Context, encode
from shared.eventlog.log import EventLog
from shared.eventlog.position import Position
from shared.eventlog.script import Script
from shared.job_types.catalog import Catalog
from shared.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from redis.asyncio import Redis

    from services.executor.resources import Resources

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TESTER = Context(actor="tester", corr="test")
LEASE = timedelta(seconds=15)


def at(seconds: float) -> datetime:
    """So many seconds after NOON."""
    return NOON + timedelta(seconds=seconds)


def chance() -> int:
    """Bits for ids."""
    return secrets.randbits(80)


def a_spec(**changes: Any) -> JobSpec:
    """A specification of an `echo` job without a schedule; `every`, `cron` and `once` give it one."""
    every, cron, once = changes.pop("every", None), changes.pop("cron", None), changes.pop("once", None)
    schedule = Schedule(
        interval_seconds=every,
        cron_expression=cron,
        run_at=once,
        timezone=changes.pop("timezone", "UTC"),
        **{name: changes.pop(name, None) for name in ("dst_policy", "start_at", "end_at", "max_runs")},
        jitter_seconds=changes.pop("jitter_seconds", 0),
        exclude=changes.pop("exclude", ()),
        exclude_calendars=changes.pop("exclude_calendars", ()),
    )
    spec = JobSpec(
        name="a job", job_type="custom", job_data={"operation": "echo", "parameters": {}}, schedule=schedule
    )
    return replace(spec, **changes)


def a_told_run(job_type: str = "custom", attempt: int = 1, **job_data: Any) -> handlers.Run:
    """What a handler is told of a run with this data."""
    return handlers.Run(
        run_id="r",
        job_id="j",
        job_name="n",
        job_type=job_type,
        job_data=job_data,
        attempt=attempt,
        max_attempts=4,
        scheduled_for=NOON,
        fence="1-1",
        correlation_id="c",
        deadline=at(3600),
    )


def resources(**changes: Any) -> Resources:
    """What a handler of ours works with: nothing is offered but what `changes` say.

    Args:
        changes: fields of Resources (`secrets`, `mail`, …), and of its Catalog (`files_roots`, `sources`, …).
    """
    # In here, as the tests of plug-ins do without the executor.
    from services.executor.resources import Resources  # noqa: PLC0415

    own = {name: changes.pop(name) for name in [*changes] if name in Resources.__dataclass_fields__}
    own.setdefault("catalog", Catalog(**changes))
    return Resources(**own)


def a_job_id(partition: int = 0, made_at: datetime = NOON) -> str:
    """An id of a job in `partition`."""
    return ids.chance_id(made_at, partition, chance())


async def wait_until(
    condition: Callable[[], Any | Awaitable[Any]], what: str, *, timeout_s: float = 10, every_s: float = 0.01
) -> Any:
    """Wait for `condition()` to be true and return what it returned.

    Raises:
        AssertionError: it was not within `timeout_s`; says what was waited for and what was seen last.
    """
    until = time.monotonic() + timeout_s
    while True:
        seen = condition()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen:
            return seen
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout_s} s: {what}; last seen: {seen!r}")
        await asyncio.sleep(every_s)


class Bench:
    """A log of its own on a real server, opened without an archive, with a decider: what most tests need."""

    def __init__(self, redis: Redis, *, partitions: int = 2, lease: timedelta = LEASE) -> None:
        self.redis = redis
        self.prefix = f"t{secrets.token_hex(6)}"
        self.partitions = partitions
        self.metrics = Metrics()
        self.reopened: list[int] = []
        self.log = self.another_log("p1")
        self.decider = Decider(self.log, lease=lease, chance=chance)

    @classmethod
    async def on(cls, url: str, **options: Any) -> Bench:
        """A bench on the server at `url`, all partitions open."""
        bench = cls(connect(url), **options)
        for partition in range(bench.partitions):
            await bench.open(partition)
        await bench.log.sync()
        return bench

    def another_log(self, process: str) -> EventLog:
        """The same log as another process sees it."""
        return EventLog(
            self.redis,
            prefix=self.prefix,
            partitions=self.partitions,
            process=process,
            metrics=self.metrics,
            reopen=self.open,
        )

    async def open(self, partition: int) -> None:
        """Open a partition as it stands, whatever an archive might say."""
        self.reopened.append(partition)
        keys = self.log.keys(partition)
        rows: Any = await self.redis.xrevrange(keys.log, count=1)
        tail, before = "", Position(0, 0)
        previous = None
        if rows:
            tail, before = rows[0][0].decode(), Position.parse(rows[0][0].decode())
            previous = (before.epoch, before.pos, rows[0][1][b"id"].decode())
        seconds, _ = await (await serving(self.redis, keys.meta)).time()
        epoch = max(before.epoch + 1, seconds * 1000)
        event = LogOpened(
            epoch=epoch,
            reason="restart" if previous else "first",
            previous=previous,
            partitions=self.partitions,
        )
        script = Script(files("shared.eventlog").joinpath("open.lua").read_text())
        envelope = [
            ids.event_id(epoch, chance()),
            "LogOpened",
            "1",
            "log",
            "",
            "subject",
            "0",
            "tester",
            "",
            "",
            "",
        ]
        await script(
            self.redis,
            [keys.meta, keys.log, keys.due],
            [tail, str(epoch), str(before.pos + 1), str(self.partitions), "15000", *envelope, encode(event)],
        )

    async def close(self) -> None:
        """Drop the connections; the keys stay until the server goes."""
        await self.log.close()
        await self.redis.aclose()
