"""`daybook personal-keys`: with a cold copy and this file all is restored, but what was erased."""

import base64
import json
import stat

import pytest

from shared.domain import ids
from shared.eventlog.connection import connect
from shared.eventlog.keys import Keys
from shared.personal.keys import PersonalKeys
from shared.personal.sealing import ERASED
from shared.readmodel import archive
from shared.readmodel.database import connect_pool
from tests.integration.api_stage import stage_on
from tests.integration.cold_kit import an_empty_database, daybook
from tests.integration.personal_kit import MAIL, a_mail, person


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path / "files", **MAIL) as made:
        await archive.record_deployment(made.pool, partitions=made.partitions, prefix=made.prefix)
        yield made


@pytest.fixture
async def empty(postgres):
    async with an_empty_database(postgres) as url:
        yield url


def stores(stage, database_url=None):
    return {
        "DAYBOOK_DATABASE_URL": database_url or stage.database_url,
        "DAYBOOK_REDIS_URL": stage.redis_url,
        "DAYBOOK_PREFIX": stage.prefix,
    }


async def jobs_one_erased(stage):
    """Two jobs with keys, and one that was erased."""
    kept = [(await stage.create(**a_mail(way)))["id"] for way in ("a", "b")]
    gone = (await stage.create(**a_mail("gone")))["id"]
    old = await stage.deps.personal.of([gone])
    await stage.ask("POST", f"jobs/{gone}/erase", json={"reason": "asked for"}, status=200)
    await stage.level()
    return kept, gone, old[gone]


async def keys_in(stage, url, jobs):
    """What is known of keys of jobs in Postgres, and in both."""
    pool, redis = await connect_pool(url), connect(stage.redis_url)
    there = {r["job"]: r["key"] or ERASED for r in await pool.fetch("table book.personal_keys")}
    both = await PersonalKeys(redis, pool, prefix=stage.prefix).of(jobs)
    await pool.close()
    await redis.aclose()
    return there, both


async def test_a_cold_copy_and_the_file_restore_all_but_what_was_erased(stage, empty, tmp_path):
    kept, gone, old = await jobs_one_erased(stage)
    keys = await stage.deps.personal.of(kept)
    file = tmp_path / "personal.keys"
    said = await daybook("personal-keys", "export", file, **stores(stage))
    assert "2 keys" in said.stdout
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await daybook("archive", "export", "--to", tmp_path / "cold", **stores(stage))
    await stage.stop_projector()
    lines = file.read_text().splitlines()
    former = {"job": gone, "tenant": "default", "key": json_key(old)}
    file.write_text(
        "\n".join([json.dumps(former), *lines]) + "\n"
    )  # as if it had been written before the erasure
    async for name in stage.redis.scan_iter(match=f"{stage.prefix}:*"):
        await stage.redis.delete(name)

    await daybook("archive", "import", tmp_path / "cold", **stores(stage, empty))
    there, _ = await keys_in(stage, empty, kept)
    assert {gone: ERASED} == there
    said = await daybook("personal-keys", "import", file, **stores(stage, empty))
    assert "2 keys brought back, 1 were there or are of erased jobs" in said.stdout
    there, both = await keys_in(stage, empty, [*kept, gone])
    assert keys | {gone: ERASED} == there == both
    await daybook("recover", **stores(stage, empty))  # copies come with the states of their jobs
    copies = [
        await stage.redis.hgetall(Keys(stage.prefix, each).personal) for each in range(stage.partitions)
    ]
    assert {each.encode() for each in kept} == {job for each in copies for job in each}


def json_key(key):
    return base64.b64encode(key).decode()


async def test_an_import_into_an_emptied_archive_has_the_keys_from_redis(stage, empty, tmp_path):
    kept, gone, old = await jobs_one_erased(stage)
    keys = await stage.deps.personal.of(kept)
    await daybook("archive", "export", "--to", tmp_path / "cold", **stores(stage))
    name = stage.log.keys(int(gone[15:18], 16)).personal
    await stage.redis.hset(name, gone, old + b"default")  # as a server that was set back has it
    said = await daybook("archive", "import", tmp_path / "cold", **stores(stage, empty))
    assert "2 keys of personal data brought back from Redis" in said.stdout
    there, _ = await keys_in(stage, empty, kept)
    assert keys | {gone: ERASED} == there


async def test_recovering_levels_keys_though_the_logs_are_open(stage):
    kept, *_ = await jobs_one_erased(stage)
    keys = await stage.deps.personal.of(kept)
    for each in range(stage.partitions):
        await stage.redis.delete(stage.log.keys(each).personal)
    said = await daybook("recover", **stores(stage))
    assert "open already" in said.stdout
    copies = [await stage.redis.hgetall(stage.log.keys(each).personal) for each in range(stage.partitions)]
    assert {job.encode(): key + b"default" for job, key in keys.items()} == copies[0] | copies[1]
    got = await stage.ask("GET", f"jobs/{kept[0]}", status=200)
    assert person("a") == got.json["job_data"]["recipient"]


async def test_recovering_destroys_a_key_whose_erasure_meant_nothing_to_who_archived_it(stage):
    """A projector of a Daybook from before, in an upgrade in the wrong order: saying it again would change nothing."""
    _, gone, key = await jobs_one_erased(stage)
    await stage.pool.execute(
        "update book.personal_keys set key = $2, erased_at = null where job = $1", gone, key
    )
    name = stage.log.keys(ids.partition_of(gone)).personal
    await stage.redis.hset(name, gone, key + b"default")
    await daybook("recover", **stores(stage))
    assert {gone: ERASED} == (await keys_in(stage, stage.database_url, [gone]))[1]
    assert not await stage.redis.hexists(name, gone)


async def test_a_file_that_is_there_is_left_alone_and_one_that_is_none_does_nothing(stage, tmp_path):
    await stage.create(**a_mail("a"))
    file = tmp_path / "personal.keys"
    file.write_text("not ours")
    said = await daybook("personal-keys", "export", file, status=1, **stores(stage))
    assert "exists" in said.stderr
    assert file.read_text() == "not ours"
    for line in ("{}", "[1]", '{"job": "x", "tenant": "t", "key": "AA=="}'):
        file.write_text(f"{line}\n")
        said = await daybook("personal-keys", "import", file, status=1, **stores(stage))
        assert "Line 1" in said.stderr
        assert "nothing was done" in said.stderr
