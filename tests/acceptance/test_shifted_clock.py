"""Both changes of the clocks of 2026 in Berlin, lived through by the whole system: nothing is mocked but the time."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.acceptance.shifted_clock import Clock, shifted_system
from tests.acceptance.system import eventually

SOON = timedelta(
    seconds=3
)  # before what is to come: it is waited for, not found, though a timer looks up late
DONE_S = 20.0


def utc(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path / "clock", utc("2026-03-29T00:45:00"))


@pytest.fixture
def system(tmp_path, clock):
    made = shifted_system(tmp_path / "data", clock)
    try:
        yield made.start()
    finally:
        made.destroy()


class Jobs:
    """A client, and what it looks at."""

    def __init__(self, system, clock):
        self._http = httpx.Client(base_url=f"{system.url}/api/v1", timeout=20, trust_env=False)
        self._clock = clock

    def create(self, **job):
        body = {
            "job_type": "custom",
            "job_data": {"operation": "echo"},
            "timezone": "Europe/Berlin",
            "overlap_policy": "allow",
            **job,
        }
        answer = self._http.post("/jobs", json=body)
        assert answer.status_code in {201, 202}, answer.text
        return answer.json()["id"]

    def succeeded(self, job):
        """Nominal times of the executions that have succeeded, oldest first."""
        items = self._http.get(f"/jobs/{job}/executions", params={"per_page": 200}).json()["items"]
        return sorted(each["scheduled_for"][:16] for each in items if each["status"] == "succeeded")

    def facts(self, job, kind):
        """The data of a job's events of this type, oldest first."""
        items = self._http.get(f"/jobs/{job}/events", params={"per_page": 200}).json()["items"]
        return [each["data"] for each in reversed(items) if each["type"] == f"io.daybook.{kind}"]

    def comes(self, moment):
        """It becomes `moment`, within seconds."""
        self._clock.set(utc(moment) - SOON)

    def ran(self, job, *moments):
        """Wait until it has succeeded for exactly these."""
        eventually(lambda: len(self.succeeded(job)) >= len(moments), f"runs for {moments}", DONE_S)
        assert self.succeeded(job) == list(moments)


def test_a_job_at_half_past_two_runs_once_on_both_days_on_which_clocks_change(system, clock):
    jobs = Jobs(system, clock)
    daily = jobs.create(name="daily", cron_expression="30 2 * * *")
    often = jobs.create(name="often", cron_expression="*/30 * * * *", misfire_policy="skip")

    jobs.comes("2026-03-29T01:00:00")  # it would be 02:00, and is 03:00
    jobs.ran(daily, "2026-03-29T01:00")
    jobs.ran(often, "2026-03-29T01:00")
    (requested,) = jobs.facts(daily, "run.requested")
    assert [(each["rule"], each["local_time"]) for each in requested["clock"]] == [
        ("gap_next_valid", "2026-03-29T02:30:00")
    ]

    jobs.comes("2026-10-25T00:30:00")  # seven months of nobody there, up to 02:30 for the first time
    jobs.ran(daily, "2026-03-29T01:00", "2026-10-24T00:30", "2026-10-25T00:30")
    jobs.ran(often, "2026-03-29T01:00", "2026-10-25T00:30")
    (skipped,) = jobs.facts(daily, "occurrences.skipped")
    assert (skipped["from"][:16], skipped["to"][:16], skipped["count"], skipped["reason"]) == (
        "2026-03-30T00:30", "2026-10-23T00:30", 208, "misfire"
    )  # fmt: skip

    jobs.comes("2026-10-25T01:30:00")  # 02:30 for the second time
    jobs.ran(often, "2026-03-29T01:00", "2026-10-25T00:30", "2026-10-25T01:30")
    assert len(jobs.succeeded(daily)) == 3

    jobs.comes("2026-10-26T01:30:00")
    jobs.ran(daily, "2026-03-29T01:00", "2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30")
    assert [
        (each["rule"], each["local_time"], each["at"][:16])
        for each in jobs.facts(daily, "run.requested")[-1]["clock"]
    ] == [("overlap_first", "2026-10-25T02:30:00", "2026-10-25T01:30")]
