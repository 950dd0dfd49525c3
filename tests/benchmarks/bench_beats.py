"""What it costs an executor to keep the leases of many running runs: its CPU while all their handlers sleep."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from shared.domain.schedule import Schedule

from . import story
from .hand import in_flight
from .stand import on_a_stand
from .waiting import say, sleep_until, until

if TYPE_CHECKING:
    from pathlib import Path

    from .hand import Hand
    from .sizes import Sizes
    from .stand import Measured, Raw, Stand

RUNS = 10_000
JOBS = 20
WINDOW_S = 15  # a lease: three rounds that extend, the others only look
LASTS_S = 20  # beyond the window, for the slowest start
START_S = 60
SLEEPS = "custom"


def measure(directory: Path, sizes: Sizes) -> Measured:
    """Have one executor run all of them at once, and look at it while nothing else happens."""
    settings = {"DAYBOOK_CONCURRENCY": str(sizes.count(RUNS)), "DAYBOOK_DRAIN_SECONDS": "1"}
    return on_a_stand(directory, partial(_measure, sizes=sizes), settings=settings)


async def _measure(stand: Stand, hand: Hand, *, sizes: Sizes) -> Raw:
    count, window_s = sizes.count(RUNS), sizes.seconds(WINDOW_S, least=3)
    say(f"starting {count:,} runs that sleep")
    lasts_s = window_s + sizes.seconds(LASTS_S, least=5)
    data = {"operation": "sleep", "parameters": {"seconds": lasts_s}}
    jobs = await hand.create([Schedule()] * JOBS, overlap="allow", job_type=SLEEPS, job_data=data)
    await in_flight(hand.trigger(jobs[number % JOBS]) for number in range(count))

    async def all_run() -> bool:
        return await story.counted(hand, "RunStarted") == count

    await until(all_run, "all handlers sleep", timeout_s=START_S)
    say(f"looking for {window_s:g} s")
    with stand.meter.window():
        await sleep_until(time.time() + window_s)
    ended = await story.counted(hand, "RunSucceeded")
    spent = stand.meter.spent
    assert spent is not None
    return {
        "runs": count,
        "ended": ended,
        "lost": await story.counted(hand, "RunLost"),
        "window_us": spent.window_us,
        "executor_ticks": spent.after["executor"] - spent.before["executor"],
        "ticks_per_second": spent.row()["ticks_per_second"],
    }
