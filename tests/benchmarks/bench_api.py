"""Creating jobs over REST, each acknowledged when the archive has it."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING

from .plugin import JOB_TYPE
from .raw_http import BadAnswerError, Connection, request
from .stand import on_a_stand
from .waiting import say

if TYPE_CHECKING:
    from pathlib import Path

    from .hand import Hand
    from .sizes import Sizes
    from .stand import Measured, Raw, Stand

CONNECTIONS = 32
WARM_UP_S = 2.0
WINDOW_S = 15.0
NEVER = "0 3 1 1 *"  # once a year: none of these jobs runs meanwhile
CREATED, ACCEPTED, BROKEN = 201, 202, 0


class _Rows:
    """What each request came to; times in µs after the first one was sent."""

    def __init__(self) -> None:
        self.began_ns = time.monotonic_ns()
        self.sent_us: list[int] = []
        self.took_us: list[int] = []
        self.status: list[int] = []

    def add(self, sent_ns: int, status: int) -> None:
        self.sent_us.append((sent_ns - self.began_ns) // 1000)
        self.took_us.append((time.monotonic_ns() - sent_ns) // 1000)
        self.status.append(status)


def measure(directory: Path, sizes: Sizes) -> Measured:
    """Post jobs on CONNECTIONS kept connections for a while, after a warm-up."""
    return on_a_stand(directory, partial(_measure, sizes=sizes))


async def _measure(stand: Stand, hand: Hand, *, sizes: Sizes) -> Raw:
    warm_up_s, window_s = sizes.seconds(WARM_UP_S, least=0.5), sizes.seconds(WINDOW_S)
    say(f"posting jobs for {warm_up_s:g} + {window_s:g} s on {CONNECTIONS} connections")
    rows = _Rows()
    async with asyncio.TaskGroup() as group:
        end_s = time.monotonic() + warm_up_s + window_s
        for number in range(CONNECTIONS):
            group.create_task(_post_until(end_s, stand.port, f"c{number}", rows))
        await asyncio.sleep(warm_up_s)
        with stand.meter.window():
            await asyncio.sleep(window_s)
    say("waiting for the projector")
    await hand.settle()
    return {
        "warm_up_us": round(warm_up_s * 1e6),
        "window_us": round(window_s * 1e6),
        "sent_us": rows.sent_us,
        "took_us": rows.took_us,
        "status": rows.status,
        "archived": await hand.pool.fetchval("select count(*) from ledger.jobs"),
    }


async def _post_until(end_s: float, port: int, name: str, rows: _Rows) -> None:
    connection = await Connection.to(port)
    number = 0
    while time.monotonic() < end_s:
        if connection.is_closed:  # the server closes each after a number of requests
            connection = await Connection.to(port)
        number += 1
        message = request("POST", "/api/v1/jobs", _body(f"{name} {number}"))
        sent_ns = time.monotonic_ns()
        try:
            rows.add(sent_ns, (await connection.send(message)).status)
        except (OSError, BadAnswerError, TimeoutError):
            rows.add(sent_ns, BROKEN)
            connection.close()
    connection.close()


def _body(name: str) -> bytes:
    return json.dumps({"name": name, "job_type": JOB_TYPE, "cron_expression": NEVER}).encode()
