"""What tests of retention share: months made of moments, retention at any time, and a digest of all that may change."""

import hashlib
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace

from services.executor.handlers import cleanup_task_retention as retention
from services.executor.handlers.cleanup_task import retained
from shared.domain import ids
from shared.job_types.cleanup_task import Archive, RunHistory
from shared.readmodel import archive, cold_copies
from shared.readmodel.chain import FIELDS, GENESIS, link
from shared.testing import a_told_run, wait_until

GENERATED = {"book.events": {"about"}, "ledger.runs": {"is_stretched", "error_class"}}
LATE = timedelta(milliseconds=100)  # the log's clock goes back by no more when a later reply was slower
TABLES = (
    "book.events", "book.checkpoints", "book.snapshots", "book.projection_errors", "book.archive_cuts",
    "book.brought_forward", "book.kept_events", "book.cold_copies", "book.run_cuts",
    "ledger.jobs", "ledger.runs", "ledger.run_hourly", "ledger.api_keys", "ledger.calendars", "ledger.job_cards",
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
    """A time after which everything that comes is committed and named, and before which everything that was is.

    Redis's clock stamps events, and the log's, which is late by what a reply takes, ids of runs.
    """
    at = (await archive.checkpoint(office.pool, partition)).at

    async def clocks():
        seconds, micros = await office.redis.time()
        return ids.from_ms(seconds * 1000 + micros // 1000), type(office.log).now(office.log)

    then = ids.from_ms(ids.to_ms(max(await clocks())) + 1)

    async def has_come():
        return min(await clocks()) > then + LATE

    await wait_until(has_come, "the time after")
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


async def copied(pool, place="file:///cold", *, partitions=(0, 1), first=1, upto=10**9):
    """Enter a cold copy of what is archived."""
    for partition in partitions:
        last = await pool.fetchrow(
            "select * from book.events where partition = $1 and pos <= $2 order by pos desc limit 1",
            partition,
            upto,
        )
        segment = SimpleNamespace(
            partition=partition, first=(last["epoch"], first), last=(last["epoch"], last["pos"]),
            count=last["pos"] - first + 1, chain=last["chain"].hex(), sha256="",
        )  # fmt: skip
        await cold_copies.enter(pool, place, "backup", [segment])


async def age(pool, days):
    """Set the archive back by so many days, in months of their own, with links and checkpoints to match."""
    past = timedelta(days=days)
    oldest = await pool.fetchval("select min(at) from book.events")
    await pool.execute("select book.make_months('book.events', $1)", oldest - past)
    await pool.execute("update book.events set at = at - $1::interval", past)
    await pool.execute("update book.checkpoints set at = at - $1::interval", past)
    for partition in await pool.fetch("select partition from book.checkpoints"):
        rows = await pool.fetch("select * from book.events where partition = $1 order by pos", partition[0])
        chain, links = GENESIS, []
        for row in rows:
            told = dict(row) | {"at": ids.to_ms(row["at"])}
            chain = link(chain, [told[name] for name in FIELDS])
            links.append((chain, row["partition"], row["pos"]))
        await pool.executemany("update book.events set chain = $1 where partition = $2 and pos = $3", links)
        await pool.execute("update book.checkpoints set chain = $1 where partition = $2", chain, partition[0])


async def everything(pool):
    """A digest of each table, and of the names of their partitions."""
    digests = {}
    for table in TABLES:
        rows = await pool.fetch(f"select t::text as row from {table} as t order by 1")  # noqa: S608
        digests[table] = hashlib.sha256("\n".join(row["row"] for row in rows).encode()).hexdigest()
    rows = await pool.fetch("select inhrelid::regclass::text as name from pg_inherits order by 1")
    return digests | {"partitions": [row["name"] for row in rows]}
