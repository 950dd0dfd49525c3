"""The API's process: the application on its socket, and what follows the log and the archive beside it."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING

from services.api.app import create_app
from services.api.archived import Archive
from services.api.deps import Deps
from services.api.feed import Feed
from services.api.ledger import Ledger
from services.api.pressure import Pressure
from services.api.usage import Usage
from shared import environment, logs
from shared.loop import Stop, repeat
from shared.personal.keys import PersonalKeys
from shared.serving import bound_socket, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg
    from quart import Quart
    from redis.asyncio import Redis

    from shared.clock import Clock
    from shared.eventlog.decider import Decider
    from shared.eventlog.log import EventLog
    from shared.job_types import Catalog, Known
    from shared.metrics import Metrics
    from shared.ops import Health
    from shared.settings import Settings

SOCKET_VARIABLE = "DAYBOOK_API_FD"
CLOCK_EVERY_S = 1.0


def listening_socket(settings: Settings) -> socket.socket:
    """The socket that `daybook up` bound and handed down, else one of our own.

    Raises:
        Fatal: the port can't be had.
    """
    inherited = environment.lookup(SOCKET_VARIABLE)
    if inherited is not None:
        return socket.socket(fileno=int(inherited))
    return bound_socket(settings.host, settings.port)


class Api:
    """One API process.

    Args:
        log: opened.
        decider: over `log`.
        subscriber: a client for blocking reads, for pub/sub; this closes nothing.
        pool: of Postgres connections.
        lists: of those that lists are read over, to the replica if the settings name one; `pool` if None.
        known: the job types that are installed.
        catalog: what the deployment offers them.
        sock: listening; from `listening_socket`.
        random_bits: at least 80 at each call.
    """

    def __init__(
        self,
        *,
        log: EventLog,
        decider: Decider,
        subscriber: Redis,
        pool: asyncpg.Pool,
        known: Known,
        catalog: Catalog,
        settings: Settings,
        metrics: Metrics,
        health: Health,
        clock: Clock,
        sock: socket.socket,
        random_bits: Callable[[], int],
        lists: asyncpg.Pool | None = None,
    ) -> None:
        ledger = Ledger(pool, lists=lists, lags=settings.database_read_url is not None)
        archive = Archive(log=log, subscriber=subscriber, ledger=ledger)
        self._deps = Deps(
            log=log,
            decider=decider,
            ledger=ledger,
            archive=archive,
            feed=Feed(log=log, archive=archive, ledger=ledger, walled=settings.auth == "on"),
            pressure=Pressure(log=log, archive=archive, ledger=ledger, settings=settings, metrics=metrics),
            usage=Usage(log),
            personal=PersonalKeys(log.redis, pool, prefix=log.prefix, wire=log.wire),
            known=known,
            catalog=catalog,
            settings=settings,
            metrics=metrics,
            health=health,
            clock=clock,
            chance=random_bits,
        )
        self._sock = sock
        self.app: Quart = create_app(self._deps)

    async def run(self, stop: Stop) -> None:
        """Serve until `stop` is set; then let requests under way end, while the archive is still followed."""
        done = Stop()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._deps.archive.run(done), name="archive")
            tasks.create_task(self._deps.feed.run(done), name="feed")
            tasks.create_task(
                repeat(self._keep_time, stop=done, name="redis", health=self._deps.health), name="redis time"
            )
            tasks.create_task(repeat(self._deps.pressure.look, stop=done, name="room"), name="room")
            tasks.create_task(repeat(self._deps.usage.flush, stop=done, name="usage"), name="usage")
            host, port = self._sock.getsockname()[:2]
            logs.get("daybook.api").info("serving", host=host, port=port)
            if self._deps.settings.auth == "off":
                logs.get("daybook.api").info("authentication is off: everyone is an admin (DAYBOOK_AUTH)")
            settings = self._deps.settings
            await serve(
                self.app,
                self._sock,
                until=partial(self._until, stop),
                grace_s=settings.drain_seconds,
                idle_s=settings.head_seconds,
            )
            done.set("served")

    async def _until(self, stop: Stop) -> None:
        """Wait for `stop`, and end what has no end of its own."""
        await stop.wait()
        self._deps.feed.end()

    async def _keep_time(self) -> float:
        """Ask Redis for its time: commands are decided by it."""
        await self._deps.log.sync()
        return CLOCK_EVERY_S
