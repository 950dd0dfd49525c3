"""The whole system on one machine: started, watched, ended."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from shared.embedded import DataDir, DirectoryBusyError, Endpoints, ServerError
from shared.faults import Fatal, leaves
from shared.lifecycle import bound_socket
from shared.settings import Settings

from .banner import banner, healthy
from .beside import Beside
from .child import Child
from .orphans import end_orphans
from .roster import Roster
from .servers import Servers
from .surroundings import Surroundings, daybook_command

T = TypeVar("T")
EXPLAINED = (Fatal, ServerError, DirectoryBusyError, OSError)  # the message says what a person can do
CHILD_CLOSE_S = 10.0  # > what a child may take after its drain: lifecycle.HAND_BACK_S + CLOSE_S
REPORT_S = 5.0  # for the last service to tell its port when the system is healthy already
LAST = "projector"  # ends after the others, so that the archive has what they wrote while they drained


class _Stopping(Exception):  # noqa: N818 (no error: somebody wants the end)
    """A signal came before all was up."""


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads any more: no reason to stop working
        print(text, flush=True)  # noqa: T201 (the banner is for people, not for the log)


class Up:
    """Everything `daybook up` starts.

    Args:
        settings: servers are started for the addresses they don't give.
        command: how `daybook` is called; a service's name is put behind it.
        say: takes what a person should read.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        command: Sequence[str] | None = None,
        say: Callable[[str], None] = _tell,
    ) -> None:
        self._settings = settings
        self._command = daybook_command() if command is None else command
        self._say = say
        self._data_dir = DataDir(settings.data_dir)
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()

    def run(self) -> int:
        """Run until SIGINT, SIGTERM or SIGHUP. Call it in the main thread.

        Returns:
            The exit status: 0 after a signal; 1, with a sentence on stderr, if it can't start or go on.
        """
        try:
            with self._data_dir.locked():
                end_orphans(self._data_dir)
                asyncio.run(self._live())
        except Exception as error:
            reasons = list(leaves(error))
            if not all(isinstance(reason, EXPLAINED) for reason in reasons):
                raise
            sys.stderr.writelines(f"daybook up: {reason}\n" for reason in reasons)
            return 1
        return 0

    async def _live(self) -> None:
        self._listen_to_signals()
        servers = Servers(self._settings, self._data_dir)
        with contextlib.suppress(_Stopping), _api_socket(self._settings) as api:
            try:
                beside = Beside(self._settings, self._data_dir)
                await self._unless_stopping(_together(servers.start(), beside.start()))
                surroundings = self._surroundings(servers, beside, api)
                await _together(self._migrate(surroundings), self._unless_stopping(beside.fill(servers)))
                await self._serve(surroundings, servers, beside, api)
            finally:
                await beside.stop()
                await servers.stop()

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup wants it
            loop.add_signal_handler(signal.SIGHUP, self._on_signal)

    def _on_signal(self) -> None:
        """The first signal begins the end, the second makes it quick."""
        if self._stop.is_set():
            self._hurry.set()
            return
        self._say("\nStopping: work in hand first. Once more stops it at once.")
        self._stop.set()

    def _surroundings(self, servers: Servers, beside: Beside, api: socket.socket) -> Surroundings:
        return Surroundings(
            self._settings,
            self._data_dir,
            redis_url=servers.redis_url,
            database_url=servers.database_url,
            api=api,
            command=self._command,
            beside=beside.variables(servers),
        )

    async def _migrate(self, surroundings: Surroundings) -> None:
        child = Child(surroundings.migration())
        try:
            status = await self._unless_stopping(child.run_once())
        finally:
            await child.end(CHILD_CLOSE_S, self._hurry)
        if status != 0:
            raise Fatal(f"The schema was not brought up to date (status {status}): the reason stands above.")

    async def _serve(
        self, surroundings: Surroundings, servers: Servers, beside: Beside, api: socket.socket
    ) -> None:
        """Run the services until a signal, then end them; a wrong start ends them as well."""
        children = [Child(program) for program in surroundings.services()]
        addresses = Endpoints(
            pid=os.getpid(),
            api=_url(self._settings.host, api),
            redis=servers.redis_url,
            postgres=servers.database_url,
        )
        roster = Roster(self._data_dir, addresses, children)
        lives = [child.keep() for child in children]
        try:
            async with asyncio.TaskGroup() as group:
                others = (servers.keep(), roster.keep(), self._announce(roster, children, beside.lines()))
                tasks = [group.create_task(each) for each in (*lives, *others)]
                await self._stop.wait()
                for task in tasks:
                    task.cancel()
        finally:
            await self._end(children)

    async def _announce(self, roster: Roster, children: Sequence[Child], others: Mapping[str, str]) -> None:
        await healthy(roster.endpoints().api, self._say)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPORT_S):
                await roster.complete.wait()
        for child in children:
            child.prove()
        self._say(banner(roster.endpoints(), self._data_dir, others))

    async def _end(self, children: Sequence[Child]) -> None:
        """End the services, the projector after the others."""
        patience_s = self._settings.drain_seconds + CHILD_CLOSE_S
        for last in (False, True):
            wave = [child for child in children if (child.name == LAST) is last]
            await asyncio.gather(*(child.end(patience_s, self._hurry) for child in wave))
        self._data_dir.remove_endpoints()

    async def _unless_stopping(self, work: Awaitable[T]) -> T:
        """Wait for `work`; break it off with `_Stopping` when a signal comes."""
        task, stop = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise _Stopping
            return task.result()
        finally:
            task.cancel()
            stop.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)


async def _together(*work: Awaitable[object]) -> None:
    """Wait for all; when one fails the others are cancelled, and have ended."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _api_socket(settings: Settings) -> socket.socket:
    """Return the socket all API processes will share.

    Raises:
        Fatal: The port is not to be had.
    """
    try:
        return bound_socket(settings.host, settings.port)
    except Fatal as error:
        raise Fatal(f"{error} It is set by --port or DAYBOOK_PORT.") from error


def _url(host: str, api: socket.socket) -> str:
    """Return the address under which this machine itself reaches the API."""
    nearest = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 (told apart, not bound)
    port = api.getsockname()[1]
    return f"http://[{nearest}]:{port}" if ":" in nearest else f"http://{nearest}:{port}"
