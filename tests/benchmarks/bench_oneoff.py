"""One-off jobs, all due at one instant."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from shared.domain import ids
from shared.domain.schedule import Schedule

from . import story
from .stand import on_a_stand
from .waiting import TooLongError, say, sleep_until, until

if TYPE_CHECKING:
    from pathlib import Path

    from .hand import Hand
    from .sizes import Sizes
    from .stand import Measured, Raw, Stand

JOBS = 10_000
WORK_S = 180


def measure(directory: Path, sizes: Sizes) -> Measured:
    """Make the jobs some seconds before their instant; wait until all have run."""
    return on_a_stand(directory, partial(_measure, sizes=sizes))


async def _measure(stand: Stand, hand: Hand, *, sizes: Sizes) -> Raw:
    count = sizes.count(JOBS)
    lead_s = 4 + 1.5 * await hand.seconds_to_create(count, Schedule())
    at_ms = round((time.time() + lead_s) * 1000)
    say(f"making {count:,} jobs that are due in {lead_s:.0f} s")
    made = await hand.create([Schedule(run_at=ids.from_ms(at_ms))] * count)
    if time.time() * 1000 > at_ms - 1000:
        raise TooLongError("the jobs were made too late: the machine does something else; run it again")
    await sleep_until(at_ms / 1000 - 0.05)
    say("their instant comes")
    with stand.meter.window():
        await sleep_until(at_ms / 1000)
        await until(partial(_none_left, hand), "all have run", timeout_s=WORK_S)
    await stand.end("executor")
    await hand.settle()
    runs = [story.occurrence_run(job.ref.removeprefix("job:"), at_ms) for job in made]
    times = await story.times(hand)
    return {
        **story.columns([times.get(run, story.Times()) for run in runs], base_ms=at_ms),
        "handled": story.handled(runs, stand.notes()),
    }


async def _none_left(hand: Hand) -> bool:
    return await hand.unfinished() == 0
