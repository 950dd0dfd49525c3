"""A whole write and read side for tests of the API: real Valkey, real Postgres, a real projector."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from services.api.app import create_app
from services.api.archived import Archive
from services.api.deps import Deps
from services.api.feed import Feed
from services.api.ledger import Ledger
from services.api.pressure import Pressure
from services.api.usage import Usage
from services.projector.service import Projector
from services.traced import archived, decider, trace_requests
from shared import job_types
from shared.clock import SystemClock
from shared.eventlog.connection import connect
from shared.eventlog.keys import Keys
from shared.eventlog.log import EventLog
from shared.eventlog.reader import LogReader
from shared.job_types.catalog import catalog_of
from shared.lease import Share
from shared.loop import Stop
from shared.metrics import Metrics
from shared.ops import Health
from shared.personal.keys import PersonalKeys
from shared.readmodel.database import connect_pool
from shared.recovery import archived_job, archived_units, open_log
from shared.settings import Settings
from shared.testing import LEASE, chance, wait_until
from tests.integration.databases import a_database

LEDGERS = (
    "book.events", "book.snapshots", "book.checkpoints", "ledger.jobs", "ledger.runs", "ledger.run_hourly",
)  # fmt: skip
KNOWN = job_types.installed()  # once: looking through all installed packages takes time
JOB = {"name": "a job", "job_type": "custom", "job_data": {"operation": "echo", "parameters": {"n": 1}}}


class Stage:
    """The API's application over stores of its own, with a projector that can be stopped."""

    def __init__(
        self,
        redis_url: str,
        database_url: str,
        files_root: Any,
        *,
        partitions: int = 2,
        tracings: Any = None,
        **told: Any,
    ) -> None:
        self.redis_url, self.database_url = redis_url, database_url
        self.partitions = partitions
        self.tracings = tracings or {}  # by service; none is traced unless it is said
        self.prefix = f"t{secrets.token_hex(6)}"
        self.redis = connect(redis_url)
        self.blocking = connect(redis_url, blocking=True)
        self.metrics, self.health = Metrics(), Health()
        self.stop, self.projecting = Stop(), Stop()
        self.settings = Settings(wait_seconds=5, files_roots=(files_root,), **told)
        self._projector: asyncio.Task | None = None

    async def open(self) -> Stage:
        self.pool = await connect_pool(self.database_url, max_size=10)
        self.log = EventLog(
            self.redis,
            prefix=self.prefix,
            partitions=self.partitions,
            process="api",
            metrics=self.metrics,
            reopen=self.reopen,
            archived=lambda ref: archived_job(self.pool, ref),
            settled=lambda partition, units: archived_units(self.pool, partition, units),
        )
        for partition in range(self.partitions):
            await self.reopen(partition)
        await self.log.sync()
        ledger = Ledger(self.pool)
        archive = Archive(log=self.log, subscriber=self.blocking, ledger=ledger)
        self.deps = Deps(
            log=self.log,
            decider=decider(self.tracings.get("api"), self.log, lease=LEASE, chance=chance),
            ledger=ledger,
            archive=archive,
            feed=Feed(log=self.log, archive=archive, ledger=ledger, walled=self.settings.auth == "on"),
            pressure=Pressure(
                log=self.log, archive=archive, ledger=ledger, settings=self.settings, metrics=self.metrics
            ),
            usage=Usage(self.log),
            personal=PersonalKeys(self.redis, self.pool, prefix=self.prefix, wire=self.log.wire),
            known=KNOWN,
            catalog=catalog_of(self.settings),
            settings=self.settings,
            metrics=self.metrics,
            health=self.health,
            clock=SystemClock(),
            chance=chance,
        )
        self.app = create_app(self.deps)
        trace_requests(self.tracings.get("api"), self.app)
        self.client = self.app.test_client()
        self._archive = asyncio.create_task(self.deps.archive.run(self.stop))
        self._feed = asyncio.create_task(self.deps.feed.run(self.stop))
        self.start_projector()
        await self.level()  # the openings of the logs aren't news any more, whatever a test counts or forbids
        return self

    async def reopen(self, partition: int) -> None:
        await open_log(
            self.pool,
            self.redis,
            prefix=self.prefix,
            partition=partition,
            partitions=self.partitions,
            lease=timedelta(seconds=15),
            chance=chance,
        )

    def start_projector(self) -> None:
        self.projecting = Stop()
        keys = {partition: Keys(self.prefix, partition) for partition in range(self.partitions)}
        share = Share(
            self.redis,
            {partition: each.lease("projector") for partition, each in keys.items()},
            f"{self.prefix}:projectors",
            secrets.token_hex(8),
        )
        projector = Projector(
            reader=LogReader(self.blocking, prefix=self.prefix, partitions=self.partitions),
            redis=self.redis,
            pool=self.pool,
            share=share,
            metrics=Metrics(),
            health=Health(),
            prefix=self.prefix,
            partitions=self.partitions,
            reopen=self.reopen,
            archived=archived(self.tracings.get("projector")),
        )
        self._projector = asyncio.create_task(projector.run(self.projecting))

    async def stop_projector(self) -> None:
        self.projecting.set()
        await self._projector

    async def close(self) -> None:
        self.stop.set()
        async with asyncio.timeout(10):
            await asyncio.gather(self.stop_projector(), self._archive, self._feed)
        await self.log.close()
        await self.redis.aclose()
        await self.blocking.aclose()
        await self.pool.close()

    async def ask(
        self, method: str, path: str, *, status: int | None = None, **kwargs: Any
    ) -> SimpleNamespace:
        """Send a request; check the status; return status, headers, json and text."""
        if "/" not in path[:1]:
            path = f"/api/v1/{path}"
        response = await self.client.open(path, method=method, **kwargs)
        text = (await response.get_data(as_text=False)).decode(errors="replace")
        if status is not None:
            assert response.status_code == status, f"{method} {path}: {response.status_code} {text}"
        kind = response.content_type or ""
        body = await response.get_json(force=True) if "json" in kind and text else None
        return SimpleNamespace(status=response.status_code, headers=response.headers, json=body, text=text)

    async def create(self, **changes: Any) -> dict[str, Any]:
        """A job made through the API."""
        return (await self.ask("POST", "jobs", json=JOB | changes, status=201)).json

    async def level(self) -> None:
        """Wait until the archive has all that the log has."""

        async def is_level() -> bool:
            marks = dict(await self.deps.ledger.checkpoints())
            tails = [
                await self.redis.xrevrange(self.log.keys(p).log, count=1) for p in range(self.partitions)
            ]
            return all(str(marks.get(p)) == rows[0][0].decode() for p, rows in enumerate(tails))

        await wait_until(is_level, "the archive is level with the log")

    async def keys(self) -> list[bytes]:
        """The keys of this system but those that come and go, and are nobody's facts."""
        passing = (b":lease:", b"projectors", b":limit:", b":asked:")
        names = [key async for key in self.redis.scan_iter(match=f"{self.prefix}:*", count=500)]
        return [name for name in names if not any(part in name for part in passing)]

    async def contents(self) -> dict[str, Any]:
        """Everything a refused request must leave as it was: streams, keys, rows."""
        await self.level()
        keys = sorted(await self.keys())
        logs = [await self.redis.xlen(self.log.keys(p).log) for p in range(self.partitions)]
        rows = {table: await self.pool.fetchval(f"select count(*) from {table}") for table in LEDGERS}  # noqa: S608
        return {"keys": keys, "logs": logs, "rows": rows}


@contextlib.asynccontextmanager
async def stage_on(valkey: Any, postgres: Any, files_root: Any, **options: Any) -> Any:
    """A stage in a database of its own."""
    async with a_database(postgres) as url:
        stage = await Stage(valkey.endpoint.url, url, files_root, **options).open()
        try:
            yield stage
        finally:
            await stage.close()
