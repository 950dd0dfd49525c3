"""`--as-of` and `daybook missed`: the past, and what is late, on the command line."""

import json
from datetime import timedelta

import pytest

from services.api import missed as api_missed
from services.cli import missed
from shared.testing import wait_until
from tests.integration.api_stage import stage_on
from tests.integration.cli_kit import Line, listening


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def daybook(stage):
    async with listening(stage.app) as url:
        yield Line(url)


async def test_jobs_are_shown_as_they_were(stage, daybook):
    jobs = [await stage.create(name=name) for name in ("one", "two", "three")]
    await stage.level()
    then = (await stage.ask("GET", "events?limit=1", status=200)).headers["Daybook-Position"]
    await stage.ask("PATCH", f"jobs/{jobs[0]['id']}", json={"name": "renamed"}, status=200)
    await stage.ask("DELETE", f"jobs/{jobs[1]['id']}", status=204)
    shown = await daybook("jobs", "get", jobs[0]["id"], "--as-of", then, "-o", "json")
    assert json.loads(shown.stdout) == jobs[0]
    listed = await daybook("jobs", "list", "--as-of", then, "--all", "-o", "json")
    assert json.loads(listed.stdout) == sorted(jobs, key=lambda job: job["id"], reverse=True)
    refused = await daybook("jobs", "list", "--as-of", "yesterday", status=1)
    assert "as_of" in refused.stderr
    refused = await daybook("jobs", "list", "--as-of", then, "--status", "paused", status=1)
    assert "doesn't go with as_of" in refused.stderr


async def test_what_is_missing_is_listed(stage, daybook, monkeypatch):
    monkeypatch.setattr(api_missed, "GRACE", timedelta())
    monkeypatch.setattr(missed, "PAGE", 2)
    assert json.loads((await daybook("missed", "-o", "json")).stdout) == []
    job = await stage.create(interval_seconds=1)

    async def are_missing():
        return (await stage.ask("GET", "missed", status=200)).json["total"] >= 3

    await wait_until(are_missing, "three occurrences are missing", every_s=0.1)
    for limit in (1, 2, 3):
        told = json.loads((await daybook("missed", "--limit", str(limit), "-o", "json")).stdout)
        assert [each["job_id"] for each in told] == [job["id"]] * limit
        assert len({each["scheduled_for"] for each in told}) == limit
    assert job["id"] in (await daybook("missed")).stdout
