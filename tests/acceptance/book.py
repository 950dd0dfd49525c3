"""Everything the system has written down, read straight from both servers."""

import json
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from shared.eventlog.cluster import serving
from shared.eventlog.connection import connect
from shared.eventlog.keys import PRIORITIES, Keys
from shared.eventlog.position import Position

COLUMNS = (
    "partition", "epoch", "pos", "id", "type", "v", "subject", "job", "advances", "at",
    "actor", "cause", "corr", "trace", "data",
)  # fmt: skip
TABLES = (
    "book.events",
    "book.snapshots",
    "book.projection_errors",
    "ledger.jobs",
    "ledger.runs",
    "ledger.run_hourly",
)
MOVING = (b":lease:", b":replicas", b":work:", b":asked:", b":tzdata")  # :asked: counts requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A row of the archive; `told` is its data, parsed."""

    row: tuple
    chain: bytes
    told: dict

    def __getattr__(self, name):
        return self.row[COLUMNS.index(name)]

    @property
    def place(self):
        return f"{self.partition}:{self.epoch}-{self.pos}"

    @property
    def position(self):
        return f"{self.epoch}-{self.pos}"

    @property
    def about(self):
        """`job` or `run`, or `log`."""
        return self.subject.partition("/")[0]

    @property
    def job_id(self):
        """The job whose story it belongs to, or ''."""
        return self.job or (self.subject[4:] if self.about == "job" else "")

    @property
    def run_id(self):
        return self.subject[4:] if self.about == "run" else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """Archive, ledgers and write side at one moment; `logs`, `aggregates`, `due` and `work` are Redis's."""

    events: list
    jobs: list
    runs: list
    hours: list
    errors: int
    checkpoints: dict
    logs: dict
    aggregates: dict
    due: dict
    work: dict


async def read(system):
    """The book as it stands."""
    archive = await asyncpg.connect(system.postgres.endpoint.url)
    redis = connect(system.valkey.endpoint.url)
    try:
        return Book(**await _archived(archive), **await _written(redis, system))
    finally:
        await archive.close()
        await redis.aclose()


async def _archived(archive):
    rows = await archive.fetch(f"select {', '.join(COLUMNS)}, chain from book.events order by partition, pos")  # noqa: S608
    checkpoints = await archive.fetch("select * from book.checkpoints")
    return {
        "events": [
            Event(row=tuple(row)[:-1], chain=row["chain"], told=json.loads(row["data"])) for row in rows
        ],
        "jobs": [dict(row) for row in await archive.fetch("select * from ledger.jobs")],
        "runs": [dict(row) for row in await archive.fetch("select * from ledger.runs")],
        "hours": [dict(row) for row in await archive.fetch("select * from ledger.run_hourly")],
        "errors": await archive.fetchval("select count(*) from book.projection_errors"),
        "checkpoints": {row["partition"]: row for row in checkpoints},
    }


async def _written(redis, system):
    logs, aggregates, due, work = {}, {}, {}, {}
    for partition in range(system.partitions):
        keys = Keys(system.prefix, partition)
        logs[partition] = [
            (entry.decode(), {name.decode(): value.decode() for name, value in fields.items()})
            for entry, fields in await redis.xrange(keys.log)
        ]
        for kind in ("job", "run"):
            server = await serving(redis, keys.meta)
            async for name in server.scan_iter(match=keys.aggregate(f"{kind}:*"), count=1000):
                told = await redis.hgetall(name)
                if told:  # else it has expired since it was seen
                    ref = name.decode().removeprefix(f"{keys.base}:")
                    aggregates[ref] = {field.decode(): value.decode() for field, value in told.items()}
        due |= {ref.decode(): int(ms) for ref, ms in await redis.zrange(keys.due, 0, -1, withscores=True)}
        for priority in PRIORITIES:
            name = keys.work("default", priority)
            work[name] = await redis.xlen(name)
    return {"logs": logs, "aggregates": aggregates, "due": due, "work": work}


async def tails(system):
    """The newest entry of each partition's log."""
    redis = connect(system.valkey.endpoint.url)
    try:
        newest = {}
        for partition in range(system.partitions):
            (entry, _), *_ = await redis.xrevrange(Keys(system.prefix, partition).log, count=1)
            newest[partition] = Position.parse(entry.decode())
        return newest
    finally:
        await redis.aclose()


async def logged(system, job_id, kind):
    """How many events of a type the log holds of a job and its runs, whatever the archive knows."""
    redis = connect(system.valkey.endpoint.url)
    try:
        count = 0
        for partition in range(system.partitions):
            for _, fields in await redis.xrange(Keys(system.prefix, partition).log):
                count += fields[b"type"].decode() == kind and fields[b"job"].decode() == job_id
        return count
    finally:
        await redis.aclose()


async def has_archived(system, places):
    """Whether the archive has come to `places`, positions by partition."""
    marks = await _asked(system, "select partition, epoch, pos from book.checkpoints")
    reached = {partition: Position(epoch, pos) for partition, epoch, pos in marks}
    return all(reached[partition] >= position for partition, position in places.items())


async def is_at_rest(system):
    """Whether no run is under way, and the archive has all of the log."""
    ((unfinished,),) = await _asked(system, "select count(*) from ledger.runs where finished_at is null")
    return unfinished == 0 and await has_archived(system, await tails(system))


async def _asked(system, question):
    archive = await asyncpg.connect(system.postgres.endpoint.url)
    try:
        return [tuple(row) for row in await archive.fetch(question)]
    finally:
        await archive.close()


async def contents(system):
    """What a refused request must leave as it is: stream lengths, keys (as they are stored), rows.

    Of keys that expire only the names: they may go, but none may come. Left out is what moves by itself:
    leases and shares, and how long ago a work stream was looked at.
    """
    archive = await asyncpg.connect(system.postgres.endpoint.url)
    redis = connect(system.valkey.endpoint.url)
    try:
        names = sorted([name async for name in redis.scan_iter(match=f"{system.prefix}:*", count=1000)])
        kept = [name for name in names if not any(each in name for each in MOVING)]
        expiring = {name for name in kept if await redis.pttl(name) != -1}
        return {
            "keys": {name: await redis.dump(name) for name in kept if name not in expiring},
            "expiring": expiring,
            "streams": {
                name: await redis.xlen(name) for name in names if b":work:" in name or name.endswith(b":log")
            },
            "rows": {table: await archive.fetchval(f"select count(*) from {table}") for table in TABLES},  # noqa: S608
        }
    finally:
        await archive.close()
        await redis.aclose()


def time(text):
    """The time that an event's data tells; None stays None."""
    return None if text is None else datetime.fromisoformat(text)
