"""A bystander at the log: it notes when runs end, also those of which Redis later knows nothing any more."""

import asyncio
import contextlib

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.eventlog.keys import Keys
from tests.acceptance.balance import TERMINAL

LOOK_S = 0.1


class RunEnds:
    """`times` of all that ended, by the log's own clock, in seconds since 1970."""

    def __init__(self, url, prefix, partitions):
        self._redis = Redis.from_url(url, socket_timeout=2)
        self._seen = {Keys(prefix, partition).log: "0-0" for partition in range(partitions)}
        self.times = []

    async def watch(self):
        """Go on until cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                with contextlib.suppress(
                    RedisError, OSError
                ):  # it is being broken: that is what we are here for
                    await self._look()
        finally:
            await self._redis.aclose()

    async def _look(self):
        for log, entries in await self._redis.xread(self._seen, count=1000):
            self._seen[log.decode()] = entries[-1][0]  # a log that lost its tail goes on in a later epoch
            self.times += [
                int(fields[b"at"]) / 1000 for _, fields in entries if fields[b"type"].decode() in TERMINAL
            ]
