"""The schema is all migrations, applied once, by whoever comes first."""

import asyncio
import time
from datetime import UTC, datetime

import asyncpg
import pytest

from shared.faults import Fatal
from shared.readmodel import database
from shared.testing import wait_until
from tests.integration.databases import a_database

COLUMNS = """
    select table_schema, table_name, column_name, data_type, is_nullable from information_schema.columns
    where table_schema in ('book', 'ledger') order by 1, 2, 3
"""


@pytest.fixture
async def url(postgres):
    async with a_database(postgres, migrated=False) as made:
        yield made


async def test_a_second_migration_finds_nothing_to_do_and_changes_nothing(url):
    assert await database.migrate(url) == sorted(database.migrations())
    connection = await asyncpg.connect(url)
    before = await connection.fetch(COLUMNS)
    assert await database.migrate(url) == []
    assert await connection.fetch(COLUMNS) == before
    await connection.close()


async def test_processes_that_start_together_migrate_once(url):
    applied = await asyncio.gather(*(database.migrate(url) for _ in range(4)))
    assert sorted(name for names in applied for name in names) == sorted(database.migrations())


async def test_a_migration_that_was_edited_after_it_was_applied_is_refused(url):
    await database.migrate(url, extra={"9000_more.sql": "create table book.more (id integer)"})
    with pytest.raises(Fatal, match=r"9000_more.sql was applied with another text"):
        await database.migrate(url, extra={"9000_more.sql": "create table book.more (id bigint)"})


async def test_an_older_build_is_kept_off_a_newer_database(url):
    await database.migrate(url, extra={"9000_more.sql": "create table book.more (id integer)"})
    with pytest.raises(Fatal, match=r"9000_more.sql, unknown to this build"):
        await database.migrate(url)


async def test_a_migration_that_fails_leaves_nothing_behind(url):
    with pytest.raises(asyncpg.PostgresError):
        await database.migrate(
            url, extra={"9000_broken.sql": "create table book.half (id integer); select nothing"}
        )
    assert await database.migrate(url) == sorted(database.migrations())


async def test_there_is_a_partition_for_each_month_from_the_last_to_three_ahead(url):
    await database.migrate(url)
    connection = await asyncpg.connect(url)
    made = await connection.fetchval("select book.make_months('ledger.runs', '2030-11-30T23:59:59Z')")
    assert made == 5
    children = await partitions(connection, "ledger.runs")
    assert {f"runs_y{month}" for month in ("2030m10", "2030m11", "2030m12", "2031m01", "2031m02")} < children
    assert "runs_default" in children
    assert await connection.fetchval("select book.make_months('ledger.runs', '2030-11-01T00:00:00Z')") == 0
    await connection.close()


async def test_this_month_has_a_partition_after_a_migration(url):
    await database.migrate(url)
    connection = await asyncpg.connect(url)
    today: datetime = await connection.fetchval("select now()")
    assert f"events_y{today.astimezone(UTC):%Ym%m}" in await partitions(connection, "book.events")
    assert f"runs_y{today.astimezone(UTC):%Ym%m}" in await partitions(connection, "ledger.runs")
    await connection.close()


async def test_months_are_made_also_when_rows_of_one_stand_in_the_default_partition(url):
    await database.migrate(url)
    connection = await asyncpg.connect(url)
    await connection.execute(
        """
        insert into book.events
            (partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data, chain)
        values (0, 1, 1, 'e', 't', 1, 'log', '', 'subject', '2030-11-15T00:00:00Z', '', '', '', '', '{}', '')
        """
    )
    assert await connection.fetchval("select book.make_months('book.events', '2030-11-15T00:00:00Z')") == 4
    assert await connection.fetchval("select count(*) from book.events") == 1
    await connection.close()


async def test_a_server_that_may_lose_what_it_acknowledged_is_refused(url):
    connection = await asyncpg.connect(url)
    await database.assert_durable(connection)
    await connection.execute("set synchronous_commit = off")
    with pytest.raises(Fatal, match="synchronous_commit = off"):
        await database.assert_durable(connection)
    await connection.close()


async def test_what_is_the_same_on_every_server_is_asked_once_and_what_is_not_of_each(url, monkeypatch):
    asked, ask = [], asyncpg.Connection._introspect_types

    async def counted(connection, oids, *args):
        asked.append(set(oids))
        return await ask(connection, oids, *args)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", counted)
    monkeypatch.setattr(database, "_types", {})
    async with await database.connect_pool(url) as pool:
        await pool.execute("create type mood as enum ('calm')")
    for _ in range(2):
        async with await database.connect_pool(url) as pool:
            assert await pool.fetchval("select $1::int[]", [1, 2]) == [1, 2]
            assert await pool.fetchval("select array['calm']::mood[]") == ["calm"]
    (ints, *_) = asked
    assert asked.count(ints) == 1
    assert len(asked) == 3


async def test_a_question_that_is_given_up_as_its_reply_comes_leaves_nothing_to_who_asks_next(url):
    pool = await database.connect_pool(url, max_size=1)
    async with pool.acquire() as connection:
        pid = connection.get_server_pid()
        asked = asyncio.create_task(connection.fetch("select 'never asked before'"))
        await asyncio.sleep(0)  # it is on its way
        asyncio.get_running_loop().call_later(0.001, asked.cancel)
        time.sleep(0.1)  # noqa: ASYNC251 - a busy loop finds both at once: the reply, and that nobody wants it
        with pytest.raises(asyncio.CancelledError):
            await asked
    observer = await asyncpg.connect(url)
    state = "select state from pg_stat_activity where pid = $1"
    await wait_until(lambda: _is_idle(observer, state, pid), "the server has ended it", timeout_s=3)
    await observer.close()
    await pool.close()


async def _is_idle(observer, state, pid):
    return await observer.fetchval(state, pid) == "idle"


async def partitions(connection, parent):
    rows = await connection.fetch(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = $1::regclass",
        parent,
    )
    return {row["relname"] for row in rows}
