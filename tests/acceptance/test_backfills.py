"""A backfill of two hundred occurrences, while every service is killed: each runs to its end, once."""

from collections import Counter
from datetime import timedelta

import pytest

from shared.clock import SystemClock
from shared.testing import wait_until

from . import book
from .system import ROLES, System

COUNT, PARALLEL = 200, 3
ENDS = {"RunSucceeded", "RunFailed", "RunCancelled", "RunExpired"}
pytestmark = [pytest.mark.long, pytest.mark.xdist_group("heavy"), pytest.mark.timeout(300)]


@pytest.fixture
def system(tmp_path):
    made = System(tmp_path, environment={"DAYBOOK_LEASE_SECONDS": "2"})
    try:
        yield made.start()
    finally:
        made.destroy()


async def test_each_occurrence_runs_once_though_every_service_is_killed(system):
    async with system.client() as http:
        job = {
            "name": "nightly",
            "job_type": "custom",
            "job_data": {"operation": "sleep", "parameters": {"seconds": 0.4}},
            "cron_expression": "0 2 * * *",
        }
        made = (await http.post("/api/v1/jobs", json=job)).raise_for_status().json()
        night = SystemClock().now().replace(hour=2, minute=0, second=0, microsecond=0) - timedelta(
            days=COUNT + 1
        )
        span = {"from": night.isoformat(), "to": (night + timedelta(days=COUNT)).isoformat()}
        asked = await http.post(f"/api/v1/jobs/{made['id']}/backfill", json=span | {"max_parallel": PARALLEL})
        backfill = asked.raise_for_status().json()
        assert backfill["total"] == COUNT
        killed = await _kill_each_role(system, http, backfill["id"])
        told = await wait_until(lambda: _over(http, backfill["id"]), "it is over", timeout_s=120, every_s=0.2)
    assert (told["status"], told["succeeded"], told["failed"]) == ("completed", COUNT, 0)
    assert killed == dict.fromkeys(ROLES, 2)
    await wait_until(lambda: book.is_at_rest(system), "all is at rest", timeout_s=60, every_s=0.2)
    asked, at_once = _story((await book.read(system)).events)
    assert list(Counter(asked).values()) == [1] * COUNT
    assert asked == sorted(asked)
    assert at_once == PARALLEL
    status, said = system.audit()
    assert status == 0, said
    system.stop()


async def _kill_each_role(system, http, backfill_id):
    """Kill one after the other, each after some more occurrences have run."""
    killed, done = Counter(), 0
    for role in ROLES * 2:
        service = system.of(role)[0]
        await wait_until(service.is_up, f"{service.name} is up again", timeout_s=30, every_s=0.05)

        async def moved(more=done):
            told = await _now(http, backfill_id)
            return told["succeeded"] if told["succeeded"] > more else 0

        done = await wait_until(moved, "it goes on", timeout_s=30, every_s=0.05)
        assert done < COUNT, "it was over before everything had been killed"
        system.kill(service.name)
        killed[role] += 1
    return killed


async def _now(http, backfill_id):
    answer = await http.get(f"/api/v1/backfills/{backfill_id}")
    return answer.raise_for_status().json()


async def _over(http, backfill_id):
    told = await _now(http, backfill_id)
    return told if told["status"] == "completed" else None


def _story(events):
    """Occurrences in the order in which they were asked for, and how many runs were unfinished at most."""
    asked, unfinished, most = [], set(), 0
    for event in events:
        if event.type == "RunRequested" and event.told["trigger"] == "backfill":
            asked.append(event.told["scheduled_for"])
            unfinished.add(event.run_id)
        elif event.type in ENDS:
            unfinished.discard(event.run_id)
        most = max(most, len(unfinished))
    return asked, most
