"""What a process tells about itself: that it lives (`/livez`), can work (`/readyz`), and its `/metrics`."""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from shared import metrics as metrics_
from shared.metrics import Metrics

Probe = Callable[[], str | None]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OK = "ok"
ALLOWED = ("GET", "HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An answer about a process: `checks` maps each probe's name to `ok`, or to what is wrong."""

    checks: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(said == OK for said in self.checks.values())


class Health:
    """The probes of one process.

    *Ready* means it can do its work now: every probe counts. *Live* means that a restart would not help: only
    probes registered with `live=True` count, since restarting a process doesn't mend the Redis it waits for.
    """

    def __init__(self) -> None:
        self._probes: dict[str, Probe] = {}
        self._vital: set[str] = set()

    def check(self, name: str, probe: Probe, *, live: bool = False) -> None:
        """Register `probe`, in place of an earlier one of this name.

        Args:
            name: stands in the answers.
            probe: returns None if all is well, else what is wrong; called on the event loop, so it must not
                block.
            live: a failure means the process should be restarted.
        """
        self._probes[name] = probe
        (self._vital.add if live else self._vital.discard)(name)

    def ready(self) -> Verdict:
        """Ask every probe."""
        return Verdict(checks={name: _ask(probe) for name, probe in self._probes.items()})

    def live(self) -> Verdict:
        """Ask the probes a restart could satisfy. That it answers at all shows that the event loop turns."""
        return Verdict(
            checks={name: _ask(self._probes[name]) for name in self._probes if name in self._vital}
        )


def _ask(probe: Probe) -> str:
    try:
        return probe() or OK
    except Exception as error:  # noqa: BLE001 - a probe that can't tell has told enough
        return f"the probe failed: {error!r}"


def ops_app(name: str, health: Health, metrics: Metrics) -> App:
    """Return the ASGI application that answers `/metrics`, `/livez` and `/readyz` for the service `name`."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "lifespan":
                await _lifespan(receive, send)
            case "http":
                status, kind, body = _answer(scope["method"], scope["path"], name, health, metrics)
                await _send(send, status, kind, body, bare=scope["method"] == "HEAD")
            case "websocket":
                await send({"type": "websocket.close", "code": 1008})

    return app


def _answer(method: str, path: str, name: str, health: Health, metrics: Metrics) -> tuple[int, str, bytes]:
    if method not in ALLOWED:
        return 405, "text/plain", b"GET only\n"
    match path:
        case "/metrics":
            body, kind = metrics_.render(metrics.registry)
            return 200, kind, body
        case "/livez":
            return _tell(name, health.live())
        case "/readyz":
            return _tell(name, health.ready())
        case _:
            return 404, "text/plain", b"There are /metrics, /livez and /readyz\n"


def _tell(name: str, verdict: Verdict) -> tuple[int, str, bytes]:
    document = {"service": name, "status": OK if verdict.ok else "failing", "checks": dict(verdict.checks)}
    return 200 if verdict.ok else 503, "application/json", json.dumps(document).encode()


async def _send(send: Send, status: int, kind: str, body: bytes, *, bare: bool) -> None:
    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if bare else body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
