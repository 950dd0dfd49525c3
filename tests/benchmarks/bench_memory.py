"""What a job that waits costs in Redis."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from shared.domain.schedule import Schedule

from .stand import on_a_stand
from .waiting import say, until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from shared.eventlog.decider import Decided

    from .hand import Hand
    from .sizes import Sizes
    from .stand import Measured, Raw, Stand

JOBS = 100_000
NEVER = "0 3 1 1 *"  # once a year
WEIGHED = 200  # hashes of jobs looked at singly
TELL_EVERY = 20_000
ALIKE = 3  # readings in a row that must differ by less than a thousandth
READ_EVERY_S = 0.5
WORK_S = 300


def measure(directory: Path, sizes: Sizes) -> Measured:
    """Make the jobs, let the projector archive them and trim the log; compare Redis's memory."""
    return on_a_stand(directory, partial(_measure, sizes=sizes))


async def _measure(stand: Stand, hand: Hand, *, sizes: Sizes) -> Raw:
    count = sizes.count(JOBS)
    before = await _at_rest(hand)
    say(f"making {count:,} jobs")
    made: list[Decided] = []
    with stand.meter.window():
        while len(made) < count:
            made += await hand.create([Schedule(cron_expression=NEVER)] * min(TELL_EVERY, count - len(made)))
            say(f"  {len(made):,}")
        say("waiting for the projector")
        await hand.settle(timeout_s=WORK_S)
    after = await _at_rest(hand)
    partitions = range(hand.log.partitions)
    sample = made[:: max(1, count // WEIGHED)][:WEIGHED]
    return {
        "jobs": count,
        "used_before": before,
        "used_after": after,
        "job_hashes": [
            await _weight(hand, hand.log.keys(job.partition).aggregate(job.ref)) for job in sample
        ],
        "due": [await _weight(hand, hand.log.keys(each).due) for each in partitions],
        "logs": [await _weight(hand, hand.log.keys(each).log) for each in partitions],
        "log_entries": [await hand.redis.xlen(hand.log.keys(each).log) for each in partitions],
        "archived_jobs": await hand.pool.fetchval("select count(*) from ledger.jobs"),
    }


async def _at_rest(hand: Hand) -> list[int]:
    """Readings of used_memory, until it stands still: the log trimmed, nothing being rewritten."""
    readings: list[int] = []

    async def look() -> bool:
        memory, saving = await _memory(hand)
        readings.append(memory)
        await asyncio.sleep(READ_EVERY_S)
        return not saving and _alike(readings[-ALIKE:])

    await until(look, "Redis's memory stands still", timeout_s=WORK_S)
    return readings


async def _memory(hand: Hand) -> tuple[int, bool]:
    """used_memory in bytes, and whether a child rewrites the file."""
    memory, saving = await hand.redis.info("memory"), await hand.redis.info("persistence")
    return int(memory["used_memory"]), bool(
        saving["aof_rewrite_in_progress"] or saving["rdb_bgsave_in_progress"]
    )


def _alike(readings: Sequence[int]) -> bool:
    return len(readings) == ALIKE and all(abs(a - b) < a / 1000 for a, b in pairwise(readings))


async def _weight(hand: Hand, key: str) -> int:
    """Bytes of a key with all of its members; 0 if it isn't there."""
    weight: Any = await hand.redis.memory_usage(key, samples=0)
    return int(weight or 0)
