"""`daybook simulate`: the question of POST /jobs/{id}/simulate, for people."""

import json

import pytest

from tests.integration.api_stage import stage_on
from tests.integration.cli_kit import Line, listening
from tests.integration.test_api_simulate import a_history


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def daybook(stage):
    async with listening(stage.app) as url:
        yield Line(url)


async def test_what_would_have_been_is_shown_beside_what_was(stage, daybook, tmp_path):
    job, _ = await a_history(stage)
    same = await daybook("simulate", job["id"], "--count", "2")
    assert "succeeded" not in same.stdout
    assert "Past, " in same.stderr
    assert "3 same, 0 added" in same.stderr
    every = await daybook("simulate", job["id"], "--count", "2", "--all")
    assert every.stdout.count("same") == 5
    assert "run: succeeded" in every.stdout
    changed = await daybook("simulate", job["id"], "--set", "overlap_policy=queue_all")
    [row] = [line for line in changed.stdout.splitlines() if line.startswith("past")]
    assert row.split()[:2] == ["past", "added"]
    assert "skip: overlap" in row
    assert "run, waits" in row
    assert "2 ran, 3 would have run" in changed.stderr
    file = tmp_path / "patch.yaml"
    file.write_text(
        "interval_seconds: null\ncron_expression: '* * * * * *'\nretry_backoff: {multiplier: 3}\n"
    )
    words = ("simulate", job["id"], "-f", str(file), "--set", "retry_backoff.jitter=0", "--count", "3")
    told = json.loads((await daybook(*words, "--json")).stdout)
    assert {each["pointer"] for each in told["changes"]} == {
        "/interval_seconds",
        "/cron_expression",
        "/retry_backoff/multiplier",
        "/retry_backoff/jitter",
    }
    assert told["future"]["would"]["occurrences"] >= 2  # of three seconds, as the phases of both lie
    assert told["past"]["totals"]["moved"] >= 1
    assert json.loads((await daybook(*words, "-o", "json")).stdout)["changes"] == told["changes"]
    refused = await daybook("simulate", job["id"], "--set", "job_data.x=1", status=1)
    assert "isn't simulated" in refused.stderr
    unknown = await daybook("simulate", job["id"].replace(job["id"][:4], "0001", 1), status=4)
    assert unknown.stdout == ""
