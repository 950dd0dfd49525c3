"""No new work where there is no room, while what there is ends: on real servers, with a real executor."""

import asyncio
from types import SimpleNamespace

import pytest
from redis.exceptions import NoPermissionError

from shared.eventlog.log import EventLog
from shared.metrics import Metrics
from shared.testing import wait_until

from .api_stage import JOB, stage_on
from .hall import Hall


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, backlog_max=5) as made:
        yield made


@pytest.fixture
async def full(stage):
    """Fills Redis, or gives room again."""
    limit = (await stage.redis.config_get("maxmemory"))["maxmemory"]

    async def set_to(percent):
        used = (await stage.redis.info("memory"))["used_memory"]
        await stage.redis.config_set("maxmemory", used * 100 // percent if percent else 0)
        await stage.deps.pressure.look()

    yield set_to
    await stage.redis.config_set("maxmemory", limit)


def hall_in(stage):
    """Executors on the log of the stage."""

    def another_log(process):
        return EventLog(
            stage.redis, prefix=stage.prefix, partitions=stage.partitions, process=process, metrics=Metrics(),
            reopen=stage.reopen,
        )  # fmt: skip

    bench = SimpleNamespace(
        prefix=stage.prefix, partitions=stage.partitions, log=stage.log, redis=stage.redis,
        decider=stage.deps.decider, another_log=another_log,
    )  # fmt: skip
    return Hall(bench, stage.redis_url)


def refused(stage, room):
    return stage.metrics.registry.get_sample_value("daybook_work_refused_total", {"room": room}) or 0


def adding(job, run):
    """Requests for new work."""
    return [
        ("POST", "jobs", {"json": JOB}),
        ("POST", f"jobs/{job}/trigger", {}),
        ("POST", f"executions/{run}/retry", {}),
        ("POST", "executions/redrive", {"json": {}}),
    ]


async def test_with_redis_at_maxmemory_runs_still_end_and_reads_go_on(stage, full):
    job = await stage.create()
    hall, may_end = hall_in(stage), asyncio.Event()

    async def handler(_run):
        await may_end.wait()
        return {"done": True}

    run = await hall.a_run_of(handler)
    executor = hall.start()
    await hall.running_now(run)
    await full(100)
    assert stage.deps.pressure.room == "memory"
    for method, path, told in adding(job["id"], run):
        answer = await stage.ask(method, path, status=503, **told)
        assert (answer.json["type"], answer.headers["Retry-After"]) == ("/problems/log-full", "5")
    assert refused(stage, "memory") == 4
    await stage.ask("GET", f"jobs/{job['id']}", status=200)
    await stage.ask("POST", f"jobs/{job['id']}/pause", status=200)  # adds no work
    may_end.set()
    await hall.ended(run)

    async def is_told():
        return (await stage.ask("GET", f"executions/{run}", status=200)).json["status"] == "succeeded"

    await wait_until(is_told, "the run's end is archived")
    await stage.ask("DELETE", f"jobs/{job['id']}", status=204)
    await full(0)
    await stage.create()
    await hall.stop(executor)


async def test_new_work_is_refused_before_redis_refuses_it(stage, full):
    await full(95)
    answer = await stage.ask("POST", "jobs", json=JOB, status=503)
    assert "memory" in answer.json["detail"]
    await full(50)
    await stage.create()


async def test_new_work_waits_for_an_archive_that_is_far_behind(stage):
    job = await stage.create()
    await stage.level()
    await stage.deps.pressure.look()
    assert stage.deps.pressure.room is None
    await stage.stop_projector()
    for _ in range(6):
        await stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "wait=0"}, status=202)
    await stage.deps.pressure.look()
    answer = await stage.ask("POST", f"jobs/{job['id']}/trigger", status=503)
    assert "archive" in answer.json["detail"]
    assert refused(stage, "backlog") == 1
    await stage.ask("PUT", f"jobs/{job['id']}", json=JOB, status=200)  # an edit
    stage.start_projector()
    await stage.level()
    await stage.deps.pressure.look()
    await stage.create()


async def test_a_redis_that_may_not_be_asked_is_not_watched_and_stops_nothing(stage, full, monkeypatch):
    async def forbid(*_arguments, **_options):
        raise NoPermissionError("this user has no permissions to run the 'info' command")

    with monkeypatch.context() as patched:
        patched.setattr(type(stage.redis), "info", forbid)
        await stage.deps.pressure.look()
    await full(95)
    assert stage.deps.pressure.room is None


async def test_the_look_is_no_part_of_a_request(stage, monkeypatch):
    calls = []
    original = type(stage.redis).execute_command

    async def count(self, *command, **options):
        calls.append(command)
        return await original(self, *command, **options)

    monkeypatch.setattr(type(stage.redis), "execute_command", count)
    stage.deps.pressure.room = "memory"
    await stage.ask("POST", "jobs", json=JOB, status=503)
    assert not {command[0] for command in calls} & {"INFO", "XLEN", "HGET"}  # others ask for other things
