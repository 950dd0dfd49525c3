"""`daybook replan`: what timers do by themselves when they come with newer zone tables, by hand, and at once.

A line a partition says how many jobs were looked at, and how many have moved.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from services.cli.keys import ACTOR, log_of
from services.cli.stores import opened
from shared.domain.zones import tables_version
from shared.eventlog.decider import Decider
from shared.eventlog.replan import Replan

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.settings import Settings


async def replan(told: Settings, *, chance: Callable[[], int], say: Callable[[str], None]) -> bool:
    """Plan the jobs of all partitions by the zone tables that are installed here; return whether all are.

    Raises:
        Fatal: the stores are not known, or hold no deployment.
        OSError: one doesn't answer.
    """
    tables = tables_version()
    async with opened(told) as stores, log_of(stores, told, chance) as log:
        await log.sync()
        decider = Decider(log, lease=timedelta(seconds=1), chance=chance)  # no run is started here
        planning = Replan(log, decider, tables=tables)
        good = True
        for partition in range(stores.fixed.partitions):
            planned = await planning.planned(partition)
            if planning.is_older(planned):
                good = False
                said = f"planned by tzdata {planned.version}, and here is {tables}: upgrade this one"
            elif (walked := await planning(partition, planned, ACTOR)) is None:
                good, said = False, "a timer has noted other zone tables meanwhile: do it again"
            else:
                said = f"planned by tzdata {tables}: {walked.jobs} jobs looked at, {walked.moved} moved"
            say(f"partition {partition}: {said}")
    return good
