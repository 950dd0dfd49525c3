"""One embedded server, kept running."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from shared import logs
from shared.embedded import Server, ServerError

from .restarts import Restarts

T = TypeVar("T")
LOOK_EVERY_S = 0.1


class Keeper:
    """Starts a server, again on the same port when it dies, and stops it.

    The server has a thread of its own, which lives as long: the kernel ends it with that thread.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=server.name)
        self._log = logs.get("daybook.up")

    @property
    def url(self) -> str:
        """Where it answers, once it is started; its password is in it."""
        return self._server.endpoint.url

    async def start(self) -> None:
        """Start it.

        Raises:
            ServerError: It would not start.
        """
        await self._in_thread(self._server.start)

    async def keep(self) -> None:
        """Start it again whenever it dies, until cancelled."""
        restarts = Restarts()
        born_s = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._server.is_alive():
                continue
            died_s = time.monotonic()
            delay_s = restarts.delay_after(died_s, died_s - born_s)
            self._log.warning("server died", name=self._server.name, pause_s=delay_s)
            await asyncio.sleep(delay_s)
            born_s = time.monotonic()
            await self._revive()

    async def stop(self) -> None:
        """Stop it; a start that is under way is broken off."""
        await asyncio.to_thread(self._server.stop)
        await self._in_thread(self._server.stop)  # what such a start may have brought up since
        self._thread.shutdown()

    async def _revive(self) -> None:
        try:
            await self.start()
        except ServerError as error:
            self._log.error("server does not start", name=self._server.name, reason=str(error))

    async def _in_thread(self, action: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, action)
