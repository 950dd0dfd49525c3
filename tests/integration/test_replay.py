"""`daybook replay`: the ledgers made anew, beside the live ones and in their place."""

import pytest

from services.projector.replay import Replay
from shared.readmodel import database
from tests.integration.archive_kit import all_of, an_office
from tests.integration.audit_kit import write
from tests.integration.cold_kit import at, daybook

COMPARED = ("api_keys", "backfills", "calendars", "job_cards", "jobs", "run_hourly", "runs")


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


@pytest.fixture
async def book(office):
    """An office with some of everything in its archive."""
    office.told = await write(office)
    await database.migrate(office.database_url)
    for partition in range(office.partitions):
        await all_of(office.projector(f"after{partition}"), partition)
    return office


def a_replay(office, **options):
    return Replay(office.database_url, told=lambda *_: None, workers=2, **options)


async def test_a_book_with_everything_comes_to_what_it_is(book):
    await book.pool.execute(
        "insert into book.deployment (partitions, prefix) values (2, $1)", book.bench.prefix
    )
    before = await catalogue(book.pool)
    said = await daybook("replay", "--dry-run", **at(book.database_url))
    print(said.stdout)
    assert said.stdout.count("equal") == len(COMPARED), said.stdout
    said = await daybook("replay", **at(book.database_url))
    assert said.stdout.endswith("the former are dropped\n"), said.stdout
    assert await catalogue(book.pool) == before


async def catalogue(pool):
    rows = await pool.fetch(
        "select c.oid::regclass::text, relkind::text from pg_class c where relnamespace = 'ledger'::regnamespace order by 1"
    )
    return [tuple(row) for row in rows]
