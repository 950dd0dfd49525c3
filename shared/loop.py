"""The one loop of every background role: a round, again and again, until the process is to stop.

It outlives broken infrastructure, so that roles needn't: they let errors raise.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared import logs
from shared.faults import Stopped, is_broken, leaves
from shared.ops import Health

T = TypeVar("T")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0


class Stop:
    """The wish that this process ends. Set once, never cleared."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.reason = ""

    def set(self, reason: str = "asked to") -> None:
        """Begin the shutdown; the first reason stays."""
        self.reason = self.reason or reason
        self._event.set()

    def is_set(self) -> bool:
        """Whether the process is to end."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Return once the process is to end."""
        await self._event.wait()

    async def sleep(self, seconds: float) -> bool:
        """Sleep `seconds`, or until the process is to end if that is sooner; return whether it is to end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        return self.is_set()


async def repeat(
    run_once: Callable[[], Awaitable[float | None]], *, stop: Stop, name: str, health: Health | None = None
) -> None:
    """Repeat `run_once` until `stop` is set.

    Broken infrastructure is logged once a streak and tried again after 0.1, 0.2 … 5 s. Everything else sets
    `stop` and is raised: `Fatal` ends the process with its sentence, a defect with its traceback.

    Args:
        run_once: one round. It sleeps or blocks by itself, at most about a second; or returns the seconds to
            pause.
        stop: looked at between rounds; a pause ends with it, a round doesn't.
        name: of the role, for logs and the probe.
        health: gets a readiness probe `name` that fails during a streak.
    """
    trouble = _Trouble(name, health)
    while not stop.is_set():
        try:
            pause = await run_once()
        except Exception as error:
            if not is_broken(error):
                stop.set(f"{name}: {error!r}")  # bounds the end of roles that their cancel doesn't reach
                raise
            pause = trouble.pause_after(error)
        else:
            trouble.over()
        _raise_lost_cancel()
        if pause:
            await stop.sleep(pause)
        else:
            await asyncio.sleep(0)  # a round that had nothing to wait for must not starve the others


async def insist(
    action: Callable[[], Awaitable[T]], *, stop: Stop, name: str, health: Health | None = None
) -> T:
    """Call `action` until broken infrastructure no longer stops it, and return its result: for starting up.

    Args:
        action: what must succeed once before the service can work; it may be called many times.
        stop: ends the trying.
        name: of the action, for logs and the probe.
        health: gets a readiness probe `name` that fails until then.

    Raises:
        Stopped: `stop` was set first; `lifecycle.run` takes it for a clean end.
        Exception: whatever isn't broken infrastructure.
    """
    trouble = _Trouble(name, health)
    while not stop.is_set():
        try:
            result = await action()
        except Exception as error:
            if not is_broken(error):
                raise
            _raise_lost_cancel()
            await stop.sleep(trouble.pause_after(error))
        else:
            trouble.over()
            return result
    raise Stopped(f"{name}: {stop.reason}")


def _raise_lost_cancel() -> None:
    """Cancel again what was cancelled and didn't hear of it.

    On Python 3.11 `asyncio.wait_for` swallows a cancel that comes as its future completes, and redis-py sends
    each command through it: a loop of short commands would lose nearly every cancel and go on for ever.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Trouble:
    """A streak of failures: how long to pause, and who is told."""

    def __init__(self, name: str, health: Health | None) -> None:
        self._name = name
        self._log = logs.get("daybook.loop")
        self._failures = 0
        self._since = 0.0
        self._said = ""
        if health is not None:
            health.check(name, lambda: self._said or None)

    def pause_after(self, error: Exception) -> float:
        """Note one more failure; return the seconds to pause."""
        if self._failures == 0:
            self._since = time.monotonic()
        self._say(error)
        self._failures += 1
        return min(FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 16), LONGEST_PAUSE_S)

    def over(self) -> None:
        """Note that all is well."""
        if self._failures:
            outage_s = round(time.monotonic() - self._since, 3)
            self._log.info("recovered", loop=self._name, failures=self._failures, outage_s=outage_s)
        self._failures, self._said = 0, ""

    def _say(self, error: Exception) -> None:
        causes = [f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error)]
        # Words change within one outage (a port, a count); another kind of error is news.
        if self._said.partition(":")[0] != causes[0].partition(":")[0]:
            self._log.warning("infrastructure is broken, trying again", loop=self._name, errors=causes)
        self._said = causes[0]
