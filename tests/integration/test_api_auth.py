"""Who may: keys, tokens, roles and tenants, through the API on real servers."""

import json
import re
import secrets
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from quart import g

from services.api.auth import FAILURES, needed
from services.api.idempotency import Idempotency
from services.api.ledger import Chosen
from services.api.list_sql import JOBS, RUNS, Choice
from services.api.principal import Principal
from shared.domain import apikey, ids
from shared.domain.commands import FailRun, IssueApiKey, RevokeApiKey, StartRun
from shared.domain.events import Failure
from shared.eventlog.position import parse_places
from shared.eventlog.snapshot import NOTHING
from shared.testing import TESTER, chance, wait_until

from .api_stage import JOB, stage_on

SECRET = "s" * 40
CHALLENGE = 'Bearer realm="daybook"'


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(
        valkey, postgres, tmp_path, auth="on", secret_key=SECRET, max_jobs_per_user=3
    ) as made:
        yield made


@pytest.fixture
async def unguarded(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, max_jobs_per_user=1) as made:
        yield made


async def key_of(stage, role="admin", tenant="acme", owner="ann", *, lasts=None):
    """A key, made without the API, as the first one is."""
    key = apikey.made_of(secrets.token_urlsafe(apikey.SECRET_BYTES))
    key_hash = apikey.digest(key)
    now = await stage.log.sync()
    command = IssueApiKey(
        id=ids.chance_id(now, apikey.partition_of(key_hash, stage.partitions), chance()),
        hash=key_hash,
        prefix=apikey.shown(key),
        name="a test's",
        role=role,
        tenant=tenant,
        owner=owner,
        by="tester",
        expires_at=None if lasts is None else now + lasts,
    )
    await stage.deps.decider.decide(f"apikey:{key_hash}", command, TESTER, held=NOTHING)
    return key


def by(credential):
    return {"Authorization": f"Bearer {credential}"}


async def metric(stage, reason):
    return stage.metrics.registry.get_sample_value("daybook_auth_failures_total", {"reason": reason}) or 0


# Keys.


async def test_a_key_is_shown_once_and_opens_until_the_request_after_its_revocation(stage):
    admin = by(await key_of(stage))
    made = await stage.ask(
        "POST", "api-keys", json={"name": "ci", "role": "viewer"}, headers=admin, status=201
    )
    key, shown = made.json["key"], {name: told for name, told in made.json.items() if name != "key"}
    assert made.headers["Cache-Control"] == "no-store"
    assert re.fullmatch(r"dbk_[\w-]{43}", key)
    for headers in (by(key), {"X-API-Key": key}):
        await stage.ask("GET", "jobs", headers=headers, status=200)
    listed = (await stage.ask("GET", "api-keys", headers=admin, status=200)).json["items"]
    assert listed[0].pop("last_used_at") is not None
    assert listed[0] == {name: told for name, told in shown.items() if name != "last_used_at"}
    assert key not in str(listed)
    await stage.ask("DELETE", f"api-keys/{shown['id']}", headers=admin, status=204)
    refused = await stage.ask("GET", "jobs", headers=by(key), status=401)
    assert refused.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="invalid_token"'
    await stage.ask("DELETE", f"api-keys/{shown['id']}", headers=admin, status=204)
    listed = (await stage.ask("GET", "api-keys", headers=admin, status=200)).json["items"]
    assert listed[0]["revoked"]["by"] == "ann"


async def test_a_revocation_holds_though_the_archive_lags(stage):
    admin, other = by(await key_of(stage)), await key_of(stage, "viewer")
    await stage.level()
    other_id = (await stage.ask("GET", "api-keys", headers=admin)).json["items"][0]["id"]
    await stage.ask("GET", "jobs", headers=by(other), status=200)
    await stage.stop_projector()
    no_wait = admin | {"Prefer": "wait=0"}
    await stage.ask("DELETE", f"api-keys/{other_id}", headers=no_wait, status=202)
    await stage.ask("GET", "jobs", headers=by(other), status=401)


async def test_a_key_made_and_revoked_within_one_batch_is_listed_so(stage):
    admin = await key_of(stage)
    await stage.level()
    await stage.stop_projector()
    other = await key_of(stage, "viewer", owner="bob")
    revoke = RevokeApiKey(by="ann")
    await stage.deps.decider.decide(f"apikey:{apikey.digest(other)}", revoke, TESTER)
    stage.start_projector()
    await stage.level()
    listed = (await stage.ask("GET", "api-keys", headers=by(admin), status=200)).json["items"]
    assert [(each["owner"], each["revoked"] is not None) for each in listed] == [
        ("bob", True),
        ("ann", False),
    ]


async def test_a_full_redis_lets_in_whoever_may_and_nobody_else(stage):
    admin, other = by(await key_of(stage)), by(await key_of(stage, "viewer", owner="bob"))
    await stage.level()
    limit = (await stage.redis.config_get("maxmemory"))["maxmemory"]
    await stage.redis.config_set("maxmemory", 1)
    try:
        await stage.ask("GET", "jobs", headers=other, status=200)
        await stage.ask("GET", "jobs", headers=by("dbk_wrong"), status=401)
        listed = (await stage.ask("GET", "api-keys", headers=admin, status=200)).json["items"]
        await stage.ask("DELETE", f"api-keys/{listed[0]['id']}", headers=admin, status=204)
        await stage.ask("GET", "jobs", headers=other, status=401)
    finally:
        await stage.redis.config_set("maxmemory", limit)


async def test_the_key_itself_is_kept_nowhere(stage):
    admin = await key_of(stage)
    made = await stage.ask(
        "POST", "api-keys", json={"name": "ci", "role": "viewer"}, headers=by(admin), status=201
    )
    await stage.ask("GET", "jobs", headers=by(made.json["key"]), status=200)
    secret = made.json["key"].removeprefix("dbk_")
    async for name in stage.redis.scan_iter(match=f"{stage.prefix}:*"):
        kind = await stage.redis.type(name)
        held = (
            await stage.redis.dump(name)
            if kind != b"stream"
            else str(await stage.redis.xrange(name)).encode()
        )
        assert secret.encode() not in name + (held or b"")  # a limiter's key may be gone by now
    for table in ("book.events", "ledger.api_keys"):
        for row in await stage.pool.fetch(f"select * from {table}"):  # noqa: S608
            assert secret not in str(row)


async def test_a_key_opens_nothing_once_it_has_expired(stage):
    key = await key_of(stage, lasts=timedelta(milliseconds=400))
    await stage.ask("GET", "jobs", headers=by(key), status=200)

    async def has_expired():
        return (await stage.ask("GET", "jobs", headers=by(key))).status == 401

    await wait_until(has_expired, "the key has expired")
    assert await metric(stage, "expired") > 0


async def test_checking_a_key_needs_no_postgres(stage):
    key = await key_of(stage)
    asked = []

    async def count(_ledger, question, *_arguments):
        asked.append(question)
        return []

    original = type(stage.deps.ledger)._ask
    type(stage.deps.ledger)._ask = count
    try:
        await stage.ask("GET", "job-types", headers=by(key), status=200)
        await stage.ask("GET", "job-types", headers=by("dbk_wrong"), status=401)
    finally:
        type(stage.deps.ledger)._ask = original
    assert asked == []


async def test_keys_come_back_with_a_rebuilt_log_and_revoked_ones_do_not(stage):
    admin, other = await key_of(stage), await key_of(stage, "viewer")
    await stage.level()
    other_id = (await stage.ask("GET", "api-keys", headers=by(admin))).json["items"][0]["id"]
    await stage.ask("DELETE", f"api-keys/{other_id}", headers=by(admin), status=204)
    ref = f"apikey:{apikey.digest(admin)}"
    name = stage.log.keys(stage.log.partition_of(ref)).aggregate(ref)
    before = await stage.redis.hgetall(name)
    await stage.level()
    async for each in stage.redis.scan_iter(match=f"{stage.prefix}:*"):
        await stage.redis.delete(each)
    await stage.ask("GET", "jobs", headers=by(admin), status=200)
    assert await stage.redis.hgetall(name) == before
    await stage.ask("GET", "jobs", headers=by(other), status=401)
    ref = f"apikey:{apikey.digest(other)}"
    assert not await stage.redis.exists(stage.log.keys(stage.log.partition_of(ref)).aggregate(ref))


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"role": "viewer"}, "#/name"),
        ({"name": "x"}, "#/role"),
        ({"name": "x", "role": "root"}, "#/role"),
        ({"name": "x", "role": "viewer", "owner": "timer"}, "#/owner"),
        ({"name": "x", "role": "viewer", "owner": "a b"}, "#/owner"),
        ({"name": "x", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}, "#/expires_at"),
        ({"name": "x", "role": "viewer", "tenant": "other"}, "#/tenant"),
    ],
)
async def test_a_key_that_makes_no_sense_is_not_made(stage, body, pointer):
    answer = await stage.ask("POST", "api-keys", json=body, headers=by(await key_of(stage)), status=422)
    assert answer.json["errors"][0]["pointer"] == pointer


# Tokens.


async def test_a_key_is_exchanged_for_a_token_that_ends_with_it(stage):
    admin, key = by(await key_of(stage)), await key_of(stage, "operator", owner="bob")
    told = (await stage.ask("POST", "tokens", headers=by(key), status=200)).json
    assert (told["token_type"], told["expires_in"]) == ("Bearer", 900)
    token = by(told["access_token"])
    await stage.ask("GET", "jobs", headers=token, status=200)
    assert "operator" in (await stage.ask("POST", "jobs", json=JOB, headers=token, status=403)).json["detail"]
    await stage.ask("POST", "tokens", headers=token, status=403)  # not from one token to the next
    await stage.level()
    key_id = (await stage.ask("GET", "api-keys", headers=admin)).json["items"][0]["id"]
    await stage.ask("DELETE", f"api-keys/{key_id}", headers=admin, status=204)
    await stage.ask("GET", "jobs", headers=token, status=401)


async def test_a_token_that_can_not_be_checked_now_is_not_called_wrong(valkey, postgres, tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    told = {"sub": "ann", "tenant": "acme", "role": "viewer", "iss": "daybook", "aud": "daybook"}
    token = jwt.encode(told | {"exp": 1 << 39}, key, algorithm="RS256", headers={"kid": "r"})
    keys = tmp_path / "keys.json"
    async with stage_on(valkey, postgres, tmp_path, auth="on", jwks=str(keys)) as stage:
        answer = await stage.ask("GET", "jobs", headers=by(token), status=503)
        assert "Retry-After" in answer.headers
        public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "r"}
        keys.write_text(json.dumps({"keys": [public]}))
        await stage.ask("GET", "jobs", headers=by(token), status=200)
        assert "editor" in (await stage.ask("POST", "jobs", json=JOB, headers=by(token), status=403)).text


# Who says nothing, or nothing true.


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "missing"),
        ({"Authorization": "Basic YTpi"}, "malformed"),
        ({"Authorization": "Bearer dbk_x", "X-API-Key": "dbk_x"}, "malformed"),
        ({"Authorization": "Bearer dbk_x"}, "unknown"),
        ({"X-API-Key": "dbk_" + "é" * 3}, "unknown"),
        ({"Authorization": "Bearer "}, "token"),
        ({"Authorization": "Bearer a.b.c"}, "token"),
        ({"X-API-Key": "x"}, "token"),
    ],
)
async def test_nobody_gets_in_without_a_key_or_a_token(stage, headers, reason):
    answer = await stage.ask("GET", "jobs", headers=headers, status=401)
    assert answer.json["type"] == "/problems/unauthorized"
    assert answer.headers["WWW-Authenticate"].startswith(CHALLENGE)
    assert await metric(stage, reason) == 1


async def test_failed_attempts_are_limited_and_the_limit_ends_by_itself(stage):
    async def refused():  # a machine that is slow gets an attempt back in between
        answer = await stage.ask("GET", "jobs", headers=by("dbk_x"))
        return answer if answer.status == 429 else None

    said = [(await stage.ask("GET", "jobs", headers=by(f"dbk_{n}"))).status for n in range(FAILURES.most)]
    assert said == [401] * FAILURES.most
    answer = await wait_until(refused, "an attempt is refused")
    assert int(answer.headers["Retry-After"]) in {1, 2}
    assert await metric(stage, "limited") == 1
    names = [name async for name in stage.redis.scan_iter(match=f"{stage.prefix}:*:limit:attempts:*")]
    assert len(names) == 1
    assert 0 < await stage.redis.pttl(names[0]) <= FAILURES.window_s * 1000
    await stage.ask(
        "GET", "jobs", headers=by(await key_of(stage)), status=200
    )  # nobody can lock out a neighbour


async def test_open_pages_need_nobody_and_metrics_do_unless_they_are_set_open(stage):
    for path in ("/livez", "/readyz", "/health", "/openapi.json", "/docs/"):
        assert (await stage.ask("GET", path)).status in {200, 503}
    await stage.ask("GET", "/metrics", status=401)
    await stage.ask("GET", "/metrics", headers=by(await key_of(stage, "viewer")), status=200)
    assert needed("metrics", open_metrics=True) is None
    await stage.ask("GET", "/nowhere", status=404)


# Tenants, owners, quotas.


async def dead_run(stage, job_id, headers):
    run = (await stage.ask("POST", f"jobs/{job_id}/trigger", headers=headers, status=201)).json["id"]
    fence = (await stage.deps.decider.decide(f"run:{run}", StartRun(worker="w"), TESTER)).after.fence
    error = Failure(class_="OSError", message="no")
    failed = FailRun(fence=fence, error=error, names=("OSError",), draw=0.5, give_up=True)
    await stage.deps.decider.decide(f"run:{run}", failed, TESTER)
    return run


async def test_jobs_and_events_name_who_made_them(stage):
    editor = by(await key_of(stage, "editor", "acme", "bob"))
    job = (await stage.ask("POST", "jobs", json=JOB, headers=editor, status=201)).json
    assert (job["owner"], job["tenant"]) == ("bob", "acme")
    paused = await stage.ask("POST", f"jobs/{job['id']}/pause", headers=editor, status=200)
    assert paused.json["paused"]["by"] == "bob"
    events = (await stage.ask("GET", f"jobs/{job['id']}/events", headers=editor, status=200)).json["items"]
    assert {each["actor"] for each in events} == {"bob"}


@pytest.mark.parametrize("is_archived", [True, False], ids=["archived", "in Redis"])
async def test_what_is_another_tenants_is_not_there(stage, is_archived):
    ours, theirs = by(await key_of(stage)), by(await key_of(stage, tenant="umbra", owner="eve"))
    job = (
        await stage.ask("POST", "jobs", json=JOB | {"overlap_policy": "allow"}, headers=ours, status=201)
    ).json
    run = await dead_run(stage, job["id"], ours)
    wanted = {"json": {"from": "2026-01-01T00:00:00Z"}}
    backfill = (
        await stage.ask("POST", f"jobs/{job['id']}/backfill", **wanted, headers=ours, status=201)
    ).json["id"]
    waiting = (await stage.ask("POST", f"jobs/{job['id']}/trigger", headers=ours, status=201)).json["id"]
    await stage.level()
    if is_archived:
        name = stage.log.keys(ids.partition_of(run)).aggregate(f"run:{run}")
        await stage.redis.delete(name)  # as it is a minute after its end
    before = await stage.contents()
    at, of, again = f"jobs/{job['id']}", f"executions/{run}", f"executions/{waiting}"
    for method, path, body in (
        ("GET", at, None),
        ("GET", f"{at}/executions", None),
        ("GET", f"{at}/events", None),
        ("GET", of, None),
        ("GET", f"{of}/output", None),
        ("GET", f"{at}/revisions", None),
        ("GET", f"{at}/revisions/1", None),
        ("GET", f"{at}/diff?from=1&to=1", None),
        ("PUT", at, JOB),
        ("PATCH", at, {"name": "theirs"}),
        ("PATCH", at, {"schedule_type": "no such"}),
        ("POST", f"{at}/revert", {"revision": 1}),
        ("DELETE", at, None),
        ("POST", f"{at}/pause", None),
        ("POST", f"{at}/resume", None),
        ("POST", f"{at}/trigger", None),
        ("POST", f"{at}/trigger", {"job_data": {"operation": "no such"}}),
        ("POST", f"{at}/backfill", {"from": "2026-01-01T00:00:00Z"}),
        ("POST", f"{at}/backfill", {"from": "2026-01-01T00:00:00Z", "dry_run": True}),
        ("GET", f"{at}/backfills", None),
        ("GET", f"backfills/{backfill}", None),
        ("POST", f"backfills/{backfill}/cancel", None),
        ("POST", f"{of}/retry", None),
        ("POST", f"{of}/cancel", None),
        ("POST", f"{again}/cancel", None),
        ("POST", f"{again}/retry", None),
    ):
        told = {"json": body} if body is not None else {}
        stale = [{"If-Match": '"9"'}] * (
            method != "GET" and path.startswith(at) and path.split("/")[-1] not in {"trigger", "backfill"}
        )
        for more in ({}, *stale):
            answer = await stage.ask(method, path, headers=theirs | more, **told)
            assert answer.status == 404, f"{method} {path} {more}: {answer.text}"
            assert JOB["name"] not in answer.text
            assert "ETag" not in answer.headers
    for path in ("jobs", "executions", f"executions?job_id={job['id']}", "stats/errors"):
        listed = (await stage.ask("GET", path, headers=theirs, status=200)).json
        assert (listed["items"], listed.get("total", 0)) == ([], 0)
    redriven = await stage.ask("POST", "executions/redrive", json={}, headers=theirs, status=200)
    assert (redriven.json["matched"], redriven.json["retried"], redriven.json["refused"]) == (0, [], [])
    keys = (await stage.ask("GET", "api-keys", headers=theirs, status=200)).json["items"]
    assert {each["tenant"] for each in keys} == {"umbra"}
    mine = (await stage.ask("GET", "api-keys", headers=ours, status=200)).json["items"][0]["id"]
    await stage.ask("DELETE", f"api-keys/{mine}", headers=theirs, status=404)
    await stage.level()
    used = [name for name in (await stage.contents())["keys"] if b":used:" not in name]
    assert used == [name for name in before["keys"] if b":used:" not in name]
    assert (await stage.contents())["logs"] == before["logs"]
    for path in ("jobs", "executions", "stats/errors"):
        assert (await stage.ask("GET", path, headers=ours, status=200)).json["items"]
    await stage.ask("POST", f"{of}/retry", headers=ours, status=201)


async def test_the_ledger_tells_each_tenant_its_own(stage):
    admin = by(await key_of(stage))
    made = await stage.ask("POST", "jobs", json=JOB, headers=admin, status=201)
    job, places = made.json["id"], parse_places(made.headers["Daybook-Position"], partitions=2)
    (place,) = places.items()
    run = await dead_run(stage, job, admin)
    await stage.level()
    ledger = stage.deps.ledger
    key_id = str((await ledger.api_keys(limit=1, offset=0)).rows[0]["id"])
    all_jobs = (JOBS, Choice(order="name"))
    all_runs = (RUNS, Choice(order="id"))
    failed = Chosen(status="failed")
    wanted = {"json": {"from": "2026-01-01T00:00:00Z"}}
    backfill = (await stage.ask("POST", f"jobs/{job}/backfill", **wanted, headers=admin, status=201)).json[
        "id"
    ]
    asked = {}
    for tenant in ("acme", "umbra"):
        async with stage.app.test_request_context("/"):
            g.principal = Principal(id="ann", tenant=tenant, role="admin", kind="key")
            asked[tenant] = [
                bool(await ledger.job(job)),
                await ledger.job_exists(job),
                bool((await ledger.page(*all_jobs, limit=5, offset=0)).rows),
                bool((await ledger.page(*all_jobs, limit=5, offset=0)).counted),
                bool(await ledger.following(*all_jobs, after=None, limit=5)),
                bool(await ledger.run(run)),
                bool((await ledger.page(*all_runs, limit=5, offset=0)).rows),
                bool((await ledger.page(*all_runs, limit=5, offset=0)).counted),
                bool(await ledger.following(*all_runs, after=None, limit=5)),
                bool((await ledger.events(job, limit=5, offset=0)).rows),
                bool((await ledger.events(job, limit=5, offset=0)).counted),
                bool((await ledger.dead_letters(failed, limit=5)).rows),
                bool((await ledger.dead_letters(failed, limit=5)).counted),
                bool(await ledger.errors(job_id=None, job_type=None, since=None, until=None, limit=5)),
                bool((await ledger.api_keys(limit=5, offset=0)).rows),
                bool((await ledger.api_keys(limit=5, offset=0)).counted),
                bool(await ledger.api_key(key_id)),
                bool((await ledger.revisions(job, limit=5, offset=0)).rows),
                bool((await ledger.revisions(job, limit=5, offset=0)).counted),
                bool(await ledger.revision(job, 1)),
                bool(await ledger.event(*place)),
                bool(await ledger.backfill(backfill)),
                bool((await ledger.backfills(job, limit=5, offset=0)).rows),
                bool((await ledger.backfills(job, limit=5, offset=0)).counted),
            ]
    assert asked == {"acme": [True] * 24, "umbra": [False] * 24}


async def test_a_named_principal_has_so_many_jobs_and_no_more(stage):
    ann, bob = by(await key_of(stage)), by(await key_of(stage, owner="bob"))
    made = [(await stage.ask("POST", "jobs", json=JOB, headers=ann, status=201)).json["id"] for _ in range(3)]
    answer = await stage.ask("POST", "jobs", json=JOB, headers=ann, status=409)
    assert answer.json["type"] == "/problems/quota"
    await stage.ask("POST", "jobs", json=JOB, headers=bob, status=201)
    await stage.ask("DELETE", f"jobs/{made[0]}", headers=ann, status=204)
    await stage.ask("POST", "jobs", json=JOB, headers=ann, status=201)


# Edits that are tied to a revision, requests under a key.


async def test_edits_of_the_own_tenant_say_who_and_are_refused_below_editor(stage):
    admin, editor = by(await key_of(stage)), by(await key_of(stage, "editor", owner="bob"))
    viewer, operator = by(await key_of(stage, "viewer")), by(await key_of(stage, "operator"))
    made = await stage.ask("POST", "jobs", json=JOB, headers=admin, status=201)
    at, stale = f"jobs/{made.json['id']}", {"If-Match": made.headers["ETag"]}
    for low in (viewer, operator):
        for more in ({}, stale):
            await stage.ask("PATCH", at, json={"name": "new"}, headers=low | more, status=403)
            await stage.ask("POST", f"{at}/revert", json={"revision": 1}, headers=low | more, status=403)
    await stage.ask("PATCH", at, json={"name": "new"}, headers=editor | stale, status=200)
    refused = await stage.ask("PATCH", at, json={"name": "newer"}, headers=editor | stale, status=412)
    assert refused.json["current"] == "2"
    await stage.ask("PATCH", at, json={"name": "newer"}, headers=viewer | stale, status=403)
    await stage.ask("POST", f"{at}/revert", json={"revision": 1}, headers=editor, status=200)
    await stage.level()
    told = (await stage.ask("GET", f"{at}/revisions", headers=viewer, status=200)).json["items"]
    assert [each["by"] for each in told] == ["bob", "bob", "ann"]


def under(credential, key="k"):
    return by(credential) | {"Idempotency-Key": key}


async def test_an_idempotency_key_is_of_a_principal_and_its_tenant(stage):
    """Of another owner, and of another tenant's owner of the same name, it is another key."""
    ann, again = await key_of(stage), await key_of(stage)
    bob, other = await key_of(stage, owner="bob"), await key_of(stage, tenant="umbra")
    made = await stage.ask("POST", "jobs", json=JOB, headers=under(ann), status=201)
    same = await stage.ask("POST", "jobs", json=JOB, headers=under(again), status=201)
    assert (same.text, same.headers["Idempotency-Replayed"]) == (made.text, "true")
    for credential, owner, tenant in ((bob, "bob", "acme"), (other, "ann", "umbra")):
        theirs = await stage.ask("POST", "jobs", json=JOB, headers=under(credential), status=201)
        assert "Idempotency-Replayed" not in theirs.headers
        assert theirs.json["id"] != made.json["id"]
        assert (theirs.json["owner"], theirs.json["tenant"]) == (owner, tenant)
    at = f"jobs/{made.json['id']}"
    await stage.ask("POST", f"{at}/trigger", headers=under(ann), status=201)
    await stage.ask("POST", f"{at}/trigger", headers=under(other), status=404)
    viewer = await key_of(stage, "viewer")
    await stage.ask("POST", f"{at}/trigger", headers=under(viewer), status=403)


async def test_what_was_made_under_a_key_is_told_again_beyond_the_quota(stage):
    ann = await key_of(stage)
    made = [
        await stage.ask("POST", "jobs", json=JOB, headers=under(ann, f"k{n}"), status=201) for n in range(3)
    ]
    await stage.ask("POST", "jobs", json=JOB, headers=under(ann, "k3"), status=409)
    for n, each in enumerate(made):
        again = await stage.ask("POST", "jobs", json=JOB, headers=under(ann, f"k{n}"), status=201)
        assert (again.text, again.headers["Idempotency-Replayed"]) == (each.text, "true")


async def test_the_second_of_two_gets_the_first_ones_answer_where_that_has_filled_the_quota(
    stage, monkeypatch
):
    ann = await key_of(stage)
    for _ in range(2):
        await stage.ask("POST", "jobs", json=JOB, headers=by(ann), status=201)
    original, firsts = Idempotency.again, []

    async def after_the_first(self, key, partition):
        """The second has looked and found nothing; only then the first does it."""
        found = await original(self, key, partition)
        if found is None and not firsts:
            firsts.append(None)
            firsts[0] = await stage.ask("POST", "jobs", json=JOB, headers=under(ann), status=201)
        return found

    monkeypatch.setattr(Idempotency, "again", after_the_first)
    second = await stage.ask("POST", "jobs", json=JOB, headers=under(ann), status=201)
    assert (second.text, second.headers["Idempotency-Replayed"]) == (firsts[0].text, "true")
    refused = await stage.ask("POST", "jobs", json=JOB, headers=under(ann, "another"), status=409)
    assert refused.json["type"] == "/problems/quota"


async def test_what_is_told_once_takes_no_idempotency_key(stage):
    admin = await key_of(stage)
    for path, body in (("api-keys", {"name": "ci", "role": "viewer"}), ("tokens", {})):
        refused = await stage.ask("POST", path, json=body, headers=under(admin), status=422)
        assert "told once" in refused.json["detail"]
    await stage.level()
    assert len((await stage.ask("GET", "api-keys", headers=by(admin), status=200)).json["items"]) == 1


# Off.


async def test_with_authentication_off_everyone_is_an_admin_without_quota(unguarded):
    for _ in range(3):
        job = await unguarded.create()
    assert (job["owner"], job["tenant"]) == ("anonymous", "default")
    await unguarded.ask("GET", "jobs", headers=by("dbk_wrong"), status=200)
    made = await unguarded.ask("POST", "api-keys", json={"name": "first", "role": "admin"}, status=201)
    assert made.json["owner"] == "anonymous"
    await unguarded.ask("GET", "/metrics", status=200)
    await unguarded.ask("POST", "tokens", status=403)


async def test_with_authentication_off_nothing_is_asked_to_find_out_who_it_is(unguarded, monkeypatch):
    calls = []
    wire = unguarded.log.wire
    original = wire.call

    async def count(*commands):
        calls.append(commands)
        return await original(*commands)

    monkeypatch.setattr(wire, "call", count)
    await unguarded.ask("GET", "job-types", status=200)
    assert calls == []
