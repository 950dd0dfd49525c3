"""What tests of cold copies share: a history with something of everything, the commands, and empty databases."""

import asyncio
import contextlib
from types import SimpleNamespace

import asyncpg
from click.testing import CliRunner

from services.__main__ import main
from shared.readmodel import archive, database
from tests.integration.archive_kit import all_of
from tests.integration.databases import a_database

LEDGERS = ("ledger.jobs", "ledger.runs", "ledger.run_hourly", "ledger.api_keys", "ledger.job_cards")
TABLES = ("book.events", "book.checkpoints", "book.snapshots", "book.projection_errors", *LEDGERS)


async def daybook(*words, status=0, **variables):
    """Run a command, check its status; its stdout and stderr."""
    done = await asyncio.to_thread(CliRunner().invoke, main, [str(word) for word in words], env=variables)
    said = f"daybook {words}: {done.exit_code}\n{done.stdout}\n{done.stderr}\n{done.exception!r}"
    assert done.exit_code == status, said
    return SimpleNamespace(stdout=done.stdout, stderr=done.stderr)


def at(url):
    return {"DAYBOOK_DATABASE_URL": url}


async def a_history(office, jobs=3):
    """Runs that ended well and badly, one that is running, one that waits; archived, in both partitions."""
    await archive.record_deployment(office.pool, partitions=2, prefix=office.bench.prefix)
    for _ in range(jobs):
        job_id = await office.create(every=3600)
        await office.run(job_id, {"umlaut": "ü", "n": 1})
        failed = await office.trigger(job_id)
        await office.fail(failed, await office.start(failed))
        await office.start(await office.trigger(await office.create()))
    await office.trigger(await office.create())
    await office.create(partition=1)
    await archived(office)


async def archived(office):
    projector = office.projector()
    for partition in range(office.partitions):
        await all_of(projector, partition)


async def rows(url, tables=TABLES):
    """Everything in these tables, but for fences."""
    connection = await asyncpg.connect(url)
    try:
        found = {}
        for table in tables:
            some = await connection.fetch(f"select to_jsonb(t) - 'fence' as row from {table} t order by 1")  # noqa: S608
            found[table] = [row["row"] for row in some]
        return found
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def an_empty_database(postgres):
    async with a_database(postgres) as url:
        await database.migrate(url)
        yield url
