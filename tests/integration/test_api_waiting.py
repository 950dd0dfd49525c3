"""A write is acknowledged when the archive has it; a read is as new as the client asks; nothing waits for ever."""

import asyncio

import pytest

from services.api import ledger
from services.api.archived import Fate
from shared.eventlog.position import Position, parse_places
from shared.eventlog.wire import Wire
from shared.testing import wait_until

from .api_stage import JOB, stage_on


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


def _place(answer):
    return next(iter(parse_places(answer.headers["Daybook-Position"], partitions=2).items()))


async def test_a_write_is_answered_202_with_the_same_body_while_the_archive_lags(stage):
    await stage.stop_projector()
    made = await stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "wait=0"}, status=202)
    assert made.headers["Location"] == f"/api/v1/jobs/{made.json['id']}"
    await stage.ask("GET", f"jobs/{made.json['id']}", status=404)
    stage.start_projector()
    position = {"Daybook-Position": made.headers["Daybook-Position"]}
    seen = await stage.ask("GET", f"jobs/{made.json['id']}", headers=position, status=200)
    assert seen.json == made.json


async def test_every_command_stands_while_the_archive_lags(stage):
    job = await stage.create(interval_seconds=3600)
    path = f"jobs/{job['id']}"
    await stage.stop_projector()
    later = {"headers": {"Prefer": "respond-async"}, "status": 202}
    paused = await stage.ask("POST", f"{path}/pause", **later)
    assert (paused.json["status"], paused.json["last_run"]) == ("paused", None)
    run = await stage.ask("POST", f"{path}/trigger", **later)
    assert run.headers["Location"] == f"/api/v1/executions/{run.json['id']}"
    changed = await stage.ask("PUT", path, json=JOB | {"name": "new"}, **later)
    assert (changed.json["name"], changed.json["revision"]) == ("new", 2)
    deleted = await stage.ask("DELETE", path, **later)
    assert deleted.text == ""
    stage.start_projector()
    await stage.level()
    await stage.ask("GET", path, status=404)
    assert (await stage.ask("GET", f"executions/{run.json['id']}", status=200)).json["job_name"] == "a job"


async def test_a_write_waits_no_longer_than_its_client_prefers(stage):
    await stage.stop_projector()
    asked = asyncio.create_task(stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "wait=1"}))
    done, _ = await asyncio.wait([asked], timeout=3)
    assert done
    assert (await asked).status == 202


async def test_a_write_is_acknowledged_by_the_checkpoint_when_the_message_is_lost(stage, monkeypatch):
    monkeypatch.setattr(type(stage.deps.archive), "_hear", lambda *_: None)
    await stage.ask("POST", "jobs", json=JOB, status=201)


async def test_a_read_waits_for_the_position_it_names(stage):
    await stage.stop_projector()
    made = await stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "respond-async"}, status=202)
    path = f"jobs/{made.json['id']}?min_position={made.headers['Daybook-Position']}"
    late = await stage.ask("GET", path, headers={"Prefer": "wait=0"}, status=503)
    assert (late.json["type"], late.headers["Retry-After"]) == ("/problems/unavailable", "1")
    asked = asyncio.create_task(stage.ask("GET", path))
    stage.start_projector()
    assert (await asked).status == 200


async def test_a_position_of_a_history_that_was_given_up_is_told_from_one_that_stands(stage):
    made = await stage.ask("POST", "jobs", json=JOB, status=201)
    partition, position = _place(made)
    old = f"{partition}:{position.epoch - 1}-{position.pos}"
    rewound = await stage.ask("GET", f"jobs?min_position={old}", status=409)
    assert rewound.json["type"] == "/problems/history-rewound"
    await stage.ask("GET", f"jobs?min_position={partition}:{position}", status=200)


async def test_an_event_of_an_older_epoch_counts_if_the_archive_has_it(stage):
    made = await stage.ask("POST", "jobs", json=JOB, status=201)
    partition, position = _place(made)
    archive = stage.deps.archive
    archive.reached(partition, Position(position.epoch + 1, position.pos + 1))
    event_id = (await stage.ask("GET", f"jobs/{made.json['id']}/events")).json["items"][0]["id"]
    assert await archive.fate(partition, position, event_id, 0) is Fate.ARCHIVED
    assert await archive.fate(partition, position, "another", 0) is Fate.LOST


async def test_a_write_whose_log_was_opened_anew_without_it_is_decided_again(stage, monkeypatch):
    fates = [Fate.LOST, Fate.LOST]
    asked = type(stage.deps.archive).fate

    async def fate(self, partition, position, event_id, wait_s):
        if fates:
            await stage.redis.delete(
                *[key async for key in stage.redis.scan_iter(match=f"{stage.prefix}:*:job:*")]
            )
            return fates.pop()
        return await asked(self, partition, position, event_id, wait_s)

    monkeypatch.setattr(type(stage.deps.archive), "fate", fate)
    made = await stage.ask("POST", "jobs", json=JOB, status=201)
    assert (await stage.ask("GET", f"jobs/{made.json['id']}", status=200)).json["id"] == made.json["id"]
    assert not fates


async def test_many_writes_at_once_are_all_acknowledged(stage):
    answers = await asyncio.gather(*(stage.ask("POST", "jobs", json=JOB) for _ in range(100)))
    assert [each.status for each in answers] == [201] * 100
    assert (await stage.ask("GET", "jobs")).json["total"] == 100
    assert all(not waiters for waiters in stage.deps.archive._waiters)


async def test_who_gives_up_waiting_is_forgotten(stage):
    await stage.stop_projector()
    await stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "wait=0"}, status=202)
    await wait_until(lambda: not any(stage.deps.archive._waiters), "no waiters are left")


async def test_without_postgres_writes_are_taken_and_reads_say_when_to_come_again(stage, monkeypatch):
    await stage.stop_projector()

    async def refused(*_args):
        raise ConnectionRefusedError("Postgres is away")

    monkeypatch.setattr(ledger, "_answered", refused)
    made = await stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "wait=0"}, status=202)
    path = f"jobs/{made.json['id']}"
    paused = await stage.ask("POST", f"{path}/pause", headers={"Prefer": "wait=0"}, status=202)
    assert paused.json["status"] == "paused"
    for read in (path, "jobs", "executions", f"{path}/events"):
        answer = await stage.ask("GET", read, status=503)
        assert (answer.json["type"], answer.headers["Retry-After"]) == ("/problems/unavailable", "1")


async def test_without_redis_a_write_is_refused_within_seconds_and_reads_go_on(stage, monkeypatch):
    monkeypatch.setattr("services.api.writes.REDIS_S", 0.2)
    job = await stage.create()
    back = asyncio.Event()

    async def hang(*_args, **_kwargs):
        await back.wait()
        raise ConnectionError("it was away")

    monkeypatch.setattr(type(stage.redis), "execute_command", hang)
    monkeypatch.setattr(Wire, "call", hang)
    answer = await stage.ask("POST", "jobs", json=JOB, status=503)
    assert (answer.json["type"], answer.headers["Retry-After"]) == ("/problems/unavailable", "1")
    await stage.ask("GET", f"jobs/{job['id']}", status=200)
    monkeypatch.undo()
    back.set()


async def test_a_full_redis_refuses_new_work_and_says_so(stage, valkey):
    job = await stage.create()
    limit = (await stage.redis.config_get("maxmemory"))["maxmemory"]
    await stage.redis.config_set("maxmemory", 1)
    try:
        answer = await stage.ask("POST", "jobs", json=JOB, status=503)
        assert (answer.json["type"], "Retry-After" in answer.headers) == ("/problems/log-full", True)
        await stage.ask("DELETE", f"jobs/{job['id']}", status=204)
    finally:
        await stage.redis.config_set("maxmemory", limit)
