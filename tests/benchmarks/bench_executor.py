"""One executor and a heap of triggered runs that do nothing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from shared.domain.schedule import Schedule

from . import story
from .hand import in_flight
from .levels import Levels
from .stand import on_a_stand
from .waiting import say, until

if TYPE_CHECKING:
    from pathlib import Path

    from .hand import Hand
    from .sizes import Sizes
    from .stand import Measured, Raw, Stand

RUNS = 20_000
JOBS = 20
EVENTS_A_RUN = 2  # once it is requested: RunStarted, RunSucceeded
WORK_S = 300


def measure(directory: Path, sizes: Sizes) -> Measured:
    """Request all runs while no executor is there, then start one."""
    return on_a_stand(directory, partial(_measure, sizes=sizes))


async def _measure(stand: Stand, hand: Hand, *, sizes: Sizes) -> Raw:
    await stand.end("executor")
    count = sizes.count(RUNS)
    say(f"requesting {count:,} runs of {JOBS} jobs")
    jobs = await hand.create([Schedule()] * JOBS, overlap="allow")
    requested = await in_flight(hand.trigger(jobs[n % JOBS]) for n in range(count))
    levels = Levels(hand, await hand.settle())
    say("starting the executor")
    with stand.meter.window():
        stand.spawn("executor")
        await until(
            partial(levels.reached, events=count * EVENTS_A_RUN), "all runs have ended", timeout_s=WORK_S
        )
    await stand.end("executor")
    runs = [each.changes[0].subject.removeprefix("run:") for each in requested]
    times = await story.times(hand)
    return {
        **story.columns([times.get(run, story.Times()) for run in runs], base_ms=levels.base_ms),
        "handled": story.handled(runs, stand.notes()),
        "levels": levels.rows(),
    }
