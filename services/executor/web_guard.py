"""Connections to the web that lead where they may, whatever a URL says and a resolver answers.

A name is looked up, each address it has is judged, and the connection goes to an address that was judged. Nobody looks
the name up again, so a resolver that changes its answer leads nowhere. Host, SNI and certificate stay the name's: the
layers above never learn the address.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import httpcore

from shared import logs
from shared.handlers import GiveUp
from shared.job_types.web_address import Address, Network, reachable

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

CONNECT_S = 10.0  # to one address, or to TLS at it: the next may be quicker
TRIED_MAX = 4  # addresses of a name
LOOKUPS_MAX = (
    128  # threads of this process that wait for a resolver: more than an executor has slots by default
)
LOOK_AGAIN_S = 0.02  # for a free one

Resolve = Callable[[str], Awaitable[Sequence[Address]]]
_lookups = threading.BoundedSemaphore(LOOKUPS_MAX)


class NotPublic(GiveUp):
    """The host is, or has, an address that is not public and in none of DAYBOOK_HTTP_NETWORKS."""


class NameNotFound(ConnectionError):  # noqa: N818 - likewise
    """The host's name has no address, or its name server does not answer."""


class Guard(httpcore.AsyncNetworkBackend):
    """Opens connections for httpcore, to public addresses and the operator's networks only.

    Args:
        networks: what may be reached though it isn't public.
        resolve: the addresses of a name.
    """

    def __init__(self, networks: Collection[Network], resolve: Resolve) -> None:
        self._networks = networks
        self._resolve = resolve
        self._wire = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the base class's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of the host's addresses that answers.

        Raises:
            NotPublic: see there; nothing was sent to anybody.
            NameNotFound: see there.
            httpcore.ConnectError: none answers; likewise ConnectTimeout.
        """
        patience_s = CONNECT_S if timeout is None else min(timeout, CONNECT_S)
        *others, last = (await self._judged(host))[:TRIED_MAX]
        for address in others:
            with contextlib.suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._wire.connect_tcp(
                    str(address), port, patience_s, local_address, socket_options
                )
        return await self._wire.connect_tcp(str(last), port, patience_s, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109, ARG002 - the base class's signature
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002 - the same
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no URL leads to a socket of this machine."""
        raise NotPublic(f"{path} is a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        """Wait, for httpcore."""
        await asyncio.sleep(seconds)

    async def _judged(self, host: str) -> Sequence[Address]:
        """The host's addresses. One that is not public spoils all: nobody who means well has both."""
        found = _literal(host) or list(dict.fromkeys(await self._resolve(host)))
        if not found:
            raise NameNotFound(f"{host} has no address")
        inward = [address for address in found if not reachable(address, self._networks)]
        if inward:
            logs.get("daybook.executor").warning("address refused", host=host, address=str(inward[0]))
            raise NotPublic(
                f"{host} leads to an address that is not public; the operator allows networks by "
                "DAYBOOK_HTTP_NETWORKS"
            )
        return found


async def look_up(name: str) -> Sequence[Address]:
    """The addresses of `name`, as this machine's resolver has them.

    In a thread of its own that nobody waits for at the end: a name server that is silent must hold up neither other
    lookups, nor the process.

    Raises:
        NameNotFound: see there.
    """
    loop = asyncio.get_running_loop()
    found: Future[list[Address]] = loop.create_future()
    while not _lookups.acquire(blocking=False):  # noqa: ASYNC110 - threads of all loops share it
        await asyncio.sleep(LOOK_AGAIN_S)
    try:
        threading.Thread(
            target=_look_up, args=(name, loop, found), name=f"look up {name}", daemon=True
        ).start()
    except RuntimeError as error:  # no thread is to be had
        _lookups.release()
        raise NameNotFound(f"{name} can't be looked up: {error}") from None
    return await found


def _look_up(name: str, loop: AbstractEventLoop, found: Future[list[Address]]) -> None:
    try:
        answer = _addresses(name)
    finally:
        _lookups.release()
    with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
        loop.call_soon_threadsafe(_tell, found, answer)


def _addresses(name: str) -> list[Address] | NameNotFound:
    try:
        rows = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return NameNotFound(f"{name} was not found: {getattr(error, 'strerror', None) or error}")
    return [ip_address(row[4][0]) for row in rows]


def _tell(found: Future[list[Address]], answer: list[Address] | NameNotFound) -> None:
    if found.done():  # cancelled
        return
    if isinstance(answer, NameNotFound):
        found.set_exception(answer)
    else:
        found.set_result(answer)


def _literal(host: str) -> Sequence[Address]:
    try:
        return [ip_address(host)]
    except ValueError:
        return []
