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
    paused = await daybook("simulate", job["id"], "--set", "pause_after_failures=1")
    assert ": failures would have paused it, a run has failed" in paused.stderr
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
    assert told["future"]["would"]["occurrences"] >= 2  # the span ends with the third of either way
    assert told["past"]["totals"]["moved"] >= 1
    assert json.loads((await daybook(*words, "-o", "json")).stdout)["changes"] == told["changes"]
    refused = await daybook("simulate", job["id"], "--set", "job_data.x=1", status=1)
    assert "isn't simulated" in refused.stderr
    unknown = await daybook("simulate", job["id"].replace(job["id"][:4], "0001", 1), status=4)
    assert unknown.stdout == ""


async def test_what_a_table_of_occurrences_does_not_show_is_said(stage, daybook):
    """Why nothing is to come, and what somebody did that couldn't have been."""
    job, _ = await a_history(stage)
    path = f"jobs/{job['id']}"
    await stage.ask("POST", f"{path}/pause", json={"reason": "a move"}, status=200)
    paused = await daybook("simulate", job["id"])
    assert "0 will run, 0 would run" in paused.stderr
    assert "paused until somebody resumes it: ahead, nothing runs either way" in paused.stderr
    assert paused.stderr.rstrip().endswith("Zones go by the present tables.")
    await stage.ask("POST", f"{path}/resume", json={}, status=200)
    at = (await stage.ask("GET", f"{path}/next", status=200)).json["occurrences"][5]["scheduled_for"]
    await stage.ask("POST", f"{path}/skip", json={"scheduled_for": at}, status=200)
    other = await daybook(
        "simulate", job["id"], "--set", "cron_expression=0 0 1 1 *", "--set", "interval_seconds=null"
    )
    assert "SkipOccurrence would have been refused: " in other.stderr
