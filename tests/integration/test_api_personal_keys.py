"""Personal data at the API: what it costs, what it does where a key is away or gone, and whom it opens for."""

import hashlib
import json

import pytest

from shared.domain import ids
from shared.domain.commands import StartRun, SucceedRun
from shared.personal.sealing import KEY
from shared.testing import TESTER
from tests.integration.api_stage import JOB, stage_on
from tests.integration.personal_kit import MAIL, a_mail, applied, key, person, the_spec
from tests.integration.test_api_auth import by, key_of
from tests.integration.test_personal_keys import NoPool


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, **MAIL) as made:
        yield made


async def test_without_postgres_only_a_first_key_waits(stage, monkeypatch):
    made = await stage.create(**a_mail("first"))
    await stage.level()

    monkeypatch.setattr(stage.deps.personal, "_pool", NoPool())
    logs = [stage.log.keys(each).log for each in range(stage.partitions)]
    before = [await stage.redis.xlen(each) for each in logs]
    refused = await stage.ask("POST", "jobs", json=a_mail("second"), status=503)
    assert "Retry-After" in refused.headers
    assert before == [await stage.redis.xlen(each) for each in logs]
    patch = {"job_data": {"recipient": person("again")}}
    got = await stage.ask("PATCH", f"jobs/{made['id']}", json=patch, status=200)
    assert person("again") == got.json["job_data"]["recipient"]
    await stage.ask("POST", "jobs", json=JOB, status=201)


async def test_a_type_without_marks_asks_for_no_key(stage, monkeypatch):
    """Neither store is asked anything about keys, whatever is done with its jobs."""

    def never(*_, **__):
        raise AssertionError("a key was asked for")

    for name in ("of", "make", "given", "_copies"):
        monkeypatch.setattr(type(stage.deps.personal), name, never)
    made = await stage.create()
    path = f"jobs/{made['id']}"
    await stage.ask("PATCH", path, json={"job_data": {"parameters": {"n": 2}}}, status=200)
    await stage.ask("PUT", path, json=JOB, status=200)
    over = {"job_data": {"parameters": {"n": 3}}}
    await stage.ask("POST", f"{path}/trigger", json=over, status=201)
    await applied(stage, [JOB | {"name": "applied"}])
    await stage.level()
    for each in (path, "jobs", "executions", f"{path}/revisions/1", f"{path}/diff?from=1&to=2"):
        await stage.ask("GET", each, status=200)


async def test_a_page_is_opened_by_one_look_up(stage, monkeypatch):
    for way in ("a", "b", "c"):
        await stage.create(**a_mail(way))
    await stage.level()
    asked = []
    of = stage.deps.personal.of

    async def counted(jobs, **told):
        asked.append(list(jobs))
        return await of(jobs, **told)

    monkeypatch.setattr(stage.deps.personal, "of", counted)
    got = (await stage.ask("GET", "jobs", status=200)).json
    assert [sorted(each["id"] for each in got["items"])] == asked
    await stage.ask("GET", "jobs?fields=id,name", status=200)
    assert len(asked) == 1, "what shows nothing sealed asks for nothing"
    said = {"description": 'says {"$personal":"AQ"} and $personal'}
    made = await stage.create(**said)
    assert made["description"] == said["description"]
    assert len(asked) == 1, "what merely looks like it neither"


async def test_without_the_key_it_says_so_or_stays_as_it_is(stage):
    made = await stage.create(**a_mail("lost"))
    await stage.level()
    await stage.pool.execute("delete from book.personal_keys")
    for each in range(stage.partitions):
        await stage.redis.delete(stage.log.keys(each).personal)
    got = (await stage.ask("GET", f"jobs/{made['id']}", status=200)).json
    assert KEY in got["job_data"]["recipient"]
    refused = await stage.ask("PATCH", f"jobs/{made['id']}", json={"name": "n"}, status=409)
    assert "send the whole" in refused.json["detail"]
    await stage.ask("PUT", f"jobs/{made['id']}", json=a_mail("whole"), status=200)
    got = (await stage.ask("GET", f"jobs/{made['id']}", status=200)).json
    assert person("whole") == got["job_data"]["recipient"]
    async with stage.pool.acquire() as connection, connection.transaction():
        await stage.deps.personal.destroy(connection, [made["id"]])
    got = (await stage.ask("GET", f"jobs/{made['id']}", status=200)).json
    assert got["job_data"]["recipient"] == {"$erased": True}
    await stage.ask("PUT", f"jobs/{made['id']}", json=a_mail("more"), status=404)


@pytest.mark.parametrize("options", [{"dry_run": True}, {}], ids=["dry run", "apply"])
async def test_what_is_applied_makes_no_new_key_where_one_is_lost(stage, options):
    """It would stand in the way of the old one, which a file of keys may have, and with it of all that was sealed."""
    job_id = (await applied(stage, [a_mail("lost")]))["items"][0]["id"]
    await stage.level()
    name = stage.log.keys(ids.partition_of(job_id)).personal
    rows, copies = await stage.pool.fetch("table book.personal_keys"), await stage.redis.hgetall(name)
    await stage.pool.execute("delete from book.personal_keys")
    await stage.redis.delete(name)
    body = {"jobs": [a_mail("other"), a_mail("lost")]} | options
    refused = await stage.ask("POST", "apply", json=body, status=422)
    assert "personal-keys import" in refused.json["errors"][0]["detail"]
    assert refused.json["errors"][0]["pointer"] == "#/jobs/1/job_data"
    assert await stage.pool.fetch("table book.personal_keys") == []
    await stage.pool.copy_records_to_table("personal_keys", schema_name="book", records=map(tuple, rows))
    assert await stage.redis.hset(name, mapping=copies) == 1
    assert (await applied(stage, [a_mail("lost")]))["unchanged"] == 1


async def test_a_sealed_value_opens_for_nobody_of_another_tenant(valkey, postgres, tmp_path):
    """However it got there: a handler may say anything, and tell what it read elsewhere."""
    async with stage_on(valkey, postgres, tmp_path, auth="on", **MAIL) as stage:
        ours, theirs = [by(await key_of(stage, "editor", tenant)) for tenant in ("acme", "globex")]
        victim = (await stage.ask("POST", "jobs", json=a_mail("v"), headers=ours, status=201)).json
        sealed = (await the_spec(stage, victim["id"])).job_data["recipient"]
        thief = (await stage.ask("POST", "jobs", json=JOB, headers=theirs, status=201)).json
        asked = await stage.ask("POST", f"jobs/{thief['id']}/trigger", headers=theirs, status=201)
        ref = f"run:{asked.json['id']}"
        fence = (await stage.deps.decider.decide(ref, StartRun(worker="w"), TESTER)).after.fence
        await stage.deps.decider.decide(ref, SucceedRun(fence=fence, result={"got": sealed}), TESTER)
        await stage.level()
        got = await stage.ask("GET", f"executions/{asked.json['id']}", headers=theirs, status=200)
        assert {"got": sealed} == got.json["result"]
        got = await stage.ask("GET", f"jobs/{victim['id']}", headers=ours, status=200)
        assert person("v") == got.json["job_data"]["recipient"]


async def test_the_fingerprint_of_a_request_tells_nothing_to_who_has_not_its_key(stage):
    """It stands in events for ever; a plain digest could be compared with that of a guess."""
    body = a_mail("guess")
    await stage.ask("POST", "jobs", json=body, headers=key("k-guess"), status=201)
    await stage.level()
    cause = await stage.pool.fetchval("select cause from book.events where type = 'JobCreated'")
    guess = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    assert guess not in cause
    other = await stage.ask("POST", "jobs", json=a_mail("other"), headers=key("k-guess"), status=422)
    assert "key-reused" in other.json["type"]


async def test_what_was_asked_before_fingerprints_were_keyed_is_answered_again(stage):
    body, headers = JOB | {"name": "of before"}, key("k-before")
    made = await stage.ask("POST", "jobs", json=body, headers=headers, status=201)
    fingerprint = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    [name] = [
        name
        async for name in stage.redis.scan_iter(match=f"{stage.prefix}:*:once:*")
        if name.count(b":") == 3
    ]
    assert await stage.redis.hset(name, "fingerprint", fingerprint) == 0
    again = await stage.ask("POST", "jobs", json=body, headers=headers, status=201)
    assert made.json == again.json
    await stage.ask("POST", "jobs", json=JOB, headers=headers, status=422)


async def test_a_redis_that_was_emptied_gets_its_copies_back_with_its_log(stage):
    made = await stage.create(**a_mail("healed"))
    await stage.level()
    keys = stage.log.keys(ids.partition_of(made["id"]))
    before = await stage.redis.hgetall(keys.personal)
    async for name in stage.redis.scan_iter(match=f"{keys.base}:*"):
        await stage.redis.delete(name)
    await stage.reopen(keys.partition)
    assert before == await stage.redis.hgetall(keys.personal)
    await stage.pool.execute("delete from book.personal_keys")
    await stage.redis.hdel(keys.meta, "incarnation")  # as if the server had been restarted
    await stage.reopen(keys.partition)
    assert [made["id"]] == [row["job"] for row in await stage.pool.fetch("table book.personal_keys")]


async def test_ids_say_whose_key_it_is(stage):
    made = await stage.create(**a_mail("ids"))
    rows = await stage.pool.fetch("select job, partition, tenant from book.personal_keys")
    assert [(made["id"], ids.partition_of(made["id"]), made["tenant"])] == [tuple(row) for row in rows]
