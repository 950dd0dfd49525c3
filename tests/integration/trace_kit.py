"""What the traces need: a server that can be set back, other processes over one log, a timer over an archive."""

import shutil
from contextlib import asynccontextmanager

from shared.clock import SystemClock
from shared.embedded import Valkey
from shared.eventlog import opening
from shared.eventlog.decider import Decider
from shared.eventlog.envelope import from_entry
from shared.eventlog.writer import _flavours
from shared.faults import is_broken
from shared.testing import LEASE, chance, wait_until
from tests.integration.archive_kit import an_office
from tests.integration.test_timer import Running


class Rewindable(Valkey):
    """A Valkey that can come back as it was earlier: a crash whose append-only file has lost its tail."""

    @property
    def _kept(self):
        return self.directory / "appendonlydir", self.directory / "remembered"

    def remember(self):
        """Keep what it holds now. With `appendfsync always` that is all it has answered."""
        file, copy = self._kept
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(file, copy)

    def crash(self):
        """kill -9, and start again with everything it had acknowledged."""
        self.kill()
        self.start()

    def rewind(self):
        """kill -9, and start again with what was remembered only."""
        file, copy = self._kept
        self.kill()
        shutil.rmtree(file)
        shutil.copytree(copy, file)
        self.start()


@asynccontextmanager
async def a_rewindable_office(postgres, tmp_path):
    """An office on a server of its own, and that server."""
    with Rewindable(tmp_path) as server:
        async with an_office(postgres, server) as office:
            yield office, server


async def answers(redis):
    """Whether the server is there."""
    try:
        return await redis.ping()
    except Exception as error:
        if not is_broken(error):
            raise
        return False


async def back(redis):
    """Wait until the server is there again; connections of before are dropped."""
    await redis.connection_pool.disconnect(inuse_connections=False)
    await wait_until(lambda: answers(redis), "Redis is back")


async def look(office, partition=0):
    return await opening.look(office.redis, office.keys(partition))


async def logged(redis, keys):
    """All events of a partition's log."""
    return [from_entry(keys.partition, *entry) for entry in await redis.xrange(keys.log)]


async def kinds(redis, keys):
    return [event.type for event in await logged(redis, keys)]


async def scripts_of(redis):
    """Load both flavours of commit.lua, as any client may at any time."""
    return [await redis.script_load(script.body) for script in _flavours().values()]


async def newer(bench, ref):
    """Make a snapshot look like one that the next version has written, and return it."""
    key = bench.log.keys(0).aggregate(ref)
    text = b'{"shape":99,"new":"field",' + (await bench.redis.hget(key, "state")).partition(b",")[2]
    await bench.redis.hset(key, "state", text)
    return text


def another_process(bench, name, *, reopen=None):
    """The decider of another process over the same log."""
    return Decider(opened_by(bench.another_log(name), reopen), lease=LEASE, chance=chance)


def opened_by(log, reopen):
    if reopen is not None:
        log._reopen = log._writer._reopen = reopen
    return log


def a_timer(office, name="timer"):
    """A timer of this office, to be entered; it opens the log against the archive."""
    running = Running(office.bench, office.url, name, SystemClock())
    opened_by(running.log, office.open)
    return running


class Deaf:
    """A wire whose blocking reads never return before the end: what rings is lost, and no time-out comes."""

    def __init__(self, stop):
        self._stop = stop

    async def replies(self, *_commands):
        await self._stop.wait()
        return [None]

    def close(self):
        pass
