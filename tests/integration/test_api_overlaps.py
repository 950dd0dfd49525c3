"""What a client is promised about runs that wait for others of their job, or replace them, on real servers."""

import pytest

from shared.domain.commands import FailRun, InterruptRun, StartRun, SucceedRun
from shared.domain.events import Failure
from shared.testing import TESTER

from .api_stage import stage_on


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


async def report(stage, run_id, command):
    decided = await stage.deps.decider.decide(f"run:{run_id}", command, TESTER)
    await stage.level()
    return decided


async def start(stage, run_id):
    return (await report(stage, run_id, StartRun(worker="w1"))).after.fence


def trigger(stage, job, status=201, **body):
    return stage.ask("POST", f"jobs/{job['id']}/trigger", json=body, status=status)


async def status_of(stage, run_id):
    return (await stage.ask("GET", f"executions/{run_id}", status=200)).json["status"]


async def test_a_trigger_that_waits_is_answered_as_held_and_is_queued_when_the_other_has_ended(stage):
    job = await stage.create(overlap_policy="queue_one")
    assert job["overlap_policy"] == "queue_one"
    first = (await trigger(stage, job)).json
    second = (await trigger(stage, job)).json
    assert (first["status"], second["status"]) == ("queued", "held")
    assert (first["queued_at"] is None, second["queued_at"]) == (False, None)
    assert (await stage.ask("GET", f"executions/{second['id']}", status=200)).json == second
    listed = (await stage.ask("GET", "executions?status=held", status=200)).json["items"]
    assert [each["id"] for each in listed] == [second["id"]]
    refused = (await trigger(stage, job, status=409)).json
    assert (refused["type"], refused["current"]) == ("/problems/illegal-transition", "running")
    assert "as many wait as may" in refused["detail"]
    await report(stage, first["id"], SucceedRun(fence=await start(stage, first["id"])))
    released = (await stage.ask("GET", f"executions/{second['id']}", status=200)).json
    assert released["status"] == "queued"
    assert released["queued_at"] is not None
    assert (await stage.ask("GET", f"jobs/{job['id']}", status=200)).json["status"] == "running"


async def test_what_is_replaced_says_by_which_execution(stage):
    job = await stage.create(overlap_policy="replace")
    first = (await trigger(stage, job)).json["id"]
    fence = await start(stage, first)
    second = (await trigger(stage, job)).json["id"]
    third = (await trigger(stage, job)).json
    assert third["status"] == "held"
    replaced = (await stage.ask("GET", f"executions/{second}", status=200)).json
    assert (replaced["status"], replaced["cancel"]["by"]) == ("cancelled", "daybook")
    assert replaced["cancel"]["reason"] == f"replaced by {third['id']}"
    running = (await stage.ask("GET", f"executions/{first}", status=200)).json
    assert (running["status"], running["cancel"]["reason"]) == ("running", f"replaced by {second}")
    await report(stage, first, InterruptRun(fence=fence))
    assert [await status_of(stage, run) for run in (first, third["id"])] == ["cancelled", "queued"]
    counted = stage.deps.metrics.runs_finished_total.labels("custom", "cancelled")._value.get()
    assert counted == 1, "that no executor saw"


async def test_an_execution_that_waits_is_cancelled_at_once(stage):
    job = await stage.create(overlap_policy="queue_all")
    first, second, third = [(await trigger(stage, job)).json["id"] for _ in range(3)]
    answer = await stage.ask("POST", f"executions/{second}/cancel", json={"reason": "no need"}, status=200)
    assert answer.json["status"] == "cancelled"
    await report(stage, first, SucceedRun(fence=await start(stage, first)))
    assert await status_of(stage, third) == "queued"


async def test_deleting_a_job_ends_those_that_wait_and_lets_the_rest_go_on(stage):
    job = await stage.create(overlap_policy="queue_all")
    first, second, third = [(await trigger(stage, job)).json["id"] for _ in range(3)]
    await stage.ask("DELETE", f"jobs/{job['id']}", status=204)
    assert [await status_of(stage, run) for run in (first, second, third)] == [
        "queued",
        "cancelled",
        "cancelled",
    ]
    told = (await stage.ask("GET", f"executions/{third}", status=200)).json
    assert told["cancel"]["reason"] == "its job was deleted"


async def test_a_job_that_keeps_no_list_of_its_runs_takes_no_other_policy(stage):
    job = await stage.create(overlap_policy="allow")
    await trigger(stage, job, overlap_policy="allow")
    for policy in ("skip", "queue_one", "queue_all", "replace"):
        refused = (await trigger(stage, job, status=409, overlap_policy=policy)).json
        assert "doesn't know its active runs" in refused["detail"]


async def test_dead_letters_of_one_job_run_again_one_after_the_other(stage):
    job = await stage.create(max_retries=0)
    letters = []
    error = Failure(class_="OSError", message="no")
    for _ in range(3):
        run_id = (await trigger(stage, job)).json["id"]
        fence = await start(stage, run_id)
        await report(stage, run_id, FailRun(fence=fence, error=error, names=("OSError",), draw=0.5))
        letters.append(run_id)
    body = {"overlap_policy": "queue_all"}
    done = (await stage.ask("POST", "executions/redrive", json=body)).json
    assert done["refused"] == []
    again = [each["id"] for each in done["retried"]]
    assert [await status_of(stage, run) for run in again] == ["queued", "held", "held"]
    await report(stage, again[0], SucceedRun(fence=await start(stage, again[0])))
    assert [await status_of(stage, run) for run in again] == ["succeeded", "queued", "held"]


async def test_a_bulk_trigger_waits_like_any_other(stage):
    job = await stage.create()
    operations = [{"op": "trigger", "id": job["id"], "overlap_policy": "queue_all"}] * 3
    told = (await stage.ask("POST", "jobs/bulk", json={"operations": operations}, status=200)).json
    assert [each["execution"]["status"] for each in told["items"]] == ["queued", "held", "held"]
