"""One service as a child process, started again whenever it dies."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared import logs
from shared.lifecycle import Fatal

from .restarts import DEATHS, WITHIN_S, Restarts


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a child runs. `fds` are descriptors it inherits."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    fds: tuple[int, ...] = ()


class Child:
    """A program that is kept running until `end`. Use it from the main thread's loop only.

    It shares our session but leads a process group of its own, so a Ctrl-C in the terminal reaches us alone.
    """

    def __init__(self, program: Program) -> None:
        self.name = program.name
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._proven = False
        self._log = logs.get("daybook.up")

    @property
    def pid(self) -> int | None:
        """The pid of the living process, if there is one."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    def prove(self) -> None:
        """Say that the system has worked: from now on deaths are the weather, not a wrong start."""
        self._proven = True

    async def keep(self) -> None:
        """Start it, and again each time it ends, until cancelled.

        Raises:
            Fatal: Not yet proven, it ended five times in ten seconds.
        """
        restarts = Restarts()
        while True:
            born_s = time.monotonic()
            process = await self._start()
            status = await process.wait()
            died_s = time.monotonic()
            delay_s = restarts.delay_after(died_s, died_s - born_s)
            if restarts.is_backing_off and not self._proven:
                raise Fatal(self._hopeless(status))
            self._log.warning("service died", name=self.name, pid=process.pid, status=status, pause_s=delay_s)
            await asyncio.sleep(delay_s)

    async def run_once(self) -> int:
        """Run it to its end and return its exit status."""
        process = await self._start()
        return await process.wait()

    async def end(self, patience_s: float, hurry: asyncio.Event) -> None:
        """SIGTERM; SIGKILL to its whole group when patience ends or `hurry` is set. `keep` must be over."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        if await _ends(process, patience_s, hurry):
            return
        self._log.warning("service killed", name=self.name, pid=process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        program = self._program
        # asyncio forks in this thread, the main one: the child's tie to its parent's life is one to a thread.
        self._process = await asyncio.create_subprocess_exec(
            *program.argv,
            env=dict(program.environment),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=program.fds,
            process_group=0,
        )
        return self._process

    def _hopeless(self, status: int) -> str:
        return (
            f"The {self.name} ended {DEATHS} times within {WITHIN_S:.0f} s of the start, last with status "
            f"{status}: what it said stands above."
        )


async def _ends(process: asyncio.subprocess.Process, patience_s: float, hurry: asyncio.Event) -> bool:
    """Wait for the end of a process; return False if patience or peace ended first."""
    ended, hurried = asyncio.ensure_future(process.wait()), asyncio.ensure_future(hurry.wait())
    try:
        await asyncio.wait({ended, hurried}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
        return ended.done()
    finally:
        ended.cancel()
        hurried.cancel()
