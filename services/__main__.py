"""The `daybook` command. The only module that knows all services: it builds what they depend on.

Each service is imported inside its own subcommand, so that a timer loads no Quart and an API no process pool.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services import traced
from services.cli.apply import apply
from services.cli.archive import archive
from services.cli.audit import audit
from services.cli.backfills import backfills
from services.cli.backup import backup
from services.cli.calendars import calendars
from services.cli.completion import completion
from services.cli.debug import debug
from services.cli.erase import erase
from services.cli.events import events
from services.cli.explain import explain
from services.cli.jobs import jobs
from services.cli.migrate import migrate
from services.cli.missed import missed
from services.cli.operating import bits_for_ids, config, keys, probe, recover, replan, settings_of
from services.cli.personal_keys import personal_keys
from services.cli.replay import replay
from services.cli.runs import runs
from services.cli.schedules import forecast, schedules
from services.cli.secrets import make_secrets
from services.cli.simulate import simulate
from shared import environment, tracing
from shared.clock import SystemClock
from shared.faults import Fatal
from shared.lifecycle import insist, main_loop, run
from shared.metrics import Metrics
from shared.ops import Health
from shared.parent import die_with_parent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import asyncpg
    from redis.asyncio import Redis

    from shared.eventlog.decider import Decider
    from shared.eventlog.log import EventLog
    from shared.eventlog.unit import Committed, Unit
    from shared.job_types import Catalog, Known
    from shared.lease import Share
    from shared.loop import Stop
    from shared.settings import Settings
    from shared.tracing.spans import Tracing


LIST_CONNECTIONS = 4  # of an API process: a page and its total are asked for at once
SPARE_CONNECTIONS = 4  # to Postgres, beside the one that each partition of a projector may take
OPENINGS_MAX = 16  # partitions of other services that may be opened at a time, with a connection each


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What every service stands in: opened log, archive, and what tells about the process."""

    settings: Settings
    redis: Redis
    blocking: Redis
    pool: asyncpg.Pool
    log: EventLog
    decider: Decider
    metrics: Metrics
    health: Health
    process: str
    tracing: Tracing | None

    async def reopen(self, partition: int) -> None:
        """Compare a partition's log with the archive and open it."""
        await _open(self.settings, self.pool, self.redis, partition)

    def share(self, role: str) -> Share:
        """This replica's part of the partitions, as `role`."""
        from shared.eventlog.cluster import server_of  # noqa: PLC0415
        from shared.lease import CLUSTER_TTL_MS, TTL_MS, Share  # noqa: PLC0415

        leases = {each: self.log.keys(each).lease(role) for each in range(self.log.partitions)}
        members = f"{self.settings.prefix}:{role}:replicas"
        servers = server_of(self.redis)
        ttl_ms = CLUSTER_TTL_MS if servers else TTL_MS
        return Share(self.redis, leases, members, self.process, ttl_ms, server_of=servers)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="daybook")
def main() -> None:
    """Daybook, an event-sourced job scheduler over Redis Streams."""


for _command in (
    archive,
    audit,
    backup,
    recover,
    replan,
    replay,
    keys,
    config,
    probe,
    jobs,
    runs,
    backfills,
    schedules,
    forecast,
    simulate,
    missed,
    explain,
    erase,
    personal_keys,
    events,
    calendars,
    apply,
    migrate,
    make_secrets,
    completion,
    debug,
):
    main.add_command(_command)


@main.command()
@click.option("--port", type=int, help="The API's port (DAYBOOK_PORT).")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Where everything is kept (DAYBOOK_DATA_DIR)."
)
@click.option("--executors", type=int, help="How many executors (DAYBOOK_EXECUTORS).")
def up(**options: Any) -> None:
    """Run the whole system on this machine: servers, four services, one Ctrl-C."""
    from services.up import Up  # noqa: PLC0415

    told = settings_of(options, "up")
    try:  # what is wrong is said once, before servers and four services start
        if told.handlers:
            _installed(told)
        if told.tracing != "off":
            tracing.check()
    except Fatal as why:
        sys.exit(f"daybook up: {why}")
    sys.exit(Up(told).run())


@main.command()
def api() -> None:
    """Serve the REST API."""

    async def serve(frame: Frame, stop: Stop) -> None:
        from services.api.service import Api, listening_socket  # noqa: PLC0415
        from shared.domain.schedule import searches  # noqa: PLC0415
        from shared.readmodel.database import LISTS, connect_pool  # noqa: PLC0415

        frame.metrics.collect_from("schedule_searches_total", searches)
        told = frame.settings
        lists = await insist(
            lambda: connect_pool(
                told.database_read_url or told.database_url or "", max_size=LIST_CONNECTIONS, session=LISTS
            ),
            stop=stop,
            name="postgres for lists",
            health=frame.health,
        )
        service = Api(
            log=frame.log,
            decider=frame.decider,
            subscriber=frame.blocking,
            pool=frame.pool,
            lists=lists,
            known=_installed(told),
            catalog=_offered(told),
            settings=told,
            metrics=frame.metrics,
            health=frame.health,
            clock=SystemClock(),
            sock=listening_socket(told),
            random_bits=bits_for_ids(),
        )
        traced.trace_requests(frame.tracing, service.app)
        try:
            await service.run(stop)
        finally:
            await _let_go(lists)

    _serve("api", serve, has_pages=True)


@main.command()
def timer() -> None:
    """Wake what is due."""

    async def serve(frame: Frame, stop: Stop) -> None:
        from shared.domain.schedule import searches  # noqa: PLC0415

        frame.metrics.collect_from("schedule_searches_total", searches)
        service = traced.timer(
            frame.tracing,
            frame.pool,
            log=frame.log,
            decider=frame.decider,
            bells=frame.blocking,
            share=frame.share("timer"),
            clock=SystemClock(),
            metrics=frame.metrics,
            health=frame.health,
        )
        await service.run(stop)

    _serve("timer", serve)


@main.command()
@click.option("--concurrency", type=int, help="How many runs at a time (DAYBOOK_CONCURRENCY).")
@click.option("--queues", help="Which queues to serve, comma separated (DAYBOOK_QUEUES).")
def executor(**options: Any) -> None:
    """Run handlers."""

    async def serve(frame: Frame, stop: Stop) -> None:
        from services.executor.resources import of_settings  # noqa: PLC0415
        from services.executor.service import Executor  # noqa: PLC0415
        from shared.personal.keys import PersonalKeys  # noqa: PLC0415

        service = Executor(
            log=frame.log,
            decider=frame.decider,
            settings=frame.settings,
            redis_url=_needed(frame.settings.redis_url, "DAYBOOK_REDIS_URL"),
            known=_installed(frame.settings),
            resources=of_settings(frame.settings, _offered(frame.settings)),
            personal=PersonalKeys(frame.redis, frame.pool, prefix=frame.settings.prefix, wire=frame.log.wire),
            metrics=frame.metrics,
            health=frame.health,
            **traced.attempts(frame.tracing, frame.pool, frame.log),
        )
        await service.run(stop)

    _serve("executor", serve, options=options)


@main.command()
def projector() -> None:
    """Archive the log and keep the read models."""

    async def serve(frame: Frame, stop: Stop) -> None:
        from services.projector.service import Projector  # noqa: PLC0415
        from shared.eventlog.reader import LogReader  # noqa: PLC0415

        told = frame.settings
        service = Projector(
            reader=LogReader(frame.blocking, prefix=told.prefix, partitions=told.partitions),
            redis=frame.redis,
            pool=frame.pool,
            share=frame.share("projector"),
            metrics=frame.metrics,
            health=frame.health,
            prefix=told.prefix,
            partitions=told.partitions,
            reopen=frame.reopen,
            archived=traced.archived(frame.tracing),
        )
        await service.run(stop)

    _serve("projector", serve)


# One service's process.


def _serve(
    name: str,
    service: Callable[[Frame, Stop], Awaitable[None]],
    *,
    options: dict[str, Any] | None = None,
    has_pages: bool = False,
) -> None:
    """Run one service until it is told to stop, and exit with its status; `has_pages`: it shows /metrics itself."""
    told = settings_of(options or {}, name)
    if parent := environment.lookup("DAYBOOK_PARENT_PID"):
        die_with_parent(int(parent))
    metrics, health = Metrics(), Health()

    async def live(stop: Stop) -> None:
        async with _frame(told, name, metrics, health, stop) as frame:
            metrics.partitions.set(frame.log.partitions)
            await service(frame, stop)

    async def process() -> int:
        return await run(
            live,
            name=name,
            health=health,
            metrics=metrics,
            ops_host=told.host,
            ops_port=None if has_pages else told.ops_port,
            on_ops_bound=_report_port,
            drain_s=told.drain_seconds,
        )

    sys.exit(main_loop(process))


@contextlib.asynccontextmanager
async def _frame(
    told: Settings, name: str, metrics: Metrics, health: Health, stop: Stop
) -> AsyncIterator[Frame]:
    """Connect, check the deployment, open the log; and let go of it all."""
    from shared.eventlog.connection import connect  # noqa: PLC0415
    from shared.eventlog.log import EventLog  # noqa: PLC0415
    from shared.readmodel.database import connect_pool  # noqa: PLC0415
    from shared.recovery import archived_job, archived_units  # noqa: PLC0415

    redis_url = _needed(told.redis_url, "DAYBOOK_REDIS_URL")
    database_url = _needed(told.database_url, "DAYBOOK_DATABASE_URL")
    process = f"{name}-{secrets.token_hex(8)}"
    making_spans = tracing.of_settings(told, name, process)
    most = told.partitions if name == "projector" else min(told.partitions, OPENINGS_MAX)
    redis, blocking = connect(redis_url), connect(redis_url, blocking=True)
    pool = await insist(
        lambda: connect_pool(database_url, max_size=most + SPARE_CONNECTIONS),
        stop=stop,
        name="postgres",
        health=health,
    )

    async def reopen(partition: int) -> None:
        await insist(lambda: _open(told, pool, redis, partition), stop=stop, name="opening", health=health)

    async def settled(partition: int, units: Sequence[Unit]) -> list[Committed | None]:
        return await insist(
            lambda: archived_units(pool, partition, units), stop=stop, name="settling", health=health
        )

    log = EventLog(
        redis,
        prefix=told.prefix,
        partitions=told.partitions,
        process=process,
        metrics=metrics,
        reopen=reopen,
        archived=lambda ref: archived_job(pool, ref),
        settled=settled,
    )
    try:
        await insist(lambda: _ready(told, pool, redis), stop=stop, name="deployment", health=health)
        for partition in range(told.partitions):
            await reopen(partition)
        await insist(log.sync, stop=stop, name="redis", health=health)
        yield Frame(
            settings=told,
            redis=redis,
            blocking=blocking,
            pool=pool,
            log=log,
            decider=traced.decider(
                making_spans, log, lease=timedelta(seconds=told.lease_seconds), chance=bits_for_ids()
            ),
            metrics=metrics,
            health=health,
            process=process,
            tracing=making_spans,
        )
    finally:
        await log.close()
        await _let_go(pool, redis, blocking)
        if making_spans is not None:
            await making_spans.close()


async def _ready(told: Settings, pool: asyncpg.Pool, redis: Redis) -> None:
    """Check what must hold before anything is decided.

    Raises:
        Fatal: saying what to change.
        NotYet: the database has not been migrated.
    """
    from shared import deployment  # noqa: PLC0415
    from shared.readmodel.database import assert_migrated  # noqa: PLC0415

    async with pool.acquire() as connection:
        await assert_migrated(connection)
        await deployment.check_durability(connection, redis, SystemClock().now)
        await deployment.check_deployment(connection, redis, told)


async def _open(told: Settings, pool: asyncpg.Pool, redis: Redis, partition: int) -> None:
    from shared.recovery import open_log  # noqa: PLC0415

    await open_log(
        pool,
        redis,
        prefix=told.prefix,
        partition=partition,
        partitions=told.partitions,
        lease=timedelta(seconds=told.lease_seconds),
        chance=bits_for_ids(),
    )


async def _let_go(pool: asyncpg.Pool, *clients: Redis) -> None:
    with contextlib.suppress(Exception):  # the process ends: nothing depends on these any more
        pool.terminate()
    for client in clients:
        with contextlib.suppress(Exception):
            await client.aclose()


def _installed(told: Settings) -> Known:
    """The job types there are.

    Raises:
        Fatal: a module of DAYBOOK_HANDLERS can't serve.
    """
    from shared.job_types import installed  # noqa: PLC0415
    from shared.job_types.plugins import BadModule  # noqa: PLC0415

    try:
        return installed(told.handlers)
    except BadModule as why:
        raise Fatal(str(why)) from why


def _offered(told: Settings) -> Catalog:
    """What jobs may use here.

    Raises:
        Fatal: the file of sources is wrong.
    """
    from shared.job_types.catalog import BadSources, catalog_of  # noqa: PLC0415

    try:
        return catalog_of(told)
    except BadSources as wrong:
        raise Fatal(str(wrong)) from wrong


def _needed(value: str | None, name: str) -> str:
    if value is None:
        raise Fatal(f"{name} is not set. (`daybook up` starts a server of its own and sets it.)")
    return value


def _report_port(port: int) -> None:
    """Tell `daybook up`, if it is our parent, where the pages are; whole or not at all."""
    if told := environment.lookup("DAYBOOK_PORT_FILE"):
        path = Path(told)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps({"name": path.stem, "pid": os.getpid(), "port": port}))
        fresh.replace(path)


if __name__ == "__main__":
    main()
