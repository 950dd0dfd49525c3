"""How often somebody may ask, over all API processes together, on a real server."""

import asyncio
import time
from dataclasses import replace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from services.api.app import create_app
from shared.eventlog.connection import connect
from shared.eventlog.limiter import Limiters
from shared.eventlog.log import EventLog
from shared.eventlog.wire import Wire
from shared.metrics import Metrics
from shared.rate import Rate

from .api_stage import JOB, stage_on
from .test_api_auth import by, key_of

HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy")
NEAR, FAR = {"client": ("10.0.0.1", 1)}, {"client": ("192.0.2.1", 1)}


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(
        valkey, postgres, tmp_path, auth="on", secret_key="s" * 40,
        rate_limit="20/h", rate_limit_per_address="60/h", trusted_proxies="10.0.0.0/8",
    ) as made:  # fmt: skip
        yield made


@pytest.fixture
async def other(stage):
    """The application as a second process has it: connections and caches of its own."""
    redis = connect(stage.redis_url)
    log = EventLog(
        redis,
        prefix=stage.prefix,
        partitions=stage.partitions,
        process="api2",
        metrics=Metrics(),
        reopen=stage.reopen,
    )
    await log.sync()
    yield create_app(replace(stage.deps, log=log)).test_client()
    await log.close()
    await redis.aclose()


async def asked(client, credential, times, scope=FAR, **headers):
    """Statuses of so many requests at once."""
    return await asyncio.gather(*(
        client.get("/api/v1/job-types", headers=by(credential) | headers, scope_base=scope) for _ in range(times)
    ))  # fmt: skip


def granted(responses):
    statuses = [each.status_code for each in responses]
    assert set(statuses) <= {200, 429}
    return statuses.count(200)


def counted(stage, name, **labels):
    return stage.metrics.registry.get_sample_value(f"daybook_{name}", labels) or 0


async def limiters(stage, kind):
    return [name async for name in stage.redis.scan_iter(match=f"{stage.prefix}:*:limit:{kind}:*")]


async def test_two_processes_grant_one_limit_between_them(stage, other):
    key, same, bob = [await key_of(stage, owner=owner) for owner in ("ann", "ann", "bob")]
    first, second = await asyncio.gather(
        asked(stage.client, key, 40, {"client": ("192.0.2.1", 1)}),
        asked(other, same, 40, {"client": ("192.0.2.2", 1)}),  # another key and address of hers
    )
    assert abs(granted(first) + granted(second) - 20) <= 1
    assert granted(first) < 20 or granted(second) == 0
    assert granted(await asked(stage.client, bob, 1, {"client": ("192.0.2.3", 1)})) == 1
    refused = next(each for each in first + second if each.status_code == 429)
    document = await refused.get_json(force=True)
    assert document["type"] == "/problems/too-many-requests"
    assert 170 <= int(refused.headers["Retry-After"]) <= 180  # one each 3 minutes
    assert [refused.headers[name] for name in HEADERS] == [
        "20",
        "0",
        refused.headers["RateLimit-Reset"],
        "20;w=3600",
    ]
    assert 3500 <= int(refused.headers["RateLimit-Reset"]) <= 3600
    left = {int(each.headers["RateLimit-Remaining"]) for each in first + second if each.status_code == 200}
    assert left == set(range(20))
    assert counted(stage, "requests_limited_total", limit="principal") == 60
    names = await limiters(stage, "*")
    assert len(names) == 5
    for name in names:
        assert 0 < await stage.redis.pttl(name) <= 3_600_000


async def test_what_was_used_up_is_earned_back_evenly(stage):
    rate, limiter = Rate(20, 1), Limiters(stage.deps.log)
    began, taken = time.monotonic(), 0
    while (lasted := time.monotonic() - began) < 0.6:
        grant = await limiter.take("test", "ann", rate)
        taken += grant.wait_s == 0
        assert 0 <= grant.wait_s <= 0.051
        assert 0 <= grant.left < 20
    assert abs(taken - (20 + lasted * 20)) <= 1.5


async def test_an_address_is_limited_whoever_sends_from_it_and_proxies_speak_for_theirs(stage):
    def via(client):
        return {"X-Forwarded-For": f"203.0.113.250, {client}"}

    statuses = [
        (await stage.client.get("/nowhere", headers=via("192.0.2.9"), scope_base=NEAR)).status_code
        for _ in range(65)
    ]
    assert statuses == [404] * 60 + [429] * 5
    again = await stage.client.get("/nowhere", scope_base={"client": ("192.0.2.9", 7)})
    assert again.status_code == 429  # the same client, without the proxy
    assert "192" not in str((await limiters(stage, "address"))[0])
    key = await key_of(stage)
    (refused,) = await asked(stage.client, key, 1, NEAR, **via("192.0.2.9"))
    assert refused.status_code == 429
    (let,) = await asked(stage.client, key, 1, NEAR, **via("192.0.2.10"))
    assert let.status_code == 200
    (lying,) = await asked(stage.client, key, 1, {"client": ("192.0.2.9", 1)}, **via("192.0.2.11"))
    assert lying.status_code == 429
    for path in ("/livez", "/readyz", "/health"):
        watched = await stage.client.get(path, headers=via("192.0.2.9"), scope_base=NEAR)
        assert watched.status_code in {200, 503}
    assert counted(stage, "requests_limited_total", limit="address") == 8


async def test_the_addresses_of_ipv6_that_one_subscriber_has_are_one(stage):
    for end in range(60):
        await stage.client.get("/nowhere", scope_base={"client": (f"2001:db8::{end:x}", 1)})
    assert (
        await stage.client.get("/nowhere", scope_base={"client": ("2001:db8::ffff", 1)})
    ).status_code == 429
    assert (
        await stage.client.get("/nowhere", scope_base={"client": ("2001:db8:0:1::1", 1)})
    ).status_code == 404


async def test_failed_attempts_count_against_the_client_and_not_against_the_proxy(stage):
    refused = await asked(stage.client, "dbk_x", 40, NEAR, **{"X-Forwarded-For": "192.0.2.1"})
    assert sorted(each.status_code for each in refused) == [401] * 30 + [429] * 10
    (let,) = await asked(stage.client, "dbk_x", 1, NEAR, **{"X-Forwarded-For": "192.0.2.2"})
    assert let.status_code == 401


async def test_a_full_redis_still_counts(stage):
    key = await key_of(stage)
    limit = (await stage.redis.config_get("maxmemory"))["maxmemory"]
    await stage.redis.config_set("maxmemory", 1)
    try:
        assert granted(await asked(stage.client, key, 30)) == 20
    finally:
        await stage.redis.config_set("maxmemory", limit)


async def test_requests_pass_uncounted_while_redis_is_away(stage, monkeypatch):
    """Reads need only Postgres; and nobody waits for Redis twice in a second."""
    token = (await stage.ask("POST", "tokens", headers=by(await key_of(stage)), status=200)).json[
        "access_token"
    ]
    original, tries = Wire.call, []

    async def away(self, *commands):
        if any("limit:" in str(each) for command in commands for each in command):
            tries.append(commands)
            raise RedisConnectionError("it was away")
        return await original(self, *commands)

    monkeypatch.setattr(Wire, "call", away)
    responses = [(await asked(stage.client, token, 1))[0] for _ in range(70)]
    assert granted(responses) == 70
    assert 1 <= len(tries) < 10
    assert not any(name in responses[-1].headers for name in HEADERS)
    assert counted(stage, "requests_unlimited_total") == 140  # by address, by principal


async def test_with_authentication_off_nobody_is_limited(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, rate_limit="1/h", rate_limit_per_address="1/h") as stage:
        for _ in range(3):
            answer = await stage.ask("POST", "jobs", json=JOB, status=201)
        assert not any(name in answer.headers for name in HEADERS)
        assert await limiters(stage, "*") == []
