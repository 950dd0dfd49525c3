"""One ASGI application on one socket of our own, served by Hypercorn inside the running event loop."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from typing import TYPE_CHECKING, Any

from shared.faults import Fatal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config

BACKLOG = (
    1024  # connections that may wait while the loop is busy for a moment; the kernel caps it at somaxconn
)

CLOSE_S = 1.0  # for closing connections and the application's lifespan, once requests have ended


def bound_socket(host: str, port: int) -> socket.socket:
    """Return a listening socket: from now on clients connect, and wait until `serve` answers.

    Args:
        host: an address or a name; `::` and `0.0.0.0` mean all interfaces.
        port: 0 for a free one; `getsockname()[1]` of the result is the real one.

    Raises:
        Fatal: the port is taken, may not be used, or the host isn't ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Fatal(_why_not(host, port, error)) from error


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is already in use: stop what listens there, or choose another port."
    return f"Can't listen on {host} port {port}: {error.strerror or error}."


async def serve(
    app: Any,
    sock: socket.socket,
    *,
    until: Callable[[], Awaitable[object]],
    grace_s: float = 3.0,
    idle_s: float = 5.0,
) -> None:
    """Serve `app` on `sock` until `until()` returns, then let requests in flight end.

    Takes the socket over and closes it. There is no access log: what a request did is said by the
    application.

    Args:
        app: an ASGI application (a Quart app is one).
        sock: from `bound_socket`.
        until: its return ends the service; `Stop.wait` fits.
        grace_s: how long requests in flight may take to end once `until` has returned; then they are
            cancelled.
        idle_s: how long a connection may be without a request: from its begin or the last answer until the
            next request's head is complete, however slowly that comes.
    """
    import hypercorn.asyncio  # noqa: PLC0415 - commands that serve nothing start sooner without it

    closing = asyncio.Event()
    # In a task of its own, which is asked to end and not cancelled: a cancel that comes while Hypercorn is in
    # `asyncio.wait_for` may be lost on Python 3.11, and then it would serve for ever.
    server = asyncio.create_task(
        hypercorn.asyncio.serve(
            app, _config(sock, grace_s, idle_s), shutdown_trigger=closing.wait, mode="asgi"
        ),
        name="hypercorn",
    )
    ending = asyncio.create_task(_awaited(until()), name="hypercorn:until")
    try:
        await asyncio.wait([server, ending], return_when=asyncio.FIRST_COMPLETED)
    finally:
        ending.cancel()
        closing.set()
        await asyncio.wait([server], timeout=grace_s + CLOSE_S)
    if not server.cancel():  # it has ended, perhaps with an error
        await server


async def _awaited(what: Awaitable[object]) -> None:
    await what


def _config(sock: socket.socket, grace_s: float, idle_s: float) -> Config:
    from hypercorn.config import Config  # noqa: PLC0415

    config = Config()
    # Hypercorn makes a second socket object of the descriptor; two owners would close it twice.
    config.bind = [f"fd://{sock.detach()}"]
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")  # a logger, so that Hypercorn adds no handler
    config.backlog = BACKLOG
    config.graceful_timeout = grace_s
    config.keep_alive_timeout = idle_s
    config.include_server_header = False
    return config
