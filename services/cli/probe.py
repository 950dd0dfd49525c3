"""Is this container's service well? `daybook probe`, or `python -m services.cli.probe` for engines that ask often.

Asks /livez and /readyz of whatever listens at the ports that the environment names: a container runs one service. Uses
the standard library alone: asked every few seconds of ten containers, loading Daybook would cost more than its work.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATHS = ("/livez", "/readyz")
TIMEOUT_S = (
    2.0  # twice that is under the engine's own, 5 s in deploy/, so that it is we who say what is wrong
)
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what services may be bound to
PORTS = (("DAYBOOK_OPS_PORT", "0"), ("DAYBOOK_PORT", "8080"))  # with settings.py's defaults; 0: nobody knows


def probe(say: Callable[[str], object] = print) -> int:
    """Say how the service is, in a line; return 0 if it lives and can work, else 1."""
    host = _told("DAYBOOK_HOST", "127.0.0.1")
    host = EVERYWHERE.get(host, host)
    for port in _ports():
        try:
            well, sentence = _asked(host, port)
        except ConnectionRefusedError:
            continue
        except (OSError, http.client.HTTPException, ValueError) as error:
            well, sentence = False, f"no answer on port {port}: {error!r}"
        say(sentence)
        return 0 if well else 1
    say(f"nobody listens on {host}, port {' or '.join(map(str, _ports()))}")
    return 1


def _ports() -> list[int]:
    return [int(port) for name, default in PORTS if (port := _told(name, default)) != "0"]


def _told(name: str, default: str) -> str:
    return os.environ.get(name) or default


def _asked(host: str, port: int) -> tuple[bool, str]:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        for path in PATHS:
            connection.request("GET", path)
            answer = connection.getresponse()
            document = json.loads(answer.read())
            if answer.status != http.client.OK:
                return False, f"{path} says {answer.status}: {'; '.join(_wrong(document['checks']))}"
    finally:
        connection.close()
    return True, f"{document.get('service', 'api')} is well"


def _wrong(checks: dict[str, str]) -> Iterator[str]:
    return (f"{name}: {said}" for name, said in checks.items() if said != "ok")


if __name__ == "__main__":
    sys.exit(probe())
