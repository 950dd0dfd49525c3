"""A request that is sent again under its Idempotency-Key gets the first answer again, and nothing is done twice."""

import asyncio
import dataclasses

import pytest

from services.api import idempotency
from services.api.app import create_app
from services.api.principal import ANONYMOUS
from shared.domain import ids
from shared.domain.commands import StartRun
from shared.eventlog.decider import Decider
from shared.eventlog.log import EventLog
from shared.eventlog.once import Key
from shared.eventlog.position import parse_places
from shared.job_types import Catalog
from shared.metrics import Metrics
from shared.recovery import archived_job, archived_units
from shared.testing import LEASE, TESTER, chance, wait_until

from .api_stage import JOB, stage_on
from .test_api_dead_letters import _failed

SAME = ("Location", "ETag", "Daybook-Position")
REPLAYED = "Idempotency-Replayed"


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def other(stage):
    """Another API process over the same stores."""
    log = EventLog(
        stage.redis,
        prefix=stage.prefix,
        partitions=stage.partitions,
        process="another",
        metrics=Metrics(),
        reopen=stage.reopen,
        archived=lambda ref: archived_job(stage.pool, ref),
        settled=lambda partition, units: archived_units(stage.pool, partition, units),
    )
    await log.sync()
    deps = dataclasses.replace(stage.deps, log=log, decider=Decider(log, lease=LEASE, chance=chance))
    here = stage.client

    async def ask(method, path, **kwargs):
        stage.client = app.test_client()
        try:
            return await stage.ask(method, path, **kwargs)
        finally:
            stage.client = here

    app = create_app(deps)
    yield ask
    await log.close()


def _under(key, **sent):
    return {**sent, "headers": {"Idempotency-Key": key}}


def _is_replay_of(again, first):
    assert (again.status, again.text) == (first.status, first.text)
    assert {name: again.headers.get(name) for name in SAME} == {
        name: first.headers.get(name) for name in SAME
    }
    assert (first.headers.get(REPLAYED), again.headers[REPLAYED]) == (None, "true")


async def _counted(stage):
    return (await stage.contents())["logs"]


async def _each_route(stage):
    """Method, path and body of everything that takes a key, on jobs and runs of its own; and how it is answered."""
    job = await stage.create(interval_seconds=3600)
    path = f"jobs/{job['id']}"
    paused = await stage.create(interval_seconds=3600)
    await stage.ask("POST", f"jobs/{paused['id']}/pause", status=200)
    edited = await stage.create()
    await stage.ask("PATCH", f"jobs/{edited['id']}", json={"name": "new"}, status=200)
    loose = await stage.create(overlap_policy="allow")
    queued = (await stage.ask("POST", f"jobs/{loose['id']}/trigger", status=201)).json["id"]
    failed = await _failed(stage, loose["id"])
    await _failed(stage, loose["id"])
    calling_off = await _backfill(stage)
    await stage.level()
    return {
        "create": ("jobs", JOB | {"description": "x" * 1_500}, 201),
        "pause": (f"{path}/pause", {"reason": "rest"}, 200),
        "resume": (f"jobs/{paused['id']}/resume", {}, 200),
        "skip": (f"{path}/skip", {"scheduled_for": job["next_run_time"]}, 200),
        "unskip": (f"{path}/unskip", {"scheduled_for": job["next_run_time"]}, 200),
        "trigger": (f"jobs/{loose['id']}/trigger", {"priority": 9}, 201),
        "revert": (f"jobs/{edited['id']}/revert", {"revision": 1}, 200),
        "cancel": (f"executions/{queued}/cancel", {"reason": "enough"}, 200),
        "retry": (f"executions/{failed}/retry", {}, 201),
        "redrive": ("executions/redrive", {"filter": {"job_id": loose["id"]}}, 200),
        "backfill": (f"{path}/backfill", {"from": "2026-11-01T00:00:00Z"}, 201),
        "call-off": (f"backfills/{calling_off}/cancel", {"reason": "enough"}, 200),
    }


async def _backfill(stage):
    """One that has something to do."""
    job = await stage.create(cron_expression="0 0 * * *")
    return (
        await stage.ask(
            "POST", f"jobs/{job['id']}/backfill", json={"from": "2026-11-01T00:00:00Z"}, status=201
        )
    ).json["id"]


async def test_every_post_that_is_sent_again_gets_the_first_answer_again(stage):
    for what, (path, body, status) in (await _each_route(stage)).items():
        first = await stage.ask("POST", path, **_under(f"k-{what}", json=body), status=status)
        await _meanwhile(stage, what, first)
        before = await stage.contents()
        for key in (f"k-{what}", f'"k-{what}"'):
            _is_replay_of(await stage.ask("POST", path, **_under(key, json=body)), first)
        assert await stage.contents() == before, what
        if what == "resume":
            continue  # there is nothing else to ask for
        changed = _under(f"k-{what}", json=body | _other(what))
        refused = await stage.ask("POST", path, **changed, status=422)
        assert refused.json["type"] == "/problems/key-reused", what


def _other(what):
    return {
        "create": {"name": "another"},
        "trigger": {"priority": 8},
        "retry": {"priority": 8},
        "revert": {"revision": 2},
        "unskip": {"scheduled_for": "2090-01-01T00:00:00Z"},
        "redrive": {"limit": 5},
        "backfill": {"max_parallel": 5},
    }.get(what, {"reason": "another"})


async def _meanwhile(stage, what, first):
    """What the first answer told is not so any more."""
    if what == "create":
        await stage.ask("DELETE", f"jobs/{first.json['id']}", status=204)
    elif what == "trigger":
        await stage.deps.decider.decide(f"run:{first.json['id']}", StartRun(worker="w"), TESTER)
    elif what in {"retry", "cancel"}:
        run_id = first.json["of"] or first.json["id"]
        await stage.level()
        assert (
            await stage.redis.delete(stage.log.keys(ids.partition_of(run_id)).aggregate(f"run:{run_id}")) == 1
        )
    elif what == "resume":
        await stage.ask("POST", f"jobs/{first.json['id']}/pause", status=200)


async def test_a_key_belongs_to_its_path_and_bodies_are_compared_as_json(stage):
    one, two = [(await stage.create(interval_seconds=60))["id"] for _ in range(2)]
    for job_id in (one, two):
        first = await stage.ask("POST", f"jobs/{job_id}/pause", **_under("k"), status=200)
        assert (first.json["id"], first.headers.get(REPLAYED)) == (job_id, None)
    same = await stage.ask("POST", f"jobs/{one}/pause", **_under("k", json={}), status=200)
    assert same.headers[REPLAYED] == "true"
    text = '{"job_type":"custom","job_data":{"parameters":{"n":1},"operation":"echo"},   "name":"a job"}'
    made = await stage.ask("POST", "jobs", **_under("k", json=JOB), status=201)
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    _is_replay_of(await stage.ask("POST", "jobs", data=text, headers=headers), made)


async def test_a_key_is_its_principals(stage, monkeypatch):
    made = await stage.ask("POST", "jobs", **_under("k", json=JOB), status=201)
    bob = dataclasses.replace(ANONYMOUS, id="bob")
    monkeypatch.setattr("services.api.auth.ANONYMOUS", bob)
    other = await stage.ask("POST", "jobs", **_under("k", json=JOB | {"name": "mine"}), status=201)
    assert other.json["id"] != made.json["id"]


@pytest.mark.parametrize(
    "what",
    ["create", "pause", "resume", "trigger", "revert", "cancel", "retry", "redrive", "backfill", "call-off"],
)
async def test_of_two_at_once_on_two_processes_one_does_it_and_both_get_its_answer(stage, other, what):
    path, body, status = (await _each_route(stage))[what]
    before = await _counted(stage)
    sent = _under("k", json=body)
    one, two, three = await asyncio.gather(
        stage.ask("POST", path, **sent), other("POST", path, **sent), stage.ask("POST", path, **sent)
    )
    assert {each.status for each in (one, two, three)} == {status}
    assert one.text == two.text == three.text
    assert len({tuple(each.headers.get(name) for name in SAME) for each in (one, two, three)}) == 1
    expected = 2 if what in {"redrive", "backfill"} else 1  # it has nothing to do, and is completed at once
    assert sum(await _counted(stage)) - sum(before) == expected


async def test_a_job_made_under_a_key_stands_where_its_key_does(stage):
    met = set()
    for number in range(12):
        made = await stage.ask("POST", "jobs", **_under(f"k{number}", json=JOB), status=201)
        ((partition, _),) = parse_places(made.headers["Daybook-Position"], partitions=2).items()
        assert ids.partition_of(made.json["id"]) == partition
        again = await stage.ask("POST", "jobs", **_under(f"k{number}", json=JOB), status=201)
        _is_replay_of(again, made)
        met.add(partition)
    assert met == {0, 1}


async def test_an_answer_that_never_arrived_is_given_to_whoever_asks_again(stage):
    """The client hangs up after the commit: nothing has been told, and nothing is done again."""
    await stage.stop_projector()
    asked = asyncio.create_task(
        stage.ask("POST", "jobs", json=JOB, headers={"Idempotency-Key": "k", "Prefer": "wait=20"})
    )

    async def is_written():
        return sum([await stage.redis.xlen(stage.log.keys(p).log) for p in range(2)]) == 3

    await wait_until(is_written, "it is in the log")
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    sent = {"json": JOB, "headers": {"Idempotency-Key": "k", "Prefer": "wait=0"}}
    later = await stage.ask("POST", "jobs", **sent, status=202)
    assert later.headers[REPLAYED] == "true"
    stage.start_projector()
    again = await stage.ask("POST", "jobs", **_under("k", json=JOB), status=201)
    assert (again.text, again.headers["Location"]) == (later.text, later.headers["Location"])
    assert (await stage.ask("GET", f"jobs/{again.json['id']}", status=200)).text == again.text
    assert (await stage.ask("GET", "jobs")).json["total"] == 1


async def test_a_replay_waits_for_the_archive_like_the_first_answer(stage):
    await stage.stop_projector()
    sent = {"json": JOB, "headers": {"Idempotency-Key": "k", "Prefer": "wait=0"}}
    first = await stage.ask("POST", "jobs", **sent, status=202)
    assert (await stage.ask("POST", "jobs", **sent, status=202)).text == first.text
    waits = asyncio.create_task(
        stage.ask("POST", "jobs", json=JOB, headers={"Idempotency-Key": "k", "Prefer": "wait=20"})
    )
    await asyncio.wait([waits], timeout=0.3)
    assert not waits.done()
    stage.start_projector()
    again = await waits
    assert (again.status, again.text, again.headers[REPLAYED]) == (201, first.text, "true")


async def test_what_changes_nothing_keeps_nothing(stage):
    job = await stage.create(interval_seconds=60)
    path = f"jobs/{job['id']}/pause"
    await stage.ask("POST", path, status=200)
    before = await stage.contents()
    for _ in range(2):
        same = await stage.ask("POST", path, **_under("k"), status=200)
        assert REPLAYED not in same.headers
    stale = {"headers": {"Idempotency-Key": "k", "If-Match": '"9"'}}
    await stage.ask("POST", path, **stale, status=412)
    would = await stage.ask("POST", "executions/redrive", **_under("k", json={"dry_run": True}), status=200)
    assert REPLAYED not in would.headers
    assert await stage.contents() == before


async def test_a_retry_that_there_is_answers_another_key_too(stage):
    job = await stage.create(overlap_policy="allow")
    old = await _failed(stage, job["id"])
    path = f"executions/{old}/retry"
    first = await stage.ask("POST", path, **_under("a"), status=201)
    for key in ("b", "b"):
        there = await stage.ask("POST", path, **_under(key), status=200)
        assert (there.json["id"], there.headers.get(REPLAYED)) == (first.json["id"], None)
    assert (await stage.ask("POST", path, status=200)).json["id"] == first.json["id"]
    _is_replay_of(await stage.ask("POST", path, **_under("a")), first)


async def test_a_precondition_that_the_request_itself_has_made_false_doesnt_refuse_it_again(stage):
    made = await stage.ask("POST", "jobs", json=JOB, status=201)
    path = f"jobs/{made.json['id']}"
    edited = await stage.ask("PATCH", path, json={"name": "x"}, status=200)
    sent = {
        "json": {"revision": 1},
        "headers": {"Idempotency-Key": "k", "If-Match": edited.headers["ETag"]},
    }
    first = await stage.ask("POST", f"{path}/revert", **sent, status=200)
    _is_replay_of(await stage.ask("POST", f"{path}/revert", **sent), first)


async def test_what_would_be_refused_by_now_was_answered_before(stage, tmp_path):
    body = {
        "name": "tidy", "job_type": "cleanup_task",
        "job_data": {"cleanup_type": "temp_files", "retention_days": 7, "path": str(tmp_path)},
    }  # fmt: skip
    made = await stage.ask("POST", "jobs", **_under("k", json=body), status=201)
    path = f"jobs/{made.json['id']}"
    await stage.ask("PATCH", path, json={"description": "new"}, status=200)
    back = await stage.ask("POST", f"{path}/revert", **_under("k", json={"revision": 1}), status=200)
    object.__setattr__(stage.deps, "catalog", Catalog(files_roots=(tmp_path / "elsewhere",)))
    await stage.ask("POST", "jobs", json=body, status=422)
    _is_replay_of(await stage.ask("POST", "jobs", **_under("k", json=body)), made)
    _is_replay_of(await stage.ask("POST", f"{path}/revert", **_under("k", json={"revision": 1})), back)


async def test_the_text_that_was_kept_first_is_everybodys(stage, monkeypatch):
    """The second of two answers before the first has told its own, and the job has changed in between."""
    job = await stage.create(interval_seconds=60)
    path = f"jobs/{job['id']}"
    real, reached, go_on = idempotency.Idempotency._set_first, asyncio.Event(), asyncio.Event()

    async def slow(self, name, value):
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        return await real(self, name, value)

    monkeypatch.setattr(idempotency.Idempotency, "_set_first", slow)
    monkeypatch.setattr(idempotency, "NOTE_S", 30)
    first = asyncio.create_task(stage.ask("POST", f"{path}/pause", **_under("k"), status=200))
    await reached.wait()
    await stage.ask("PATCH", path, json={"name": "new"}, status=200)
    second = await stage.ask("POST", f"{path}/pause", **_under("k"), status=200)
    go_on.set()
    assert second.json["name"] == "new"
    assert (await first).text == second.text
    assert (await stage.ask("POST", f"{path}/pause", **_under("k"), status=200)).text == second.text


async def test_the_answer_stands_although_its_text_cant_be_kept(stage, monkeypatch):
    async def broken(*_args, **_kwargs):
        raise ConnectionError("gone")

    monkeypatch.setattr(idempotency.Idempotency, "_set_first", broken)
    made = await stage.ask("POST", "jobs", **_under("k", json=JOB), status=201)
    monkeypatch.undo()
    _is_replay_of(await stage.ask("POST", "jobs", **_under("k", json=JOB)), made)


async def test_keys_are_kept_for_a_day(stage):
    await stage.ask("POST", "jobs", **_under("k", json=JOB), status=201)
    await stage.ask("POST", "executions/redrive", **_under("k", json={}), status=200)
    names = [name async for name in stage.redis.scan_iter(match=f"{stage.prefix}:*once:*")]
    assert len(names) == 4
    for name in names:
        assert 86_000_000 < await stage.redis.pttl(name) <= 86_400_000


# Redis made anew.


async def _wipe(stage):
    """Take everything from Redis but the leases of the services, as FLUSHALL would."""
    async for name in stage.redis.scan_iter(match=f"{stage.prefix}:*"):
        if b":lease:" not in name:
            await stage.redis.delete(name)


async def test_keys_of_the_last_day_survive_redis(stage):
    routes = await _each_route(stage)
    routes.pop("redrive")
    first = {
        what: await stage.ask("POST", path, **_under("k", json=body), status=status)
        for what, (path, body, status) in routes.items()
    }
    await stage.level()
    kept = {name: await stage.redis.hgetall(name) for name in await _once(stage)}
    await stage.stop_projector()
    await _wipe(stage)
    for partition in range(stage.partitions):
        await stage.reopen(partition)
    stage.start_projector()
    assert {name: await stage.redis.hgetall(name) for name in await _once(stage)} == kept
    for name in kept:
        assert 86_000_000 < await stage.redis.pttl(name) <= 86_400_000
    before = await _counted(stage)
    for what, (path, body, status) in routes.items():
        again = await stage.ask("POST", path, **_under("k", json=body), status=status)
        assert again.headers[REPLAYED] == "true", what
        assert again.headers["Daybook-Position"] == first[what].headers["Daybook-Position"], what
        if what in {"create", "trigger", "retry"}:  # told by the event that made it
            _is_replay_of(again, first[what])
        assert again.json["id"] == first[what].json["id"], what
        third = await stage.ask("POST", path, **_under("k", json=body), status=status)
        assert third.text == again.text, what
        if what != "resume":
            await stage.ask("POST", path, **_under("k", json=body | _other(what)), status=422)
    assert await _counted(stage) == before


async def _once(stage):
    names = [name async for name in stage.redis.scan_iter(match=f"{stage.prefix}:*once:*", count=500)]
    return sorted(name for name in names if name.count(b":") == 3)


async def test_the_log_says_under_which_key_it_was_written(stage):
    made = await stage.ask("POST", "jobs", **_under("k", json=JOB), status=201)
    (event,) = (await stage.ask("GET", f"jobs/{made.json['id']}/events")).json["items"]
    kind, digest, fingerprint = event["causationid"].split(":")
    assert (kind, Key(digest, fingerprint).cause) == ("key", event["causationid"])
    plain = await stage.create()
    (event,) = (await stage.ask("GET", f"jobs/{plain['id']}/events")).json["items"]
    assert event["causationid"] == ""
