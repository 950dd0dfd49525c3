"""`daybook replay`: the ledgers made anew, beside the live ones and in their place."""

import asyncio
import os
import re

import pytest

from services.projector.audit import verify
from services.projector.replay import Unreplayable, build, service, swapping
from services.projector.rows import statement as projector_statement
from shared.domain.commands import EraseJob
from shared.readmodel import archive, cuts, database
from shared.testing import TESTER, wait_until
from tests.integration.archive_kit import all_of, an_office
from tests.integration.audit_kit import write
from tests.integration.cold_kit import archived, at, daybook, rows
from tests.integration.replay_kit import catalogue, read_here, replayed, wrong

TABLES = ("api_keys", "backfills", "calendars", "job_cards", "jobs", "run_hourly", "runs")
LEDGERS = tuple(f"ledger.{name}" for name in TABLES)


@pytest.fixture
async def office(postgres, valkey, monkeypatch):
    read_here(monkeypatch)
    async with an_office(postgres, valkey) as made:
        await archive.record_deployment(made.pool, partitions=2, prefix=made.bench.prefix)
        yield made


@pytest.fixture
async def book(office):
    """An office with some of everything in its archive."""
    office.told = await write(office)
    await archived(office)
    return office


async def is_clean(office):
    report = await verify(office.pool, office.redis)
    return [line for line in report.lines if line.violations] == []


async def test_a_book_with_everything_comes_to_what_it_is(book):
    """By the command, with processes that read."""
    await database.migrate(book.database_url)  # the months
    before = await rows(book.database_url, LEDGERS)
    said = await daybook("replay", "--dry-run", "--workers", 1, **at(book.database_url))
    assert [line for line in said.stdout.splitlines() if line.startswith("equal")] == [
        f"equal   {name}: {len(before[f'ledger.{name}'])} rows" for name in TABLES
    ]
    assert said.stdout.endswith("nothing was changed\n")
    assert "reading: " in said.stderr
    assert await schemas(book.pool) == ["book", "ledger"]
    outcome = await replayed(book)
    assert (outcome.swapped_s is not None, outcome.kept, wrong(outcome)) == (True, False, {})
    assert await rows(book.database_url, LEDGERS) == before
    assert await schemas(book.pool) == ["book", "ledger"]
    assert await is_clean(book)


async def schemas(pool):
    rows = await pool.fetch(
        "select nspname from pg_namespace where nspname !~ '^pg_|^information|^public' order by 1"
    )
    return [row[0] for row in rows]


async def test_the_schema_is_what_the_migrations_have_made(book):
    """Of a server with its roles and tuning: all that is in the catalogue is the same, but for the data."""
    role = f"r{book.bench.prefix.rpartition(':')[2]}".replace("-", "_")
    await book.pool.execute(f'create role "{role}"')
    try:
        await book.pool.execute(f'grant usage on schema ledger to "{role}"')
        await book.pool.execute(f'grant select on ledger.runs, ledger.jobs to "{role}" with grant option')
        await book.pool.execute("alter table ledger.jobs set (fillfactor = 80)")
        before = await catalogue(book.pool)
        assert len(before["indexes"]) > 60
        await replayed(book)
        after = await catalogue(book.pool)
        for name, told in before.items():
            assert after[name] == told, name
        await replayed(book)  # and again: the copy of a copy
        assert await catalogue(book.pool) == before
    finally:
        await book.pool.execute(f'drop owned by "{role}"; drop role "{role}"')


async def test_a_row_that_is_wrong_is_told_of_and_gone_afterwards(book):
    """In all ways: changed, missing, one too many; with it what a trigger had made."""
    spoiled = book.told["regular"]
    before = await rows(book.database_url, LEDGERS)
    await book.pool.execute("update ledger.jobs set name = 'spoiled', active_runs = 7 where id = $1", spoiled)
    gone = await book.pool.fetchval(
        "delete from ledger.runs where id = $1 returning id", book.told["cancelled"]
    )
    await book.pool.execute("update ledger.run_hourly set succeeded = succeeded + 1")
    hours = await book.pool.fetchval("select count(*) from ledger.run_hourly")
    said = await daybook("replay", "--dry-run", "--workers", 1, status=1, **at(book.database_url))
    assert 'name is "spoiled", and comes to "a job"; active_runs is 7, and comes to' in said.stdout
    assert re.search(rf"{gone},.*: is missing", said.stdout)
    outcome = await replayed(book, dry_run=True)
    assert wrong(outcome) == {"job_cards": 1, "jobs": 1, "runs": 1, "run_hourly": hours}
    assert await book.pool.fetchval("select name from ledger.jobs where id = $1", spoiled) == "spoiled"
    outcome = await replayed(book)
    assert outcome.kept
    assert await rows(book.database_url, LEDGERS) == before
    assert await book.pool.fetchval("select name from ledger_before.jobs where id = $1", spoiled) == "spoiled"
    said = await daybook("replay", "--drop-old", **at(book.database_url))
    assert await schemas(book.pool) == ["book", "ledger"]
    assert await is_clean(book)


async def test_a_projector_remembers_nothing_of_the_ledgers_that_were(office):
    """Trace 11: it has loaded a row that was wrong; the row made anew isn't spoiled by what it does next."""
    job_id = await office.create()
    await office.run(job_id)
    await archived(office)
    await office.pool.execute("update ledger.jobs set active_runs = 3")
    projector = office.projector("remembers")
    run_id = await office.trigger(job_id)
    await all_of(projector)
    assert await active_runs(office) == 4
    await replayed(office)
    assert await active_runs(office) == 1
    await office.succeed(run_id, await office.start(run_id))
    await all_of(projector)
    assert await active_runs(office) == 0
    assert wrong(await replayed(office, dry_run=True)) == {}


async def active_runs(office):
    return await office.pool.fetchval("select active_runs from ledger.jobs")


async def test_the_swap_waits_for_a_projector_in_flight_and_has_what_it_wrote(office):
    """Trace 11: it has written to tables that are about to be others, and commits."""
    job_id = await office.create()
    await archived(office)
    name = await office.pool.fetchval("select name from ledger.jobs")
    await office.create(name="in flight")
    before = await archive.checkpoint(office.pool, 0)
    stages = []
    async with asyncpg_connection(office) as connection:
        transaction = connection.transaction()
        await transaction.start()
        moved = (before.partition, before.fence, before.ledgers, before.epoch, before.pos)
        await connection.execute(projector_statement("move_checkpoint"), *moved, *before[1:6])
        await connection.execute("update ledger.jobs set name = 'written in flight'")
        replaying = asyncio.create_task(replayed(office, told=lambda stage, *_: stages.append(stage)))
        await wait_until(lambda: waits_for_a_row(office), "the swap waits")
        assert not replaying.done()
        await connection.execute("update ledger.jobs set name = $1", name)
        await transaction.commit()
    await replaying
    await archived(office)
    assert await names(office) == [name, "in flight"]
    assert job_id


async def waits_for_a_row(office):
    return await office.pool.fetchval(
        "select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        " and application_name = 'daybook replay')"
    )


async def names(office):
    return [row[0] for row in await office.pool.fetch("select name from ledger.jobs order by created_at, id")]


def asyncpg_connection(office):
    return office.pool.acquire()


async def test_a_group_that_found_the_tables_before_the_swap_writes_to_none_of_them(office):
    """Trace 11: its statement has their names resolved, and its checkpoint still to move, when they become others."""
    await office.create()
    projector = office.projector("grouped")
    await all_of(projector)
    before = await archive.checkpoint(office.pool, 0)
    await replayed(office)
    after = await archive.checkpoint(office.pool, 0)
    assert (after.ledgers, after.pos) == (before.ledgers + 1, before.pos)
    moved = (before.partition, before.fence, before.ledgers, before.epoch, before.pos)
    status = await office.pool.execute(projector_statement("move_checkpoint"), *moved, *before[1:6])
    assert status == "UPDATE 0"
    columns = [[value] for value in (*moved, *before[1:6])]
    assert await office.pool.fetch(projector_statement("move_checkpoints"), *columns) == []


@pytest.mark.long
async def test_statements_that_others_have_prepared_go_on_with_the_new_tables(office):
    job_id = await office.create()
    await archived(office)
    query = "select name, spec, tags from ledger.jobs where id = $1"
    async with office.pool.acquire() as connection:
        prepared = await connection.prepare(query)
        assert (await prepared.fetchrow(job_id))["name"] == "a job"
        await office.pool.execute("update ledger.jobs set name = 'spoiled'")
        await replayed(office)
        await daybook("replay", "--drop-old", **at(office.database_url))
        assert (await prepared.fetchrow(job_id))["name"] == "a job"
        assert (await connection.fetchrow(query, job_id))["name"] == "a job"


async def test_of_two_replays_at_once_one_is_refused_and_so_is_a_retention(office):
    await office.create()
    await archived(office)
    async with office.pool.acquire() as connection:
        async with build.alone(connection):
            with pytest.raises(Unreplayable, match="Another replay"):
                await replayed(office)
        assert await office.pool.fetchval("select pg_try_advisory_lock($1)", cuts.RETENTION_LOCK) is False
        await connection.execute("select pg_advisory_unlock_all()")
        await connection.execute("select pg_advisory_lock($1)", cuts.RETENTION_LOCK)
        with pytest.raises(Unreplayable, match="cleanup_task"):
            await replayed(office)
        await connection.execute("select pg_advisory_unlock_all()")
    assert (await replayed(office)).swapped_s is not None


@pytest.mark.long
async def test_what_is_bound_to_the_live_tables_is_named_and_nothing_is_done(office):
    await office.pool.execute("create view book.mine as select id from ledger.runs")
    with pytest.raises(Unreplayable, match=r"view book\.mine"):
        await replayed(office)
    assert wrong(await replayed(office, dry_run=True)) == {}
    await office.pool.execute("drop view book.mine")
    assert (await replayed(office)).swapped_s is not None


@pytest.mark.long
async def test_a_schema_that_was_migrated_meanwhile_stays(office, monkeypatch):
    await office.create()
    await archived(office)
    real = service.comparing.compare

    async def compare(*sides):
        await office.pool.execute(
            "insert into book.migrations (name, sha256) values ('9999_meanwhile.sql', '')"
        )
        return await real(*sides)

    monkeypatch.setattr(service.comparing, "compare", compare)
    with pytest.raises(Unreplayable, match="migrated meanwhile"):
        await replayed(office)
    assert await schemas(office.pool) == ["book", "ledger", "ledger_next", "replay"]
    monkeypatch.setattr(service.comparing, "compare", real)
    outcome = await replayed(office)
    assert (outcome.read.resumed, outcome.swapped_s is None) == (0, False)


async def test_whoever_holds_the_archive_still_is_waited_for(office, monkeypatch):
    """An audit, or a dump: its snapshot is older than the new rows, which it would not see."""
    await office.create()
    await archived(office)
    monkeypatch.setattr(service, "SWAP_AGAIN_S", 0.01)
    tried = asyncio.Event()
    real = swapping.swap

    async def swap(*arguments):
        done = await real(*arguments)
        tried.set()
        return done

    monkeypatch.setattr(service.swapping, "swap", swap)
    async with (
        office.pool.acquire() as reader,
        reader.transaction(isolation="repeatable_read", readonly=True),
    ):
        await cuts.hold_still(reader)
        await reader.fetchval("select count(*) from book.events")  # as of now
        replaying = asyncio.create_task(replayed(office))
        await tried.wait()
        await office.create(name="meanwhile")
        await archived(office)
        assert await reader.fetchval("select count(*) from ledger.jobs") == 1
        assert not replaying.done()
    assert (await replaying).swapped_s is not None
    assert await names(office) == ["a job", "meanwhile"]


async def test_nobody_waits_for_whoever_reads_ledgers_that_were_kept(office, monkeypatch):
    """A dump, or a session that somebody left open: the swap locks everything, and must not wait for it."""
    await office.create()
    await archived(office)
    assert (await replayed(office, keep_old=True)).kept
    monkeypatch.setattr(swapping, "CHECKPOINTS_S", 0.05)
    async with office.pool.acquire() as reader, reader.transaction():
        await reader.fetch("select from ledger_before.jobs")
        async with asyncio.timeout(20):
            with pytest.raises(Unreplayable, match="ledger_before, are being read"):
                await replayed(office)
        assert await reader.fetchval("select count(*) from ledger.jobs") == 1
    outcome = await replayed(office)
    assert (outcome.read.seconds < 20, outcome.swapped_s is None, outcome.kept) == (True, False, False)


async def test_what_a_ledger_refused_is_told_of_still_and_what_it_could_have_no_more(office):
    """A row that an index can't hold costs that row only, here too; an event of a newer build is skipped."""
    job_id = await office.create()
    await office.run(job_id)
    run_id = await office.trigger(job_id)
    await office.start(run_id)
    await archived(office)
    long = "x" * 60 + "".join(os.urandom(2400).hex())
    await office.pool.execute(
        'update book.events set data = replace(data, \'"worker":"w"\', \'"worker":"w"\')'
    )
    await office.pool.execute(
        "update book.events set data = replace(data, '\"queue\":\"default\"', $1) where type = 'RunRequested'"
        " and subject = $2",
        f'"queue":"{long}"',
        f"run/{run_id}",
    )
    await office.pool.execute(
        "insert into book.projection_errors values (0, 1, 2, 'event', 'once', '', 'could not be read', now())"
    )
    await replayed(office)
    refused = await office.pool.fetch("select model, key, sqlstate from book.projection_errors")
    assert [tuple(row) for row in refused] == [("runs", run_id, "54000")]
    assert await office.pool.fetchval("select count(*) from ledger.runs") == 1
    assert {str(row[0]) for row in await office.pool.fetch("select status from ledger.runs")} == {"succeeded"}


@pytest.mark.long
async def test_an_event_that_cannot_be_read_is_skipped_as_a_projector_does(office):
    job_id = await office.create()
    await office.run(job_id)
    other = await office.create(name="other")
    await archived(office)
    await office.pool.execute("update book.events set v = 99 where subject = $1", f"job/{job_id}")
    outcome = await replayed(office)
    refused = await office.pool.fetch("select model, message from book.projection_errors")
    assert [row["model"] for row in refused] == ["event"]
    assert "99" in refused[0]["message"]
    assert wrong(outcome)["jobs"] == 1
    assert await names(office) == ["other"]
    assert other


async def test_keys_of_personal_data_are_as_they_were(office):
    """Also that of a job of whose erasure the archive tells: only a projector takes keys."""
    job_id = await office.create()
    await office.decider.decide(f"job:{job_id}", EraseJob(by="ann", reason="asked for"), TESTER)
    await archived(office)
    await office.pool.execute("delete from book.personal_keys")
    kept = "insert into book.personal_keys (job, partition, tenant, key) values ($1, 0, 't', sha256('k'))"
    await office.pool.execute(kept, job_id)
    outcome = await replayed(office)
    assert (wrong(outcome), outcome.swapped_s is None) == ({}, False)
    assert await office.pool.fetchval("select count(key) from book.personal_keys") == 1


@pytest.mark.long
async def test_a_state_that_could_not_be_told_is_mended_and_its_job_goes_on(office):
    job_id = await office.create()
    await archived(office)
    await office.pool.execute("update book.snapshots set state = null")
    before = await office.pool.fetchval("select state from book.snapshots")
    await replayed(office)
    assert before is None
    assert await office.pool.fetchval("select state is not null from book.snapshots")
    await office.trigger(job_id)
    await archived(office)
    assert await active_runs(office) == 1
    assert wrong(await replayed(office, dry_run=True)) == {}


@pytest.mark.long
async def test_a_job_has_waypoints_of_what_was_archived_before_there_were_any(office, monkeypatch):
    from services.projector import job_rows  # noqa: PLC0415

    monkeypatch.setattr(job_rows, "APART", 3)
    job_id = await office.create(every=3600)
    for _ in range(5):
        await office.run(job_id)
    await archived(office)
    before = await rows(office.database_url, ("book.waypoints",))
    assert before["book.waypoints"]
    await office.pool.execute("delete from book.waypoints")
    await replayed(office, dry_run=True)
    assert (await rows(office.database_url, ("book.waypoints",)))["book.waypoints"] == []
    await replayed(office)
    assert await rows(office.database_url, ("book.waypoints",)) == before


async def test_a_replay_that_ended_midway_goes_on_where_it_stood(book, monkeypatch):
    """In each of its phases, and never with what another program, or from other copies, has been built."""
    from services.projector.replay import comparing, finishing, gathering, worker  # noqa: PLC0415

    monkeypatch.setattr(worker, "CHUNK", 10)
    monkeypatch.setattr(worker, "FIRST", 10)
    monkeypatch.setattr(gathering, "EVENTS", 20)
    real, taken = gathering.Gatherer.take, []

    async def take(self, events):
        if len(taken) == 5:
            raise ConnectionError
        taken.append(len(events))
        await real(self, events)

    monkeypatch.setattr(gathering.Gatherer, "take", take)
    with pytest.raises(ConnectionError):
        await replayed(book)
    monkeypatch.setattr(gathering.Gatherer, "take", real)
    assert await book.pool.fetchval("select sum(pos) from replay.partitions") == 40, "and 10 were not written"

    async def dies(*_):
        raise ConnectionError

    for module, name in ((finishing, "_attach"), (comparing, "compare"), (swapping, "_lock")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, dies)
            with pytest.raises(ConnectionError):
                await replayed(book)
    outcome = await replayed(book)
    assert (outcome.read.resumed, outcome.read.events) == (outcome.read.events, await events(book))
    assert (wrong(outcome), outcome.swapped_s is None) == ({}, False)
    assert sum(taken) < outcome.read.events
    assert await is_clean(book)


async def events(office):
    return await office.pool.fetchval("select sum(pos)::bigint from book.checkpoints")
