"""`daybook archive`: copies of the archive, made beside a system at work, proved without it, and brought back."""

import json
import shutil

import asyncpg
import pytest

from services.projector import importing, units
from shared.faults import Fatal
from shared.readmodel import archive, database
from shared.readmodel.cold import directory, exporting, segments
from shared.recovery import open_log
from shared.testing import LEASE, chance
from tests.integration.archive_kit import an_office
from tests.integration.cold_kit import LEDGERS, a_history, an_empty_database, archived, at, daybook, rows
from tests.integration.heal_kit import wipe, write_side


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        await a_history(made)
        yield made


@pytest.fixture
async def empty(postgres):
    async with an_empty_database(postgres) as url:
        yield url


@pytest.fixture
async def copy(office, tmp_path):
    await daybook("archive", "export", "--to", tmp_path / "cold", **at(office.database_url))
    return tmp_path / "cold"


async def test_a_copy_goes_through_an_empty_database_and_redis_follows_it(office, copy, empty, monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 3)
    before, redis_before = await rows(office.database_url), await write_side(office)
    said = await daybook("archive", "verify", copy, DAYBOOK_DATABASE_URL="postgresql://127.0.0.1:1/none")
    count = len(before["book.events"])
    assert f"{count} events of {office.bench.prefix}" in said.stdout
    assert said.stdout.splitlines()[-1].endswith("holds")
    said = await daybook("archive", "import", copy, **at(empty))
    assert f"{count} events imported, 0 were there" in said.stdout
    assert await rows(empty) == before
    await wipe(office)
    pool = await database.connect_pool(empty)
    try:
        for partition in range(2):
            await open_log(
                pool, office.redis, prefix=office.bench.prefix, partition=partition, partitions=2,
                lease=LEASE, chance=chance,
            )  # fmt: skip
    finally:
        await pool.close()
    assert await write_side(office) == redis_before


async def test_a_log_that_is_open_goes_on_after_an_import(office, copy, empty):
    await daybook("archive", "import", copy, **at(empty))
    await office.create()
    async with await database.connect_pool(empty) as pool:
        office.pool = pool
        await archived(office)
        assert len(await office.archived()) == len(await _events(office.database_url, 0)) + 1


async def test_a_copy_is_continued_and_so_is_an_import(office, copy, empty):
    await daybook("archive", "import", copy, **at(empty))
    job_id = await office.create()
    await office.run(job_id)
    await archived(office)
    before = json.loads((copy / "manifest.json").read_text())
    said = await daybook("archive", "export", "--to", copy.as_uri(), **at(office.database_url))
    assert said.stdout.startswith("4 events copied"), said.stdout
    after = json.loads((copy / "manifest.json").read_text())
    assert [each for each in after["segments"] if each in before["segments"]] == before["segments"]
    await daybook("archive", "verify", copy)
    said = await daybook("archive", "import", copy, **at(empty))
    assert said.stdout.startswith("4 events imported")
    said = await daybook("archive", "import", copy, **at(empty))
    assert said.stdout.startswith("0 events imported")
    assert await rows(empty) == await rows(office.database_url)


async def test_an_export_that_was_killed_is_a_copy_of_less_and_goes_on(office, tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "EVENTS_MAX", 4)
    keep, kept = directory.Directory.keep, []

    def killed(self, segment, data):
        if len(kept) == 2:
            directory._put(self.path / segment.name, data)  # it is there, but the manifest doesn't name it
            raise Fatal("killed")
        kept.append(keep(self, segment, data))

    monkeypatch.setattr(directory.Directory, "keep", killed)
    await daybook("archive", "export", "--to", tmp_path / "cold", status=1, **at(office.database_url))
    said = await daybook("archive", "verify", tmp_path / "cold")
    assert said.stdout.splitlines()[-1].startswith("8 events")
    monkeypatch.setattr(directory.Directory, "keep", keep)
    await daybook("archive", "export", "--to", tmp_path / "cold", **at(office.database_url))
    said = await daybook("archive", "verify", "--json", tmp_path / "cold")
    assert json.loads(said.stdout)["events"] == len((await rows(office.database_url))["book.events"])


async def test_an_import_that_was_killed_goes_on(office, copy, empty, monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 3)
    commit, calls = importing.commit, []

    async def killed(connection, batch, destroy):
        if len(calls) == 2:
            raise Fatal("killed")
        calls.append(batch)
        return await commit(connection, batch, destroy)

    monkeypatch.setattr(importing, "commit", killed)
    await daybook("archive", "import", copy, status=1, **at(empty))
    had = (await rows(empty))["book.events"]
    assert 0 < len(had) < len((await rows(office.database_url))["book.events"])
    monkeypatch.setattr(importing, "commit", commit)
    said = await daybook("archive", "import", copy, **at(empty))
    assert f"{len(had)} were there" in said.stdout
    assert await rows(empty) == await rows(office.database_url)


async def test_copies_that_follow_each_other_are_imported_one_after_the_other(office, empty, tmp_path):
    events = await _events(office.database_url, 0)
    middle = events[7]
    whole = tmp_path / "whole"
    await daybook("archive", "export", "--to", whole, **at(office.database_url))
    place = f"0:{middle['epoch']}-{middle['pos']}"
    later = tmp_path / "later"
    await daybook("archive", "export", "--to", later, "--from", place, **at(office.database_url))
    said = await daybook("archive", "verify", "--json", later)
    assert json.loads(said.stdout)["events"] == len((await rows(office.database_url))["book.events"]) - 8
    said = await daybook("archive", "import", later, status=1, **at(empty))
    assert "begins at position 9 of partition 0, the archive ends at 0" in said.stderr
    assert (await rows(empty))["book.events"] == []
    await daybook("archive", "import", whole, **at(empty))
    await daybook("archive", "import", later, **at(empty))


async def test_a_copy_that_contradicts_is_refused_and_nothing_is_written(office, copy, empty, monkeypatch):
    await daybook("archive", "import", copy, **at(empty))
    await office.create()
    await archived(office)
    await daybook("archive", "export", "--to", copy, **at(office.database_url))
    last = (await _events(empty, 0))[-1]["pos"]
    connection = await asyncpg.connect(empty)
    await connection.execute("update book.checkpoints set chain = sha256('') where partition = 0")
    before = await rows(empty)
    said = await daybook("archive", "import", copy, status=1, **at(empty))
    assert f"contradicts the archive: their links differ at 0:{last}" in said.stderr
    await connection.execute("update book.deployment set prefix = 'another'")
    said = await daybook("archive", "import", copy, status=1, **at(empty))
    assert "another deployment's" in said.stderr
    await connection.close()
    assert await rows(empty) == before


async def test_a_covered_copy_that_differs_is_refused(office, copy):
    connection = await asyncpg.connect(office.database_url)
    await connection.execute("update book.events set chain = sha256('') where partition = 1")
    await connection.close()
    await office.pool.close()
    said = await daybook("archive", "import", copy, status=1, **at(office.database_url))
    assert "contradicts the archive: their links differ at 1:" in said.stderr


async def test_an_archive_whose_log_was_opened_since_takes_nothing_behind_its_back(office, copy, empty):
    connection = await asyncpg.connect(empty)
    await connection.close()
    async with await database.connect_pool(empty, session={"application_name": "test"}) as pool:
        await archive.raise_fence(pool, 0, 10**15)
        said = await daybook("archive", "import", copy, status=1, **at(empty))
        assert "was opened for epoch 1000000000000000 after the copy was made" in said.stderr
        assert await pool.fetchval("select count(*) from book.events") == 0


async def test_services_at_work_are_in_the_way(copy, empty):
    async with await database.connect_pool(empty):
        said = await daybook("archive", "import", copy, status=1, **at(empty))
    assert "connections of Daybook's services are open" in said.stderr


async def test_a_damaged_copy_is_not_imported_not_even_its_beginning(copy, empty):
    last = sorted((copy / "events" / "p0001").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-1])
    said = await daybook("archive", "import", copy, status=1, **at(empty))
    assert "isn't whole" in said.stderr
    assert not any((await rows(empty, ("book.events", *LEDGERS))).values())


async def test_a_copy_goes_into_no_directory_of_something_else(office, tmp_path):
    (tmp_path / "mine").write_text("")
    said = await daybook("archive", "export", "--to", tmp_path, status=1, **at(office.database_url))
    assert "holds 'mine', and no cold copy" in said.stderr
    said = await daybook("archive", "verify", tmp_path, status=1)
    assert "it has no manifest.json" in said.stderr


async def test_a_copy_is_not_continued_by_another_history(office, copy):
    await office.pool.execute("update book.events set chain = sha256('') where pos > 3")
    await office.create()
    await archived(office)
    said = await daybook("archive", "export", "--to", copy, status=1, **at(office.database_url))
    assert "the archive contradicts the copy" in said.stderr
    shutil.rmtree(copy)
    said = await daybook("archive", "export", "--to", copy, status=1, **at(office.database_url))
    assert "links of the archive don't follow" in said.stderr


async def _events(url, partition):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(
            "select * from book.events where partition = $1 order by pos", partition
        )
    finally:
        await connection.close()


def test_batches_are_as_large_as_a_projectors():
    assert importing.BATCH is units.BATCH
    assert exporting.AT_ONCE < units.BATCH
