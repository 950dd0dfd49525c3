"""Who asks and changes how much, on real servers."""

from datetime import timedelta

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError

from services.api.usage import HOUR_MS, Usage
from shared.domain import ids
from shared.readmodel.database import sql

from .api_stage import JOB, stage_on
from .test_api_auth import by, key_of


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on", secret_key="s" * 40) as made:
        yield made


async def told(stage, headers=None, **parameters):
    """The document; its items by principal: (requests, changes)."""
    await stage.deps.usage.flush()
    await stage.level()
    answer = await stage.ask("GET", "stats/principals", headers=headers, query_string=parameters, status=200)
    items = {each["principal"]: (each["requests"], each["changes"]) for each in answer.json["items"]}
    return answer.json, items


async def test_requests_and_changes_are_counted_by_actor_of_the_own_tenant(stage):
    ann, bob = [by(await key_of(stage, owner=owner)) for owner in ("ann", "bob")]
    eve = by(await key_of(stage, owner="eve", tenant="umbra"))
    job = (await stage.ask("POST", "jobs", json=JOB, headers=ann, status=201)).json["id"]
    await stage.ask("POST", f"jobs/{job}/pause", headers=ann, status=200)
    for _ in range(3):
        await stage.ask("GET", "jobs", headers=bob, status=200)
    await stage.ask("POST", "api-keys", json={"name": "ci", "role": "viewer"}, headers=bob, status=201)
    await stage.ask("POST", "jobs", json=JOB, headers=eve, status=201)
    await stage.ask("GET", "jobs", status=401)
    await stage.ask("GET", "/livez")
    await stage.ask("GET", "/nowhere", status=404)
    document, items = await told(stage, ann)
    assert items == {"ann": (2, 2), "bob": (4, 1), "tester": (0, 2)}  # who made the keys of ann and bob
    assert [each["principal"] for each in document["items"]] == ["ann", "tester", "bob"]
    assert document["items"][0]["last_change_at"] is not None
    assert document["more"] is False
    _, items = await told(stage, eve)
    assert items == {"eve": (1, 1), "tester": (0, 1)}
    document, items = await told(stage, ann, limit=1)
    assert (list(items), document["more"]) == (["ann"], True)
    now = await stage.log.sync()
    _, items = await told(
        stage,
        ann,
        **{"from": (now - timedelta(days=3)).isoformat(), "to": (now - timedelta(days=2)).isoformat()},
    )
    assert items == {}


async def test_only_admins_may_look_and_only_at_a_week(stage):
    editor = by(await key_of(stage, "editor"))
    await stage.ask("GET", "stats/principals", headers=editor, status=403)
    admin, now = by(await key_of(stage)), await stage.log.sync()
    for since in (now + timedelta(hours=1), now - timedelta(days=8), "yesterday"):
        span = {"from": since if isinstance(since, str) else since.isoformat(), "to": now.isoformat()}
        refused = await stage.ask("GET", "stats/principals", headers=admin, query_string=span, status=422)
        assert refused.json["errors"][0]["pointer"] == "?from"


async def test_counts_of_two_processes_are_added_up_and_end_by_themselves(stage):
    admin = by(await key_of(stage))
    await stage.ask("GET", "jobs", headers=admin, status=200)
    other = Usage(stage.log)
    principal = type("P", (), {"tenant": "acme", "id": "ann"})
    for _ in range(5):
        other.count(principal)
    await other.flush()
    _, items = await told(stage, admin)
    assert items["ann"][0] == 6
    names = [name async for name in stage.redis.scan_iter(match=f"{stage.prefix}:*:asked:*")]
    assert 1 <= len(names) <= 2  # the hour may have ended
    for name in names:
        assert 7 * 24 * HOUR_MS < await stage.redis.pttl(name) <= 8 * 24 * HOUR_MS


async def test_counts_are_kept_while_redis_is_full(stage):
    admin = by(await key_of(stage))
    await stage.ask("GET", "jobs", headers=admin, status=200)
    limit = (await stage.redis.config_get("maxmemory"))["maxmemory"]
    await stage.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(OutOfMemoryError):
            await stage.deps.usage.flush()
    finally:
        await stage.redis.config_set("maxmemory", limit)
    _, items = await told(stage, admin)
    assert items["ann"][0] == 1


async def test_counts_are_kept_while_redis_is_away(stage, monkeypatch):
    admin = by(await key_of(stage))
    await stage.ask("GET", "jobs", headers=admin, status=200)

    async def refuse(*_arguments):
        raise RedisConnectionError

    monkeypatch.setattr(stage.deps.usage, "_add", refuse)
    with pytest.raises(RedisConnectionError):
        await stage.deps.usage.flush()
    monkeypatch.undo()
    _, items = await told(stage, admin)
    assert items["ann"][0] == 1


async def test_what_is_counted_while_nothing_can_be_flushed_is_bounded(stage, monkeypatch):
    monkeypatch.setattr("services.api.usage._UNFLUSHED_MAX", 2)
    usage = Usage(stage.log)
    for name in ("a", "b", "c", "a"):
        usage.count(type("P", (), {"tenant": "t", "id": name}))
    await usage.flush()
    now = await stage.log.sync()
    found = await usage.counted(now - timedelta(hours=1), now + timedelta(milliseconds=1), "t")
    assert found == {"a": 2, "b": 1}


async def test_the_index_of_peoples_changes_is_used(stage):
    now = ids.from_ms(ids.to_ms(await stage.log.sync()))
    async with stage.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local enable_seqscan = off")
        text = sql("services.api", "queries/principals.sql")
        rows = await connection.fetch(f"explain {text}", now - timedelta(days=1), now, 10, None)
    plan = "\n".join(row[0] for row in rows)
    assert "_at_actor_idx" in plan, plan
