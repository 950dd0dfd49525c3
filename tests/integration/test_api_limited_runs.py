"""What a client sees of limits: fields of jobs, and executions that wait, on real servers."""

import pytest

from services.api import views
from services.projector.gauges import count_ledgers
from shared.domain.commands import CancelRun, HoldRun, ReleaseRun, StartRun
from shared.domain.events import HoldReason
from shared.metrics import Metrics
from shared.testing import TESTER, wait_until

from .api_stage import stage_on

KEY = {"concurrency_key": "the crane"}


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


async def a_held_run(stage, reason: HoldReason = "concurrency"):
    job = await stage.create(**KEY, overlap_policy="allow")
    run_id = (await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)).json["id"]
    until = stage.deps.log.now().replace(microsecond=0)
    hold = HoldRun(reason=reason, key="the crane", until=until.replace(year=until.year + 1))
    await stage.deps.decider.decide(f"run:{run_id}", hold, TESTER)
    return run_id


async def seen(stage, run_id, status):
    async def look():
        found = (await stage.ask("GET", f"executions/{run_id}", status=200)).json
        return found if found["status"] == status else None

    return await wait_until(look, f"the ledger shows {run_id} {status}")


async def test_a_key_comes_with_a_limit_of_one_and_goes_with_it(stage):
    job = await stage.create(**KEY)
    assert (job["concurrency_key"], job["concurrency_limit"]) == ("the crane", 1)
    answer = await stage.ask("PATCH", f"jobs/{job['id']}", json={"concurrency_limit": 3}, status=200)
    assert answer.json["concurrency_limit"] == 3
    gone = {"concurrency_key": None, "concurrency_limit": None}
    answer = await stage.ask("PATCH", f"jobs/{job['id']}", json=gone, status=200)
    assert (answer.json["concurrency_key"], answer.json["concurrency_limit"]) == (None, None)
    again = await stage.ask("GET", f"jobs/{job['id']}", status=200)
    assert again.json["concurrency_key"] is None


async def test_an_execution_tells_which_limit_it_waits_for_and_until_when(stage):
    run_id = await a_held_run(stage)
    execution = await seen(stage, run_id, "held")
    assert execution["held"]["reason"] == "concurrency"
    assert execution["held"]["key"] == "the crane"
    listed = (await stage.ask("GET", "executions?status=held", status=200)).json["items"]
    assert [(each["id"], each["held"]) for each in listed] == [(run_id, execution["held"])]
    held = (await stage.deps.log.load(f"run:{run_id}"))[f"run:{run_id}"].state
    assert views.execution_of_run(held, None).held.model_dump(mode="json") == execution["held"]
    job = (await stage.ask("GET", f"jobs/{execution['job_id']}", status=200)).json
    assert job["status"] == "running"
    await stage.deps.decider.decide(f"run:{run_id}", ReleaseRun(), TESTER)
    assert (await seen(stage, run_id, "queued"))["held"] is None
    await stage.deps.decider.decide(f"run:{run_id}", StartRun(worker="w"), TESTER)
    assert (await seen(stage, run_id, "running"))["held"] is None


async def test_a_held_execution_is_cancelled_at_once(stage):
    run_id = await a_held_run(stage, "rate")
    answer = await stage.ask("POST", f"executions/{run_id}/cancel", status=200)
    assert (answer.json["status"], answer.json["held"]) == ("cancelled", None)


async def test_held_executions_are_counted_by_what_they_wait_for(stage):
    await a_held_run(stage)
    await a_held_run(stage, "rate")
    gone = await a_held_run(stage)
    await stage.deps.decider.decide(f"run:{gone}", CancelRun(by="ann"), TESTER)
    await seen(stage, gone, "cancelled")
    metrics = Metrics()
    await count_ledgers(metrics, stage.pool, range(stage.partitions))
    counted = {
        reason: metrics.registry.get_sample_value("daybook_runs_held", {"reason": reason})
        for reason in ("concurrency", "rate", "overlap")
    }
    assert counted == {"concurrency": 1, "rate": 1, "overlap": 0}
