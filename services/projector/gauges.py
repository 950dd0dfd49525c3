"""What the projector shows about itself: how far it is, how far behind, and what the ledgers hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, get_args

from services.projector.rows import statement
from shared.domain import ids
from shared.domain.events import HoldReason
from shared.eventlog.envelope import from_entry
from shared.eventlog.position import Position

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    import asyncpg
    from redis.asyncio import Redis

    from shared.eventlog.keys import Keys
    from shared.metrics import Metrics
    from shared.readmodel.archive import Checkpoint


class End(NamedTuple):
    """Where a partition's log ended `at` a moment of Redis's clock: what was committed before is not behind it."""

    position: Position
    at: datetime


class Lag(NamedTuple):
    """How many events aren't archived yet, and where the log of each partition ended."""

    events: int
    ends: dict[int, End]


async def measure_lag(
    metrics: Metrics, redis: Redis, keys: Mapping[int, Keys], checkpoints: Mapping[int, Checkpoint]
) -> Lag:
    """Set the gauges about the log of the partitions that have a checkpoint here; one round trip to each."""
    behind, oldest_s, archived, length = 0, 0.0, 0, 0
    ends: dict[int, End] = {}
    for partition, checkpoint in checkpoints.items():
        name = keys[partition].log
        async with redis.pipeline(transaction=False) as pipe:
            pipe.time()  # before the log's end is looked up
            pipe.xlen(name)
            pipe.execute_command("XREVRANGE", name, "+", "-", "COUNT", 1)
            after = f"({checkpoint.epoch}-{checkpoint.pos}"
            pipe.execute_command("XRANGE", name, after, "+", "COUNT", 1)
            time, entries, last, following = await pipe.execute()
        now_ms = time[0] * 1000 + time[1] // 1000
        length += entries
        archived += checkpoint.pos
        end = Position(checkpoint.epoch, checkpoint.pos)
        if last:
            end = from_entry(partition, *last[0]).position
            behind += max(0, end.pos - checkpoint.pos)
        if following:
            oldest_s = max(oldest_s, (now_ms - from_entry(partition, *following[0]).at) / 1000)
        ends[partition] = End(end, ids.from_ms(now_ms))
    metrics.projection_lag_events.set(behind)
    metrics.projection_lag_seconds.set(oldest_s)
    metrics.archive_position.set(archived)
    metrics.log_length.set(length)
    return Lag(behind, ends)


async def count_ledgers(metrics: Metrics, pool: asyncpg.Pool, partitions: Collection[int]) -> None:
    """Set the gauges that count rows, over these partitions only: other replicas count theirs."""
    owned = list(partitions)
    rows = await pool.fetch(statement("count_jobs"), owned)
    metrics.jobs.clear()
    for row in rows:
        metrics.jobs.labels(row["status"], row["job_type"]).set(row["jobs"])
    held = {row["reason"]: row["runs"] for row in await pool.fetch(statement("count_held"), owned)}
    for reason in ("overlap", *get_args(HoldReason)):
        metrics.runs_held.labels(reason).set(held.get(reason, 0))
    metrics.dead_letters.set(await pool.fetchval(statement("count_dead_letters"), owned))
    metrics.quarantined_events.set(await pool.fetchval(statement("count_quarantined"), owned))
