"""Executors that are stopped, killed or told to end a run: no run is lost, none starts twice without a reason."""

import asyncio
import time
from collections import Counter, defaultdict

import pytest

from shared.testing import wait_until

from . import book
from .system import ROLES, System

LEASE_S = 3.0
TRIGGERS_A_SECOND = 200
UNANSWERED_MAX = (
    100  # a machine that is busy with other things gets fewer: what it can't answer would only pile up
)
DRAIN_S = 1.0
pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    environment = {"DAYBOOK_LEASE_SECONDS": str(LEASE_S), "DAYBOOK_DRAIN_SECONDS": str(DRAIN_S)}
    made = System(
        tmp_path_factory.mktemp("executors"),
        replicas=dict.fromkeys(ROLES, 1) | {"executor": 3},
        environment=environment,
    )
    try:
        yield made.start()
    finally:
        made.destroy()


async def a_job(http, seconds, **spec):
    body = {
        "name": f"sleeps {seconds} s", "job_type": "custom", "overlap_policy": "allow", "max_retries": 0,
        "job_data": {"operation": "sleep", "parameters": {"seconds": seconds}},
    } | spec  # fmt: skip
    answer = await http.post("/api/v1/jobs", json=body)
    assert answer.status_code in {201, 202}, answer.text
    return answer.json()["id"]


async def a_run(http, job_id):
    """Trigger until that is acknowledged; a 503 may have been done all the same."""

    async def acknowledged():
        answer = await http.post(f"/api/v1/jobs/{job_id}/trigger")
        assert answer.status_code in {201, 202, 503}, answer.text
        return answer.json()["id"] if answer.status_code != 503 else None

    return await wait_until(acknowledged, "the trigger is acknowledged", timeout_s=30, every_s=0.5)


async def test_the_run_of_a_killed_executor_starts_elsewhere_within_its_lease_and_two_seconds(system):
    async with system.client() as http:
        run_id = await a_run(http, await a_job(http, 4 * LEASE_S))
        worker = await wait_until(lambda: _worker(http, run_id, attempt=1), "it runs")
        [victim] = [each for each in system.of("executor") if f"-{each.pid}-" in worker]
        victim.kill()
        killed_at = time.time()
        other = await wait_until(
            lambda: _worker(http, run_id, attempt=2), "it runs elsewhere", timeout_s=LEASE_S + 10
        )
    assert other != worker
    events = [event for event in (await book.read(system)).events if event.run_id == run_id]
    assert [event.type for event in events][-3:] == ["RunLost", "RunQueued", "RunStarted"]
    assert events[-1].at.timestamp() - killed_at < LEASE_S + 2
    victim.spawn()
    await wait_until(victim.is_up, "the killed one is up again", timeout_s=30)


async def _worker(http, run_id, *, attempt):
    answer = await http.get(f"/api/v1/executions/{run_id}")
    told = answer.json() if answer.status_code == 200 else {}
    return told.get("worker") if told.get("status") == "running" and told["attempt"] == attempt else None


async def test_a_running_execution_is_cancelled_within_two_seconds(system):
    async with system.client() as http:
        run_id = await a_run(http, await a_job(http, 3600))
        await wait_until(lambda: _worker(http, run_id, attempt=1), "it runs")
        began = time.monotonic()
        answer = await http.post(
            f"/api/v1/executions/{run_id}/cancel", json={"reason": "test"}, headers={"Prefer": "wait=10"}
        )
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled"), answer.text
        assert time.monotonic() - began < 2


async def test_those_that_wait_for_a_run_of_a_killed_executor_have_their_turn_in_the_end(system):
    async with system.client() as http:
        job_id = await a_job(http, 3600, overlap_policy="queue_all", max_lost=1)
        first, second, third = [await a_run(http, job_id) for _ in range(3)]
        worker = await wait_until(lambda: _worker(http, first, attempt=1), "it runs")
        [victim] = [each for each in system.of("executor") if f"-{each.pid}-" in worker]
        victim.kill()
        await wait_until(
            lambda: _worker(http, second, attempt=1), "the next one runs", timeout_s=LEASE_S + 10
        )
        replacing = await http.post(f"/api/v1/jobs/{job_id}/trigger", json={"overlap_policy": "replace"})
        assert replacing.json()["status"] == "held", replacing.text
        await wait_until(
            lambda: _worker(http, replacing.json()["id"], attempt=1), "what replaces it runs", timeout_s=10
        )
        told = [
            (await http.get(f"/api/v1/executions/{run}")).json()["status"] for run in (first, second, third)
        ]
        assert told == ["failed", "cancelled", "cancelled"]
        await http.post(f"/api/v1/executions/{replacing.json()['id']}/cancel")
    victim.spawn()
    await wait_until(victim.is_up, "the killed one is up again", timeout_s=30)


async def test_a_rolling_restart_under_load_fails_and_loses_nothing(system):
    async with system.client() as http:
        quick, slow = await a_job(http, 0.05), await a_job(http, 2 * DRAIN_S)
        stop = asyncio.Event()
        load = asyncio.create_task(_trigger_until(stop, http, [quick] * 3 + [slow]))
        for executor in system.of("executor"):
            status = await asyncio.to_thread(executor.terminate)
            assert status == 0, executor.tail()
            executor.spawn()
            await wait_until(executor.is_up, f"{executor.name} is up again", timeout_s=30, every_s=0.05)
        stop.set()
        requested = await load
    await wait_until(lambda: book.is_at_rest(system), "all runs have ended", timeout_s=60, every_s=0.2)
    events = [event for event in (await book.read(system)).events if event.job_id in {quick, slow}]
    kinds = Counter(event.type for event in events)
    print(f"\n{len(requested)} runs, {kinds['RunInterrupted']} of them handed back")
    assert kinds["RunSucceeded"] == kinds["RunRequested"] >= len(requested)
    assert (kinds["RunFailed"], kinds["RunLost"], kinds["RunRetryPlanned"]) == (0, 0, 0)
    assert kinds["RunInterrupted"] > 0  # or the drain has not been tried
    assert not list(_second_starts_without_a_reason(events))
    system.stop()


async def _trigger_until(stop, http, jobs):
    """Trigger so many a second, evenly, until `stop` is set; ids of the runs."""
    began, due, asked = time.monotonic(), 0, []
    while not stop.is_set():
        before, due = due, int((time.monotonic() - began) * TRIGGERS_A_SECOND)
        room = UNANSWERED_MAX - sum(not each.done() for each in asked)
        for _ in range(min(due - before, room)):
            asked.append(asyncio.create_task(a_run(http, jobs[len(asked) % len(jobs)])))
        await asyncio.sleep(1 / TRIGGERS_A_SECOND)
    return await asyncio.gather(*asked)


def _second_starts_without_a_reason(events):
    before = defaultdict(list)
    for event in events:
        if event.run_id:
            told = before[event.run_id]
            if (
                event.type == "RunStarted"
                and "RunStarted" in told
                and told[-2:] != ["RunInterrupted", "RunQueued"]
            ):
                yield event.place
            told.append(event.type)
