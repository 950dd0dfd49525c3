"""`daybook calendars` and `daybook replan`, on real servers."""

import json

import pytest

from services.cli import calendars
from services.cli.replan import replan
from shared.readmodel import archive
from shared.settings import Settings
from shared.testing import chance
from tests.zone_tables import WITHOUT_DST, tables

from .api_stage import stage_on
from .cli_kit import Line, listening


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        await archive.record_deployment(made.pool, partitions=made.partitions, prefix=made.prefix)
        yield made


@pytest.fixture
async def daybook(stage):
    async with listening(stage.app) as url:
        yield Line(url)


async def test_a_calendar_is_put_from_options_and_from_a_file_shown_named_and_deleted(
    stage, daybook, monkeypatch, tmp_path
):
    said = await daybook(
        "calendars", "put", "holidays", "--date", "2090-12-25", "--date", "2090-12-31..2091-01-01",
        "--weekday", "sun", "--timezone", "Europe/Berlin", "-o", "json",
    )  # fmt: skip
    made = json.loads(said.stdout)
    assert made["dates"] == ["2090-12-25", {"from": "2090-12-31", "to": "2091-01-01"}]
    assert (made["weekdays"], made["timezone"]) == (["sun"], "Europe/Berlin")
    shown = await daybook("calendars", "get", "holidays", "-o", "yaml")
    file = tmp_path / "holidays.yaml"
    file.write_text(shown.stdout)
    again = await daybook(
        "calendars", "put", "others", "-f", str(file), "--description", "copied", "-o", "json"
    )
    assert json.loads(again.stdout)["dates"] == made["dates"]
    assert json.loads(again.stdout)["description"] == "copied"
    monkeypatch.setattr(calendars, "PAGE", 1)  # so that there are pages
    listed = (await daybook("calendars", "list")).stdout
    assert "every sun, 2090-12-25, 2090-12-31..2091-01-01" in listed
    assert "others" in listed
    job = json.loads(
        (
            await daybook(
                "jobs", "create", "--name", "a", "--type", "custom", "--data", '{"operation":"echo"}',
                "--cron", "0 9 * * *", "--exclude-calendar", "holidays", "-o", "json",
            )
        ).stdout
    )  # fmt: skip
    assert job["exclude_calendars"] == ["holidays"]
    refused = await daybook("calendars", "delete", "holidays", "-y", status=1)
    assert job["id"] in refused.stderr
    await daybook("calendars", "delete", "others", given="n\n", status=1)
    await daybook("calendars", "delete", "others", "-y")
    await daybook("calendars", "get", "others", status=4)
    await daybook("calendars", "put", "empty", status=2)


async def test_jobs_are_planned_anew_by_hand(stage):
    told = Settings(redis_url=stage.redis_url, database_url=stage.database_url)
    jobs = [await stage.create(cron_expression="30 2 1 7 *", timezone="Europe/Berlin") for _ in range(3)]
    said = []
    assert await replan(told, chance=chance, say=said.append)
    assert [line.rpartition(", ")[2] for line in said] == ["0 moved", "0 moved"]
    with tables(WITHOUT_DST):
        said.clear()
        assert await replan(told, chance=chance, say=said.append)
    assert sum(int(line.rpartition(", ")[2].split()[0]) for line in said) == 3
    await stage.level()
    for job in jobs:
        now = (await stage.ask("GET", f"jobs/{job['id']}", status=200)).json
        assert (job["next_run_time"][11:16], now["next_run_time"][11:16]) == ("00:30", "01:30")
        assert now["revision"] == 1
        events = (await stage.ask("GET", f"jobs/{job['id']}/events", status=200)).json["items"]
        assert events[0]["type"] == "io.daybook.schedule.replanned"
        assert events[0]["actor"] == "cli"
    await stage.redis.hset(stage.log.keys(0).tzdata, "version", "9999.1")
    said.clear()
    assert not await replan(told, chance=chance, say=said.append)
    assert "upgrade this one" in said[0]
