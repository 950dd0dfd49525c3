"""`daybook keys`: the first key can be made without any other, and opens the API."""

import pytest

from shared.readmodel import archive

from .api_stage import JOB, stage_on
from .cli_kit import process


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on") as made:
        await archive.record_deployment(made.pool, partitions=made.partitions, prefix=made.prefix)
        yield made


async def keys(stage, *options):
    """Its status, lines and complaints; the projector goes on meanwhile."""
    done = await process(
        "keys",
        *options,
        DAYBOOK_REDIS_URL=stage.redis_url,
        DAYBOOK_DATABASE_URL=stage.database_url,
        DAYBOOK_ENV="production",
        DAYBOOK_AUTH="on",
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


async def test_a_first_key_is_made_used_listed_and_revoked(stage):
    status, (key,), _ = await keys(
        stage, "create", "--name", "first", "--role", "admin", "--owner", "ann", "--expires-in", "30"
    )
    assert status == 0
    headers = {"X-API-Key": key}
    job = (await stage.ask("POST", "jobs", json=JOB, headers=headers, status=201)).json
    assert (job["owner"], job["tenant"]) == ("ann", "default")
    await stage.ask("POST", "tokens", headers=headers, status=422)  # there is no secret to sign one with
    status, lines, _ = await keys(stage, "list")
    assert status == 0
    assert lines[0].split("\t")[:3] == ["id", "prefix", "role"]
    key_id, *told = lines[1].split("\t")
    assert told[:5] == [key[:12], "admin", "default", "ann", "first"]
    assert told[-1] == "-"
    assert key not in "\n".join(lines)
    assert (await keys(stage, "revoke", key_id))[:2] == (0, [f"{key_id} is revoked"])
    await stage.ask("GET", "jobs", headers=headers, status=401)
    assert (await keys(stage, "list"))[1][1].split("\t")[-1] != "-"


async def test_what_makes_no_sense_is_said_and_nothing_is_made(stage):
    for options, said in (
        (("create", "--name", "x", "--role", "viewer", "--owner", "timer"), "is no part of the system"),
        (("create", "--name", "x", "--role", "viewer", "--owner", "a b"), "visible ASCII"),
        (("create", "--name", "x", "--role", "viewer", "--tenant", "a/b"), "A tenant has"),
        (("create", "--name", "a\nb", "--role", "viewer", "--owner", "ann"), "A name has"),
        (("revoke", "dbk_nobodys"), "means no keys"),
    ):
        status, _, error = await keys(stage, *options)
        assert status == 1
        assert said in " ".join(error.split())
    await stage.level()
    assert await stage.pool.fetchval("select count(*) from ledger.api_keys") == 0


async def test_a_key_that_the_archive_does_not_have_is_not_called_made(stage):
    await stage.stop_projector()
    status, lines, error = await keys(stage, "create", "--name", "x", "--role", "viewer", "--owner", "ann")
    assert (status, lines) == (1, [])
    assert "is a projector running?" in error
    stage.start_projector()
    await stage.level()
    assert (await keys(stage, "list"))[1][1:] != []
