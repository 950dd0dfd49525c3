"""The system under faults: two of each service, each behind lines of its own to both servers."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis

from shared.eventlog.position import Position
from shared.testing import wait_until
from tests.acceptance.system import ROLES, System

from . import crowd
from .proxy import Network

LEASE_S = 2.0
FAKETIME = "libfaketime.so.1"
FAKED = "timer-1"  # the one whose clock can be set
LOOK_S = 0.1
UP_S = 90.0


def faketime():
    """The library that fakes a process's time of day; None where it isn't installed."""
    found = [
        path for root in ("/usr/lib", "/usr/local/lib") for path in Path(root).glob(f"**/faketime/{FAKETIME}")
    ]
    return str(found[0]) if found else None


class Stage(System):
    """`start`, spawn and server operations run in one thread of their own: what they start lives as long as it."""

    def __init__(self, directory):
        settings = {"DAYBOOK_LEASE_SECONDS": str(LEASE_S), "DAYBOOK_LOG_LEVEL": "INFO"}
        super().__init__(
            directory, replicas=dict.fromkeys(ROLES, 2), environment=crowd.install(directory) | settings
        )
        self.prefix = "faults"
        self.network = Network()
        self.lines = {}  # (service, "redis" or "postgres") → its proxy
        self.clock_file = directory / "clock"
        self.ended_alone = []
        self._hand = ThreadPoolExecutor(1, thread_name_prefix="hand")
        self._ours = set()
        self._keeper = None

    async def hand(self, does, *args):
        """Call `does` in the thread that everything is started from."""
        return await asyncio.get_running_loop().run_in_executor(self._hand, does, *args)

    @contextlib.asynccontextmanager
    async def running(self):
        """The stage, started; gone afterwards, whatever happened."""
        self.network.start()
        self.clock_file.write_text("+0\n")
        try:
            await self.hand(self.start)
            self._keeper = asyncio.create_task(self._keep(), name="keeper")
            yield self
        finally:
            self._dismiss_keeper()
            await self.hand(self.destroy)
            self.network.stop()
            self._hand.shutdown()

    async def stop_cleanly(self):
        """SIGTERM to everything; each must end with status 0."""
        self._dismiss_keeper()
        await self.hand(self.stop)

    def _dismiss_keeper(self):
        if self._keeper is not None:
            self._keeper.cancel()

    @contextlib.contextmanager
    def handling(self, *services):
        """While a fault has these in hand, nobody wonders why they are gone."""
        names = {service.name for service in services}
        self._ours |= names
        try:
            yield
        finally:
            self._ours -= names

    async def respawn(self, service):
        """Start a killed one again; return when it serves."""
        await self.hand(service.spawn)
        await self.is_up(service)

    async def is_up(self, service):
        """Return when it serves, however often the keeper has to start it.

        Raises:
            AssertionError: it doesn't.
        """
        serves = partial(asyncio.to_thread, _serves, service)
        await wait_until(serves, f"{service.name} is up", timeout_s=UP_S, every_s=LOOK_S)

    async def _keep(self):
        """Start again what ended by itself, as whoever runs services does; and note it."""
        while True:
            await asyncio.sleep(LOOK_S)
            for service in self.services.values():
                if service.name not in self._ours and service.process.poll() is not None:
                    self.ended_alone.append(_last_words(service))
                    await self.hand(service.spawn)

    def lines_of(self, names, servers):
        return [self.lines[name, server] for name in names for server in servers]

    def redis(self):
        """A client of the server itself, past all proxies."""
        return Redis.from_url(self.valkey.endpoint.url)

    async def archived(self):
        """How far each partition's archive has come."""
        archive = await asyncpg.connect(self.postgres.endpoint.url)
        try:
            marks = await archive.fetch("select partition, epoch, pos from book.checkpoints")
        finally:
            await archive.close()
        return {partition: Position(epoch, pos) for partition, epoch, pos in marks}

    def _environment_of(self, name):
        urls = {
            "DAYBOOK_REDIS_URL": self._through_line(name, "redis", self.valkey.endpoint.url),
            "DAYBOOK_DATABASE_URL": self._through_line(name, "postgres", self.postgres.endpoint.url),
        }
        return self._environment() | urls | (self._clock() if name == FAKED else {})

    def _through_line(self, name, server, url):
        there = urlsplit(url)
        line = self.lines[name, server] = self.network.proxy(there.port)
        return url.replace(f":{there.port}/", f":{line.port}/")

    def _clock(self):
        """Time of day is what the file says, from a second after it says so; monotonic time is left alone."""
        library = faketime()
        if library is None:
            return {}
        return {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self.clock_file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }


def _last_words(service):
    """Why it ended, as it said itself."""
    crashes = [line for line in service.lines if line["level"] in ("error", "critical")]
    said = crashes[-1] if crashes else {}
    where = [line.strip(" |+-^") for line in said.pop("exception", "").splitlines()]
    why = " / ".join([str(said), *[line for line in where if line][-6:]])
    return f"{service.name} ended by itself with {service.process.returncode}: {why}"


def _serves(service):
    return service.process.poll() is None and service.is_up()
