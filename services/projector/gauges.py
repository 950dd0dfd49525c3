"""What the projector shows about itself: how far it is, how far behind, and what the ledgers hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.projector.rows import statement
from shared.eventlog.envelope import from_entry

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import asyncpg
    from redis.asyncio import Redis

    from shared.eventlog.keys import Keys
    from shared.metrics import Metrics
    from shared.readmodel.archive import Checkpoint


async def measure_lag(
    metrics: Metrics, redis: Redis, keys: Mapping[int, Keys], checkpoints: Mapping[int, Checkpoint]
) -> int:
    """Set the gauges about the log of the partitions that have a checkpoint here; one round trip to each.

    Returns how many events of theirs aren't archived yet.
    """
    behind, oldest_s, archived, length = 0, 0.0, 0, 0
    for partition, checkpoint in checkpoints.items():
        name = keys[partition].log
        async with redis.pipeline(transaction=False) as pipe:
            pipe.xlen(name)
            pipe.execute_command("XREVRANGE", name, "+", "-", "COUNT", 1)
            after = f"({checkpoint.epoch}-{checkpoint.pos}"
            pipe.execute_command("XRANGE", name, after, "+", "COUNT", 1)
            pipe.time()
            entries, last, following, time = await pipe.execute()
        length += entries
        archived += checkpoint.pos
        if last:
            behind += max(0, from_entry(partition, *last[0]).position.pos - checkpoint.pos)
        if following:
            waiting_since_s = from_entry(partition, *following[0]).at / 1000
            oldest_s = max(oldest_s, time[0] + time[1] / 1e6 - waiting_since_s)
    metrics.projection_lag_events.set(behind)
    metrics.projection_lag_seconds.set(max(0.0, oldest_s))
    metrics.archive_position.set(archived)
    metrics.log_length.set(length)
    return behind


async def count_ledgers(metrics: Metrics, pool: asyncpg.Pool, partitions: Collection[int]) -> None:
    """Set the gauges that count rows, over these partitions only: other replicas count theirs."""
    owned = list(partitions)
    rows = await pool.fetch(statement("count_jobs"), owned)
    metrics.jobs.clear()
    for row in rows:
        metrics.jobs.labels(row["status"], row["job_type"]).set(row["jobs"])
    metrics.dead_letters.set(await pool.fetchval(statement("count_dead_letters"), owned))
    metrics.quarantined_events.set(await pool.fetchval(statement("count_quarantined"), owned))
