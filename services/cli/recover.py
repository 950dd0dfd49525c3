"""`daybook recover`: what services do by themselves when Redis came back older than it was, by hand.

A line a partition says what was found, and what was done about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.cli.stores import opened
from shared.faults import Fatal
from shared.recovery import Behind, Forked, survey

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.cli.stores import Stores
    from shared.recovery import Opening
    from shared.settings import Settings


async def recover(
    told: Settings, *, dry_run: bool, chance: Callable[[], int], say: Callable[[str], None]
) -> bool:
    """Open every partition's log, and heal where the archive is ahead; return whether all are open.

    Args:
        told: where the stores are, and how long a lease is. What the deployment fixed, it knows best.
        dry_run: compare only, and say what would be done; the answer is whether that would go well.
        chance: 80 random bits at each call.
        say: takes a line.

    Raises:
        Fatal: the stores are not known, or hold no deployment.
        OSError: one doesn't answer.
    """
    async with opened(told) as stores:
        good = True
        for partition in range(stores.fixed.partitions):
            try:
                if dry_run:
                    line = await _surveyed(stores, partition)
                else:
                    done = await stores.open_log(partition, lease_s=told.lease_seconds, chance=chance)
                    if done.found is None:  # an opening sees to the keys by itself
                        await stores.level_keys(partition)
                    line = _done(done)
            except Fatal as error:
                good, line = False, str(error)
            say(f"partition {partition}: {line}")
    return good


def _done(opening: Opening) -> str:
    rebuilt = opening.rebuilt
    made = f"{rebuilt.jobs} jobs and {rebuilt.runs} runs made anew, opened" if rebuilt else "opened"
    match opening.found:
        case None:
            return "open already"
        case Behind() as behind:
            return f"{_lost(behind)}: healed, {made}"
        case Forked() as fork:
            return f"forked after {fork.common}: {opening.quarantined} events quarantined, healed, {made}"
        case _:
            return "level with the archive: opened"


async def _surveyed(stores: Stores, partition: int) -> str:
    match await survey(stores.pool, stores.redis, prefix=stores.fixed.prefix, partition=partition):
        case None:
            return "open already"
        case Behind() as behind:
            return f"{_lost(behind)}: would be healed"
        case Forked(common=common, tail=tail, archived=archived):
            return (
                f"forked after {common} (the log ends at {tail}, the archive at {archived}): its own events "
                "would be quarantined, and it would be healed"
            )
        case _:
            return "level with the archive: would be opened"


def _lost(behind: Behind) -> str:
    if behind.tail.pos == 0:
        return f"the log is empty, the archive is at {behind.archived}"
    return f"the log ends at {behind.tail}, {behind.lost} events before the archive, at {behind.archived}"
