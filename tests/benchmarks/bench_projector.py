"""A projector that starts behind a long log."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from shared.domain.commands import StartRun, SucceedRun
from shared.domain.schedule import Schedule
from shared.eventlog.unit import Done

from .hand import in_flight
from .levels import Levels
from .stand import on_a_stand
from .waiting import say, until

if TYPE_CHECKING:
    from pathlib import Path

    from shared.eventlog.decider import Decided

    from .hand import Hand
    from .sizes import Sizes
    from .stand import Measured, Raw, Stand

EVENTS = 200_000
EVENTS_A_RUN = 3  # RunRequested, RunStarted, RunSucceeded
JOBS = 20
WORK_S = 300
TELL_EVERY = 20_000


def measure(directory: Path, sizes: Sizes) -> Measured:
    """Write the events while no projector is there, then start one."""
    return on_a_stand(directory, partial(_measure, sizes=sizes))


async def _measure(stand: Stand, hand: Hand, *, sizes: Sizes) -> Raw:
    jobs = await hand.create([Schedule()] * JOBS, overlap="allow")
    await stand.end("executor")
    await hand.settle()
    await stand.end("projector")
    runs = round(sizes.count(EVENTS, least=600) / EVENTS_A_RUN)
    say(f"writing {runs * EVENTS_A_RUN:,} events without a projector")
    levels = Levels(hand, await hand.level())
    for first in range(0, runs, TELL_EVERY):
        await in_flight(_run(hand, jobs[n % JOBS]) for n in range(first, min(first + TELL_EVERY, runs)))
        say(f"  {min(first + TELL_EVERY, runs) * EVENTS_A_RUN:,}")
    written = await hand.level()
    say("starting the projector")
    with stand.meter.window():
        stand.spawn("projector")
        await until(
            partial(levels.reached, events=runs * EVENTS_A_RUN), "the projector is level", timeout_s=WORK_S
        )
    archived = await hand.pool.fetchval("select count(*) from ledger.runs where status = 'succeeded'")
    return {
        "runs": runs,
        "archived_runs": archived,
        "events": runs * EVENTS_A_RUN,
        "spawned_us": written.at_us - levels.base_ms * 1000,
        "levels": levels.rows(),
    }


async def _run(hand: Hand, job: Decided) -> Decided:
    """All the life of a run, as timer and executor would write it."""
    requested = await hand.trigger(job)
    ref = requested.changes[0].subject
    entry = Done(queue="default", priority=5, entry=str(requested.last))
    started = await hand.decide(ref, StartRun(worker="bench"), held=requested.states[ref], done=entry)
    return await hand.decide(ref, SucceedRun(fence=started.after.fence), held=started.after)
