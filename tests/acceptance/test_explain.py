"""`daybook explain` over a whole system whose only timer is killed: the reason is told while it is dead, and after."""

import json
from datetime import datetime

import httpx
import pytest

from tests.acceptance.system import System, eventually

PATIENCE_S = 30


@pytest.fixture
def system(tmp_path):
    made = System(tmp_path)
    try:
        yield made.start()
    finally:
        made.destroy()


@pytest.mark.long
def test_that_no_timer_was_alive_is_told_from_the_log_alone(system):
    body = {
        "name": "ticks", "job_type": "custom", "job_data": {"operation": "echo"}, "interval_seconds": 1,
        "misfire_grace_seconds": 2, "overlap_policy": "allow",
    }  # fmt: skip
    job = httpx.post(f"{system.url}/api/v1/jobs", json=body, timeout=20).json()

    def explained(*words):
        done = system.command("explain", job["id"], "--url", system.url, "-o", "json", *words, check=True)
        return json.loads(done.stdout)

    def codes(told):
        return [each["code"] for each in told["findings"]]

    eventually(lambda: "last_run" in codes(explained()), "it has run", PATIENCE_S)
    (timer,) = system.of("timer")
    timer.kill()
    eventually(lambda: "no_timer" in codes(explained()), "it is told that no timer is alive", PATIENCE_S)
    finding = next(each for each in explained()["findings"] if each["code"] == "no_timer")
    assert finding["details"]["to"] is None
    missed = finding["details"]["due_at"]
    timer.spawn()
    eventually(lambda: "misfire" in codes(explained("--at", missed)), "it was decided after all", PATIENCE_S)
    told = explained("--at", missed)
    finding = next(each for each in told["findings"] if each["code"] == "no_timer")
    before, due, after = [
        datetime.fromisoformat(finding["details"][name]) for name in ("from", "due_at", "to")
    ]
    assert before < due < after
    assert len(finding["events"]) == 2
    assert "no timer was alive from" in told["summary"]
