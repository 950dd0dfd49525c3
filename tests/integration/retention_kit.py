"""What tests of retention share: months made of moments, retention at any time, and a digest of all that may change."""

import hashlib
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from services.executor.handlers import cleanup_task_retention as retention
from services.executor.handlers.cleanup_task import retained
from shared.domain import ids
from shared.job_types.cleanup_task import Archive, RunHistory
from shared.readmodel import archive
from shared.testing import a_told_run, wait_until

GENERATED = {"book.events": {"about"}, "ledger.runs": {"is_stretched", "error_class"}}
TABLES = (
    "book.events", "book.checkpoints", "book.snapshots", "book.projection_errors", "book.archive_cuts",
    "book.brought_forward", "book.kept_events", "book.cold_copies", "book.run_cuts",
    "ledger.jobs", "ledger.runs", "ledger.run_hourly", "ledger.api_keys", "ledger.job_cards",
)  # fmt: skip


async def split(pool, table, times):
    """Make months of the one that these times are in: each ends at one of them, the last keeps its name."""
    columns = await _columns(pool, table)
    months = await pool.fetch(retention.statement("months"), table)
    present = next(month for month in months if month["since"] <= times[0] < month["until"])
    ends = [present["since"], *times, present["until"]]
    names = [f"{table}_part{number}" for number in range(len(times))] + [present["name"]]
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(
            f"create temp table all_rows on commit drop as select {columns} from {table}"  # noqa: S608
        )
        for month in months:
            if month["since"] <= present["since"]:
                await connection.execute(f"drop table {month['name']}")
        for name, (since, until) in zip(names, pairwise(ends), strict=True):
            await connection.execute(
                f"create table {name} partition of {table}"
                f" for values from ('{since.isoformat()}') to ('{until.isoformat()}')"
            )
        await connection.execute(f"insert into {table} ({columns}) select {columns} from all_rows")  # noqa: S608


async def _columns(pool, table):
    rows = await pool.fetch(
        "select attname from pg_attribute where attrelid = $1::text::regclass and attnum > 0 and not attisdropped"
        " order by attnum",
        table,
    )
    return ", ".join(f'"{row["attname"]}"' for row in rows if row["attname"] not in GENERATED.get(table, ()))


async def moment(office, partition=0):
    """A time after which everything that comes is committed, and before which everything that was is."""
    at = (await archive.checkpoint(office.pool, partition)).at
    seconds, micros = await office.redis.time()
    then = ids.from_ms(seconds * 1000 + micros // 1000 + 1)

    async def has_come():
        now, more = await office.redis.time()
        return ids.from_ms(now * 1000 + more // 1000) > then

    await wait_until(has_come, "the next millisecond")
    assert at < then
    return then


async def drop(url, until, monkeypatch, *, run_id="retention", **options):
    """Retain the archive as of a time at which all months that end by `until` are old enough."""
    data = {"cleanup_type": "archive", "retention_days": 100, "require_cold_copy": False} | options
    return await _at(url, until + timedelta(days=100), monkeypatch, Archive(**data), run_id)


async def forget(url, until, monkeypatch, *, run_id="retention", **options):
    """Retain the ledger of runs as of a time at which all runs that ended before `until` are old enough."""
    data = {"cleanup_type": "run_history", "retention_days": 100} | options
    return await _at(url, until + timedelta(days=100), monkeypatch, RunHistory(**data), run_id)


async def _at(url, now, monkeypatch, task, run_id):
    async def then(_):
        return now

    monkeypatch.setattr(retention, "_now", then)
    run = replace(a_told_run("cleanup_task"), run_id=run_id)
    return await retained(run, task, url)


async def copied(pool, place="file:///cold", *, upto=None):
    """Enter a cold copy of all that is archived, or of all up to a pos in partition 0."""
    await pool.execute(
        """
        insert into book.cold_copies
            (place, partition, first_epoch, first_pos, last_epoch, last_pos, events, chain, sha256, run_id)
        select $1, last.partition, 1, 1, last.epoch, last.pos, last.pos, last.chain, '', 'backup'
        from (
            select distinct on (partition) * from book.events
            where $2::bigint is null or pos <= $2 order by partition, pos desc
        ) as last
        """,
        place,
        upto,
    )


async def everything(pool):
    """A digest of each table, and of the names of their partitions."""
    digests = {}
    for table in TABLES:
        rows = await pool.fetch(f"select t::text as row from {table} as t order by 1")  # noqa: S608
        digests[table] = hashlib.sha256("\n".join(row["row"] for row in rows).encode()).hexdigest()
    rows = await pool.fetch("select inhrelid::regclass::text as name from pg_inherits order by 1")
    return digests | {"partitions": [row["name"] for row in rows]}
