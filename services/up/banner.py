"""What a person is told when everything is up."""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

import httpx

from shared.embedded import DataDir, Endpoints

ASK_EVERY_S = 0.1
STILL_WAITING_S = 20.0


async def healthy(api: str, say: Callable[[str], None]) -> None:
    """Return when `/health` says healthy; while it doesn't, say now and then what is missing."""
    said_s = time.monotonic()
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused; the default one takes half a second to make
    async with httpx.AsyncClient(timeout=5, trust_env=False, verify=plain) as client:
        while (trouble := await _trouble(client, api)) is not None:
            if time.monotonic() - said_s > STILL_WAITING_S:
                said_s = time.monotonic()
                say(f"Still waiting for {api}/health: {trouble}")
            await asyncio.sleep(ASK_EVERY_S)


async def _trouble(client: httpx.AsyncClient, api: str) -> str | None:
    """Return why the system is not healthy, None if it is."""
    try:
        answer = await client.get(f"{api}/health")
    except httpx.HTTPError as error:
        return repr(error)
    return None if answer.status_code == HTTPStatus.OK else answer.text


def banner(endpoints: Endpoints, data_dir: DataDir, others: Mapping[str, str]) -> str:
    """Return the addresses, for people; those with passwords stay in the file.

    Args:
        endpoints: where everything answers.
        data_dir: where everything is kept.
        others: further lines: a word of at most 9 letters, and what it stands for.
    """
    pages = [f"{name} {each.ops}/metrics" for name, each in endpoints.services.items() if each.ops]
    lines = {
        "API": f"{endpoints.api}/api/v1",
        "Docs": f"{endpoints.api}/docs/",
        "Health": f"{endpoints.api}/health",
        "Metrics": "\n              ".join(pages),
        "Data": f"{data_dir.path} (endpoints.json has every address)",
        **others,
    }
    told = "\n".join(f"    {what:<9} {where}" for what, where in lines.items())
    return f"\n  Daybook is up.\n\n{told}\n\n  Ctrl-C ends it: work in hand first, servers last.\n"
