"""A few connections to the mail server, kept open between mails; one pool an executor.

A connection that the server has closed meanwhile is replaced, and the run that met it does not notice: as long as
nothing of its mail was taken. One that nobody has used for IDLE_S is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from services.executor.mail_session import (
    MailDeferred,
    MailRefused,
    MailServerUnreachable,
    MailServerUntrusted,
    Session,
    Times,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.job_types.mail_server import MailServer

OPEN_MAX = 8  # connections; further mails wait: few servers take many more from one client
IDLE_MAX = 4
IDLE_S = 10.0
MAILS_MAX = 100  # over one connection; servers have limits of their own
HOST_NAME_S = 3.0


class MailPool:
    """Connections to one server, in one event loop.

    Args:
        server: whose.
        times: of the steps of a session.
        idle_s: how long a connection is kept without a use.
    """

    def __init__(self, server: MailServer, *, times: Times | None = None, idle_s: float = IDLE_S) -> None:
        self._server = server
        self._times = times or Times()
        self._idle_s = idle_s
        self._idle: list[tuple[float, Session]] = []  # since when, oldest first
        self._slots = asyncio.Semaphore(OPEN_MAX)
        self._making = asyncio.Lock()
        self._trust: ssl.SSLContext | None = None
        self._host_name = ""
        self._quitting: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def hand_in(
        self,
        sender: str,
        recipients: Sequence[str],
        content: bytes,
        progress: Callable[[float, str], None] = lambda _ratio, _said: None,
    ) -> dict[str, str]:
        """Hand in one mail; see `Session.hand_in`."""
        async with self._slots:
            while True:
                session = await self._session()
                is_fresh = session.mails == 0
                try:
                    return await session.hand_in(sender, recipients, content, progress)
                except MailServerUnreachable as error:
                    if is_fresh or not error.before_data:
                        raise
                finally:
                    self._keep(session)

    async def close(self) -> None:
        """Close what is open and idle."""
        if self._sweep is not None:
            self._sweep.cancel()
        for _, session in self._idle:
            self._quit(session)
        self._idle.clear()
        if self._quitting:
            await asyncio.wait(self._quitting)

    async def _session(self) -> Session:
        while self._idle:
            _, session = self._idle.pop()
            if session.is_open:
                return session
        await self._prepare()
        session = Session(self._server, self._trust, times=self._times, host_name=self._host_name)
        await session.open()
        return session

    async def _prepare(self) -> None:
        """Once: reading all authorities and asking for our own name take a while, so in threads."""
        async with self._making:
            if self._trust is None and self._server.security != "off":
                self._trust = await asyncio.to_thread(_trust, self._server)
            if not self._host_name:
                self._host_name = await _host_name()

    def _keep(self, session: Session) -> None:
        if not session.is_open:
            return
        if session.mails >= MAILS_MAX or len(self._idle) >= IDLE_MAX:
            self._quit(session)
            return
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time(), session))
        if self._sweep is None:
            self._sweep = loop.call_later(self._idle_s, self._drop_idle)

    def _drop_idle(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = None
        while (
            self._idle and self._idle[0][0] + self._idle_s <= loop.time() + 0.01
        ):  # the timer's own precision
            self._quit(self._idle.pop(0)[1])
        if self._idle:
            self._sweep = loop.call_at(self._idle[0][0] + self._idle_s, self._drop_idle)

    def _quit(self, session: Session) -> None:
        task = asyncio.create_task(session.quit(), name="mail quit")
        self._quitting.add(task)
        task.add_done_callback(self._quitting.discard)


def _trust(server: MailServer) -> ssl.SSLContext:
    """Whom to believe.

    Raises:
        MailServerUntrusted: the file of authorities can't be read.
    """
    try:
        return ssl.create_default_context(cafile=server.ca_file)
    except OSError as error:
        raise MailServerUntrusted(f"ca_file of DAYBOOK_SMTP_URL: {error}") from error


async def _host_name() -> str:
    """What we call ourselves in EHLO: this machine's name in the DNS, if that is quick to tell."""
    name = ""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HOST_NAME_S):
            name = await asyncio.to_thread(socket.getfqdn)
    name = name or socket.gethostname()
    return name if name and name.isascii() and name.isprintable() and " " not in name else "localhost"


_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[MailServer, MailPool]] = WeakKeyDictionary()


def pool_of(server: MailServer) -> MailPool:
    """The pool of the running loop; handlers are functions, and have no other place for what their calls share."""
    pools = _pools.setdefault(asyncio.get_running_loop(), {})
    if server not in pools:
        pools[server] = MailPool(server)
    return pools[server]


async def close_pools() -> None:
    """Close those of the running loop."""
    for pool in _pools.pop(asyncio.get_running_loop(), {}).values():
        await pool.close()


__all__ = [
    "MailDeferred",
    "MailPool",
    "MailRefused",
    "MailServerUnreachable",
    "MailServerUntrusted",
    "Times",
    "close_pools",
    "pool_of",
]
