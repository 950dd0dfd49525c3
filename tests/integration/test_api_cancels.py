"""What a client is promised about ending executions, and about what they say, on real servers."""

import asyncio

import pytest

from shared.domain.commands import FailRun, InterruptRun, Output, StartRun, SucceedRun, Wake
from shared.domain.events import Failure
from shared.testing import TESTER, wait_until

from .api_stage import stage_on


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


async def a_run(stage, **job):
    made = await stage.create(**{"overlap_policy": "allow"} | job)
    return (await stage.ask("POST", f"jobs/{made['id']}/trigger", status=201)).json["id"]


async def report(stage, run_id, command):
    return await stage.deps.decider.decide(f"run:{run_id}", command, TESTER)


async def start(stage, run_id):
    return (await report(stage, run_id, StartRun(worker="w1"))).after.fence


def cancel(stage, run_id, **kwargs):
    return stage.ask("POST", f"executions/{run_id}/cancel", **kwargs)


def failure(fence, **said):
    return FailRun(
        fence=fence, error=Failure(class_="OSError", message="no"), names=("OSError",), draw=0.5, **said
    )


async def test_a_queued_execution_is_cancelled_at_once(stage):
    run_id = await a_run(stage)
    answer = await cancel(stage, run_id, json={"reason": "no need"}, status=200)
    assert answer.json["status"] == "cancelled"
    assert answer.json["cancel"]["reason"] == "no need"
    assert answer.json["cancel"]["by"] == "anonymous"
    assert answer.json["finished_at"] is not None
    place = answer.headers["Daybook-Position"]
    assert (
        await stage.ask("GET", f"executions/{run_id}?min_position={place}", status=200)
    ).json == answer.json
    job = (await stage.ask("GET", f"jobs/{answer.json['job_id']}", status=200)).json
    assert (job["last_run"]["status"], job["status"]) == ("cancelled", "pending")


async def test_an_execution_that_waits_for_its_retry_is_cancelled_at_once(stage):
    run_id = await a_run(stage)
    await report(stage, run_id, failure(await start(stage, run_id)))
    answer = await cancel(stage, run_id, status=200)
    assert answer.json["status"] == "cancelled"
    assert [each["outcome"] for each in answer.json["attempts"]] == ["failed"]


async def test_a_running_execution_is_cancelled_as_soon_as_its_handler_has_been_stopped(stage):
    run_id = await a_run(stage)
    fence = await start(stage, run_id)
    asked = asyncio.create_task(cancel(stage, run_id, status=200))

    async def is_asked():
        return (await stage.log.load(f"run:{run_id}"))[f"run:{run_id}"].state.cancel

    await wait_until(is_asked, "the cancel is requested")
    await report(stage, run_id, InterruptRun(fence=fence))
    answer = await asked
    assert answer.json["status"] == "cancelled"
    assert [each["outcome"] for each in answer.json["attempts"]] == ["cancelled"]


async def test_a_handler_that_has_not_been_stopped_within_the_wait_is_202(stage):
    run_id = await a_run(stage)
    fence = await start(stage, run_id)
    answer = await cancel(stage, run_id, headers={"Prefer": "wait=1"}, status=202)
    assert (answer.json["status"], answer.json["cancel"]["by"]) == ("running", "anonymous")
    assert answer.headers["Location"].endswith(run_id)
    assert (await cancel(stage, run_id, headers={"Prefer": "wait=0"}, status=202)).json["status"] == "running"
    await report(stage, run_id, InterruptRun(fence=fence))
    await stage.level()
    assert (await stage.ask("GET", f"executions/{run_id}", status=200)).json["status"] == "cancelled"


async def test_a_success_that_is_first_stands_and_the_answer_says_so(stage):
    run_id = await a_run(stage)
    fence = await start(stage, run_id)
    asked = asyncio.create_task(cancel(stage, run_id))
    await report(stage, run_id, SucceedRun(fence=fence, result=1))
    answer = await asked
    if answer.status == 200:  # the cancel was requested first
        assert (answer.json["status"], answer.json["result"]) == ("succeeded", 1)
    else:
        assert (answer.status, answer.json["current"]) == (409, "succeeded")
    await stage.level()
    events = await stage.pool.fetch("select type from book.events where subject = $1", f"run/{run_id}")
    assert sum(each["type"] in {"RunSucceeded", "RunCancelled"} for each in events) == 1


@pytest.mark.parametrize("gone", [False, True], ids=["still in Redis", "gone from Redis"])
async def test_what_has_ended_is_not_cancelled(stage, gone):
    run_id = await a_run(stage)
    await report(stage, run_id, SucceedRun(fence=await start(stage, run_id)))
    await stage.level()
    if gone:
        await stage.redis.delete(
            stage.log.keys(stage.log.partition_of(f"run:{run_id}")).aggregate(f"run:{run_id}")
        )
    before = await stage.contents()
    answer = await cancel(stage, run_id, status=409)
    assert (answer.json["type"], answer.json["current"]) == ("/problems/illegal-transition", "succeeded")
    assert await stage.contents() == before


async def test_a_cancel_is_answered_though_the_archive_lags(stage):
    run_id = await a_run(stage)
    await stage.stop_projector()
    answer = await cancel(stage, run_id, headers={"Prefer": "wait=0"}, status=202)
    assert answer.json["status"] == "cancelled"
    stage.start_projector()
    await stage.level()


async def test_progress_is_seen_while_it_runs_only(stage):
    run_id = await a_run(stage)
    fence = await start(stage, run_id)
    key = stage.log.keys(stage.log.partition_of(f"run:{run_id}")).aggregate(f"run:{run_id}")
    await stage.level()
    path = f"executions/{run_id}"
    assert (await stage.ask("GET", path, status=200)).json["progress"] is None
    await stage.redis.hset(key, "progress", '1-1 {"ratio":0.9,"message":"of another start"}')
    assert (await stage.ask("GET", path, status=200)).json["progress"] is None
    await stage.redis.hset(key, "progress", f'{fence} {{"ratio":0.5,"message":"half"}}')
    assert (await stage.ask("GET", path, status=200)).json["progress"] == {"ratio": 0.5, "message": "half"}
    await report(stage, run_id, SucceedRun(fence=fence))
    await stage.level()
    assert (await stage.ask("GET", path, status=200)).json["progress"] is None


async def test_output_is_that_of_the_latest_attempt_or_of_the_one_asked_for(stage):
    run_id = await a_run(stage, retry_backoff={"initial_seconds": 0, "jitter": 0})
    path = f"executions/{run_id}/output"
    nothing = {"attempt": None, "text": "", "dropped_bytes": 0, "at": None, "attempts": []}
    assert (await stage.ask("GET", path, status=200)).json == nothing
    first = failure(await start(stage, run_id), output=Output(text="one\n", dropped=7))
    planned = await report(stage, run_id, first)
    due = stage.log.keys(planned.partition).due
    score = await stage.redis.zscore(due, f"run:{run_id}")
    await stage.deps.decider.decide(f"run:{run_id}", Wake(), TESTER, woken=f"{score:.0f}")
    second = SucceedRun(fence=await start(stage, run_id), output=Output(text="zwei €\n"))
    await report(stage, run_id, second)
    await stage.level()
    latest = (await stage.ask("GET", path, status=200)).json
    assert (latest["attempt"], latest["text"], latest["dropped_bytes"]) == (2, "zwei €\n", 0)
    assert latest["attempts"] == [1, 2]
    earlier = (await stage.ask("GET", f"{path}?attempt=1", status=200)).json
    assert (earlier["attempt"], earlier["text"], earlier["dropped_bytes"]) == (1, "one\n", 7)
    await stage.ask("GET", f"{path}?attempt=3", status=404)
    await stage.ask("GET", f"{path}?attempt=x", status=422)
