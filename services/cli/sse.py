"""Server-sent events (WHATWG HTML §9.2), followed over broken connections: each goes on after the last event's id."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse

from services.cli.client import BASE
from services.cli.failures import UNREACHABLE, Failed, refused
from services.cli.show import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.cli.client import Client

SILENCE_S = 45.0  # three heartbeats of 15 s
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 10.0
TRIES = 8  # without an event between: about half a minute
RESET = "reset"
_WRONG = 400
_BUSY = frozenset({429, 503})


def follow(
    client: Client, path: str, parameters: Mapping[str, Any], *, after: str | None = None
) -> Iterator[httpx_sse.ServerSentEvent]:
    """Events as they happen, for ever.

    A `reset` says that the server has cut this reader off: it connects again after the last id.

    Args:
        client: of the API.
        path: of the stream, below /api/v1.
        parameters: of its query.
        after: the id after which to begin; None: now.

    Raises:
        Failed: the API refuses, or can't be reached for long.
    """
    fails, wait_s = 0, FIRST_WAIT_S
    while True:
        try:
            for event in _connection(client, path, parameters, after):
                after = event.id or after
                if event.retry is not None:
                    wait_s = min(event.retry / 1000, LONGEST_WAIT_S)
                if event.event == RESET:
                    say("The server has cut us off; going on after the last event.", colour="yellow")
                    break
                if not event.data:  # says where the stream begins; no event by the standard
                    continue
                fails = 0
                yield event
        except (httpx.TransportError, httpx_sse.SSEError, _Busy) as error:
            if fails + 1 >= TRIES:
                raise Failed(f"{client.url} can't be followed: {error}.", UNREACHABLE) from None
        fails += 1
        if fails >= TRIES:
            raise Failed(f"{client.url} ends the stream each time before the next event.", UNREACHABLE)
        time.sleep(min(wait_s * 2 ** (fails - 1), LONGEST_WAIT_S))


class _Busy(Exception):  # noqa: N818 - said to whoever waits
    """It doesn't answer now."""


def _connection(
    client: Client, path: str, parameters: Mapping[str, Any], after: str | None
) -> Iterator[httpx_sse.ServerSentEvent]:
    headers = {"Last-Event-ID": after} if after else {}
    with httpx_sse.connect_sse(
        client.http, "GET", BASE + path, params=parameters, headers=headers, timeout=SILENCE_S
    ) as source:
        response = source.response
        if response.status_code >= _WRONG:
            response.read()
            problem = refused(response)
            if response.status_code in _BUSY:
                raise _Busy(problem.format_message())
            raise problem
        yield from source.iter_sse()
