"""`daybook schedules preview`, `daybook jobs next` and `daybook forecast`, over an API that really listens."""

import json

import pytest

from .api_stage import stage_on
from .cli_kit import Line, listening

BERLIN = ("--cron", "30 2 * * *", "--timezone", "Europe/Berlin")


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def daybook(stage):
    async with listening(stage.app) as url:
        yield Line(url)


async def test_a_preview_is_a_table_and_what_was_left_out_is_said_beside_it(daybook):
    ask = ("schedules", "preview", *BERLIN, "--from", "2026-10-24T12:00:00Z", "--count", "2")
    said = await daybook(*ask)
    head, first, second = said.stdout.splitlines()
    assert head.split()[:2] == ["SCHEDULED", "FOR"]
    assert "2026-10-25T02:30:00+02:00" in first
    assert first.endswith("overlap_first")
    assert second.endswith("-")
    assert said.stderr == (
        "Not at 2026-10-25T02:30:00+01:00: the clock is put back, and the first of the two counts.\n"
    )
    told = json.loads((await daybook(*ask, "-o", "json")).stdout)
    assert [each["reason"] for each in told["dropped"]] == ["overlap_first"]


async def test_a_schedule_comes_from_a_file_and_options_go_over_it(daybook):
    body = json.dumps({"interval_seconds": 60, "start_at": "2090-01-01T00:00:00Z"})
    ask = ("schedules", "preview", "-f", "-", "--max-runs", "2", "-o", "json")
    told = json.loads((await daybook(*ask, given=body)).stdout)
    assert [each["scheduled_for"] for each in told["occurrences"]] == [
        "2090-01-01T00:00:00.000Z", "2090-01-01T00:01:00.000Z",
    ]  # fmt: skip
    assert "Say what schedule" in (await daybook("schedules", "preview", status=2)).stderr
    refused = await daybook("schedules", "preview", "--cron", "0 0 30 2 *", status=1)
    assert "#/cron_expression" in refused.stderr


async def test_a_job_tells_its_next_occurrences_and_that_it_is_paused(stage, daybook):
    job = await stage.create(cron_expression="0 0 * * *")
    said = await daybook("jobs", "next", job["id"], "--count", "3")
    assert job["next_run_time"] in said.stdout.splitlines()[1]
    assert (len(said.stdout.splitlines()), said.stderr) == (4, "")
    await stage.ask("POST", f"jobs/{job['id']}/pause", status=200)
    assert "paused by anonymous" in (await daybook("jobs", "next", job["id"])).stderr
    await daybook("jobs", "next", "nothing", status=4)


async def test_a_forecast_is_a_line_a_bucket(stage, daybook):
    await stage.create(cron_expression="0 12 * * *")
    await stage.level()
    span = ("--from", "2090-01-01T00:00:00Z", "--to", "2090-01-02T00:00:00Z", "--bucket", "6h")
    said = await daybook("forecast", *span)
    assert [line.split()[1] for line in said.stdout.splitlines()[1:]] == ["0", "0", "1", "0"]
    assert "have never run" in said.stderr
    told = json.loads((await daybook("forecast", *span, "-o", "json")).stdout)
    assert told["bucket_seconds"] == 21_600
    await daybook("forecast", "--bucket", "1w", status=1)
