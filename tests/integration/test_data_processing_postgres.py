"""A table of a database as a dataset of data_processing, on a real server."""

import asyncio
from functools import partial

import asyncpg
import pytest

from services.executor.dataset_files import Limits
from services.executor.datasets import opened
from services.executor.staging import DatasetMissing, DatasetTooLarge, table_of
from shared.job_types.catalog import Source
from shared.job_types.dataset import Dataset
from shared.job_types.secrets import SecretRef
from shared.testing import resources
from tests.integration.data_kit import process, sales
from tests.integration.databases import a_database

ROWS = sales(200)
TYPES = """
create table kinds (
    small smallint, whole integer, big bigint, real real, double double precision, "any" numeric, money numeric(12,2),
    yes boolean, day date, at timestamp(3), zoned timestamptz, id uuid, words text, bits jsonb, raw bytea,
    many integer[], "odd "" name; drop table kinds" text
);
insert into kinds values (1, 2, 3, 1.5, 2.5, 1e3, 1234567890.12, true, '2026-01-02', '2026-01-02 03:04:05.678',
    '2026-01-02 03:04:05+01', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', E'a,"b"\\nc', '{"a": 1}', '\\xff', '{1,2}', ''),
    (null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null);
"""


@pytest.fixture
async def url(postgres):
    async with a_database(postgres, migrated=False) as made:
        connection = await asyncpg.connect(made)
        await connection.execute(
            'create schema shop; create table shop."Sa les" (id int, region text, amount float8)'
        )
        await connection.executemany(
            'insert into shop."Sa les" values ($1, $2, $3)',
            [(row["id"], row["region"], row["amount"]) for row in ROWS],
        )
        await connection.execute(TYPES)
        await connection.close()
        yield made


@pytest.fixture
def ask(url, tmp_path):
    """Process a table; blocking, so in a thread of its own."""
    offered = {"legacy": Source(name="legacy", kind="postgres", url=url)}

    def asked(table, operation="filter", parameters=None):
        return process(tmp_path, {"source": "legacy", "table": table}, operation, parameters, sources=offered)

    return asked


async def away(function, *args, **kwargs):
    """Call a blocking handler's code where no loop runs, as in a process of the pool."""
    return await asyncio.to_thread(function, *args, **kwargs)


async def test_a_table_is_aggregated(ask):
    result = await away(ask, "shop.Sa les", "aggregate", {"group_by": ["region"], "columns": ["amount"]})
    sums = {row["region"]: 0.0 for row in ROWS}
    for row in ROWS:
        sums[row["region"]] += row["amount"]
    assert {group["region"]: group["sum_amount"] for group in result["groups"]} == sums
    assert result["rows_read"] == 200


async def test_no_more_rows_than_the_records_that_count_are_fetched(ask):
    assert (await away(ask, "shop.Sa les", "aggregate", {"record_count": 7}))["rows_read"] == 7


async def test_types_stay_what_they_are_and_empty_text_is_not_null(ask):
    result = await away(ask, "kinds")
    odd = 'odd " name; drop table kinds'
    first, second = result["sample"]
    assert first == {
        "small": 1,
        "whole": 2,
        "big": 3,
        "real": 1.5,
        "double": 2.5,
        "any": 1000.0,
        "money": 1234567890.12,
        "yes": True,
        "day": "2026-01-02",
        "at": "2026-01-02 03:04:05.678",
        "zoned": "2026-01-02 02:04:05+00",
        "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "words": 'a,"b"\nc',
        "bits": '{"a": 1}',
        "raw": "\\xff",
        "many": "{1,2}",
        odd: "",
    }
    assert set(second.values()) == {None}
    early = [{"column": "day", "op": "<", "value": "2026-02-01"}, {"column": odd, "op": "=", "value": ""}]
    assert (await away(ask, "kinds", "filter", {"where": early}))["rows"] == 1


@pytest.mark.parametrize(
    "table", ["nope", "public.nope", 'kinds"; drop table kinds; --', "pg_catalog.nope", ".", "a.b.c"]
)
async def test_a_table_that_isnt_there_is_missing_whatever_its_name(ask, url, table):
    with pytest.raises(DatasetMissing):
        await away(ask, table)
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("select count(*) from kinds") == 2
    await connection.close()


async def test_a_table_of_too_many_bytes_is_given_up(url, tmp_path):
    with pytest.raises(DatasetTooLarge, match="1,000 bytes"):
        await away(table_of, url, "shop.Sa les", tmp_path, bytes_max=1_000, rows_max=None)


async def test_a_view_that_writes_is_stopped_by_the_read_only_transaction(ask, url):
    connection = await asyncpg.connect(url)
    await connection.execute(
        "create function writes() returns int language sql as 'insert into kinds (small) values (9) returning 1';"
        "create view trap as select writes()"
    )
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await away(ask, "trap")
    assert await connection.fetchval("select count(*) from kinds where small = 9") == 0
    await connection.close()


async def test_the_url_may_be_a_secret(url, tmp_path):
    class Secrets:
        def value(self, secret):
            assert secret.name == "LEGACY"
            return url

    source = Source(name="legacy", kind="postgres", url=SecretRef.model_validate({"$secret": "LEGACY"}))
    offered = resources(sources={"legacy": source}, secrets=Secrets())

    def count():
        dataset = Dataset.model_validate({"source": "legacy", "table": "kinds"})
        with opened({"dataset": dataset}, offered, limits=Limits()) as data:
            return data.connection.execute("SELECT count(*) FROM dataset").fetchone()

    assert await away(count) == (2,)


async def test_two_tables_are_joined(url, tmp_path):
    offered = {"legacy": Source(name="legacy", kind="postgres", url=url)}
    sold = {"source": "legacy", "table": "shop.Sa les"}
    call = partial(process, tmp_path, sold, "join", {"with": sold, "on": ["id"]}, sources=offered)
    assert (await away(call))["rows"] == 200
