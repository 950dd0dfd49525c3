"""From a trigger over REST to its handler, at an even rate that doesn't wait for answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from shared.domain.schedule import Schedule

from . import story
from .raw_http import BadAnswerError, Connection, request
from .stand import on_a_stand
from .waiting import say, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from .hand import Hand
    from .plugin import Note
    from .sizes import Sizes
    from .stand import Measured, Raw, Stand

RATE = 200  # a second
WINDOW_S = 15.0
WARM_UP = 200  # triggers before the window, a second's worth
CONNECTIONS = 32  # more are opened when all are busy
JOBS = 20
LEAD_S = 0.2
WORK_S = 60
CREATED, BROKEN = 201, 0


@dataclass(slots=True, kw_only=True)
class Shot:
    """One trigger: when it was to be sent and was (Unix µs), how long its answer took, and the answer."""

    planned_us: int
    sent_us: int = 0
    took_us: int = 0
    status: int = BROKEN
    run_id: str = ""


class Gun:
    """Sends triggers at planned times, each on a connection that is free then."""

    def __init__(self, port: int, paths: Sequence[str]) -> None:
        self._port = port
        self._paths = paths
        self._free: deque[Connection] = (
            deque()
        )  # taken in turn, so that none idles until the server closes it

    async def open(self) -> None:
        self._free.extend([await Connection.to(self._port) for _ in range(CONNECTIONS)])

    async def fire_all(self, count: int) -> list[Shot]:
        """Send `count` triggers, RATE a second, and return when all are answered."""
        first_us = round((time.time() + LEAD_S) * 1e6)
        shots = [Shot(planned_us=first_us + number * 1_000_000 // RATE) for number in range(count)]
        async with asyncio.TaskGroup() as group:
            for number, shot in enumerate(shots):
                await asyncio.sleep(max(0.0, shot.planned_us / 1e6 - time.time()))
                group.create_task(self._fire(shot, self._paths[number % len(self._paths)]))
        return shots

    def close(self) -> None:
        for connection in self._free:
            connection.close()

    async def _fire(self, shot: Shot, path: str) -> None:
        connection = await self._connection()
        sent_ns = time.monotonic_ns()
        shot.sent_us = time.time_ns() // 1000
        try:
            shot.status, body = await connection.send(request("POST", path))
        except (OSError, BadAnswerError, TimeoutError):
            connection.close()
            return
        shot.took_us = (time.monotonic_ns() - sent_ns) // 1000
        shot.run_id = json.loads(body)["id"] if shot.status in {200, 201, 202} else ""
        self._free.append(connection)

    async def _connection(self) -> Connection:
        while self._free:
            connection = self._free.popleft()
            if not connection.is_closed:
                return connection
        return await Connection.to(self._port)


def measure(directory: Path, sizes: Sizes) -> Measured:
    """Trigger jobs at RATE for a while, after a warm-up of a second."""
    return on_a_stand(directory, partial(_measure, sizes=sizes))


async def _measure(stand: Stand, hand: Hand, *, sizes: Sizes) -> Raw:
    jobs = await hand.create([Schedule()] * JOBS, overlap="allow")
    await hand.settle()
    paths = [f"/api/v1/jobs/{job.ref.removeprefix('job:')}/trigger" for job in jobs]
    count = round(sizes.seconds(WINDOW_S) * RATE)
    say(f"triggering {count:,} runs, {RATE} a second")
    gun = Gun(stand.port, paths)
    await gun.open()
    await gun.fire_all(WARM_UP)
    with stand.meter.window():
        shots = await gun.fire_all(count)
    gun.close()
    await until(partial(_none_left, hand), "all runs have ended", timeout_s=WORK_S)
    await stand.end("executor")
    await hand.settle()
    return _columns(shots, await story.times(hand), stand.notes())


async def _none_left(hand: Hand) -> bool:
    return await hand.unfinished() == 0


def _columns(shots: Sequence[Shot], times: dict[str, story.Times], notes: list[Note]) -> Raw:
    base_ms = shots[0].planned_us // 1000
    runs = [shot.run_id for shot in shots]
    began: dict[str, int] = {}
    for note in notes:
        began.setdefault(note.run_id, note.began_us)
    return {
        **story.columns([times.get(run, story.Times()) for run in runs], base_ms=base_ms),
        "handled": story.handled(runs, notes),
        "began_us": [began[run] - base_ms * 1000 if run in began else None for run in runs],
        "planned_us": [shot.planned_us - base_ms * 1000 for shot in shots],
        "sent_us": [shot.sent_us - base_ms * 1000 for shot in shots],
        "took_us": [shot.took_us for shot in shots],
        "status": [shot.status for shot in shots],
    }
