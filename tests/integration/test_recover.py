"""`daybook recover`: a line a partition, and a status that scripts can go by."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.embedded import DataDir, Endpoints
from shared.readmodel import archive
from tests.integration.archive_kit import all_of, an_office
from tests.integration.databases import a_database
from tests.integration.heal_kit import forged, rewrite, wipe, write_side
from tests.integration.trace_kit import look

DAYBOOK = [sys.executable, str(Path(sys.executable).with_name("daybook"))]


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        made.database_url = f"{postgres.endpoint.url.rpartition('/')[0]}/{await database_of(made)}"
        await archive.record_deployment(made.pool, partitions=2, prefix=made.bench.prefix)
        yield made


async def database_of(office):
    return await office.pool.fetchval("select current_database()")


def recover(*options, **variables):
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
    done = subprocess.run(
        [*DAYBOOK, "recover", *options],
        env=ours | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def at(office):
    return {"DAYBOOK_REDIS_URL": office.url, "DAYBOOK_DATABASE_URL": office.database_url}


async def test_it_says_what_it_finds_and_heals_unless_it_is_only_to_look(office):
    run_id = await office.trigger(await office.create())
    await all_of(office.projector())
    assert recover(**at(office))[:2] == (0, ["partition 0: open already", "partition 1: open already"])
    before, tail = await write_side(office), (await look(office)).tail_at
    await wipe(office)
    await office.redis.hset(office.keys(1).meta, "incarnation", "another")
    assert recover("--dry-run", **at(office))[:2] == (
        0,
        [
            f"partition 0: the log is empty, the archive is at {tail}: would be healed",
            "partition 1: level with the archive: would be opened",
        ],
    )
    assert await office.redis.exists(office.keys(0).log) == 0, "it has only looked"
    assert recover(**at(office))[:2] == (
        0,
        [
            f"partition 0: the log is empty, the archive is at {tail}: healed, "
            "1 jobs and 1 runs made anew, opened",
            "partition 1: level with the archive: opened",
        ],
    )
    assert await write_side(office) == before
    await office.succeed(run_id, await office.start(run_id))


async def test_a_fork_is_told_and_its_events_are_counted(office):
    for _ in range(3):
        await office.create()
    await all_of(office.projector())
    epoch = (await look(office)).epoch
    await rewrite(office, lambda entries: forged(entries, 2))
    told = (
        f"partition 0: forked after {epoch}-2 (the log ends at {epoch}-4, the archive at {epoch}-4): "
        "its own events would be quarantined, and it would be healed"
    )
    assert recover("--dry-run", **at(office))[1][0] == told
    status, lines, logged = recover(**at(office))
    assert status == 0
    assert lines[0] == (
        f"partition 0: forked after {epoch}-2: 2 events quarantined, healed, 3 jobs and 0 runs made anew, opened"
    )
    assert "the log has forked" in logged


async def test_what_can_not_be_opened_ends_with_a_sentence_and_the_others_are_opened(office):
    await office.create()
    await all_of(office.projector())
    await rewrite(office, lambda entries: forged(entries, 0))
    await office.redis.hset(office.keys(1).meta, "incarnation", "another")
    for options in (["--dry-run"], []):
        status, lines, _ = recover(*options, **at(office))
        assert status == 1
        assert lines[0].startswith("partition 0: The log of partition 0 (")
        assert "no event in common" in lines[0]
        assert lines[1].startswith("partition 1: level with the archive")


async def test_it_needs_nothing_but_the_directory_of_a_running_system(office, tmp_path):
    endpoints = Endpoints(pid=1, api="", redis=office.url, postgres=office.database_url)
    DataDir(tmp_path).write_endpoints(endpoints)
    expected = ["partition 0: open already", "partition 1: open already"]
    assert recover(DAYBOOK_DATA_DIR=str(tmp_path))[:2] == (0, expected)
    assert recover("--data-dir", str(tmp_path))[:2] == (0, expected)


async def test_where_there_is_nothing_to_recover_it_says_so(office, postgres, tmp_path):
    status, lines, said = recover(DAYBOOK_DATA_DIR=str(tmp_path / "none"))
    assert (status, lines) == (1, [])
    assert "set DAYBOOK_DATA_DIR to the directory of a running" in said
    for migrated in (False, True):
        async with a_database(postgres, migrated=migrated) as url:
            status, lines, said = recover(**at(office) | {"DAYBOOK_DATABASE_URL": url})
            assert (status, lines) == (1, [])
            assert "This database has no deployment yet" in said
    status, _, said = recover(**at(office) | {"DAYBOOK_REDIS_URL": "redis://127.0.0.1:1/0"})
    assert status == 1
    assert "127.0.0.1:1" in said
