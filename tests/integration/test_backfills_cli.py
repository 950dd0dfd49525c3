"""Backfills from the command line."""

import asyncio
import json

import pytest

from services.cli import backfills
from shared.domain.commands import CancelRun, Wake
from shared.testing import TESTER, wait_until

from .api_stage import stage_on
from .cli_kit import Line, listening


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def daybook(stage):
    async with listening(stage.app) as url:
        yield Line(url)


async def test_a_backfill_is_tried_asked_for_followed_and_called_off(stage, daybook, monkeypatch):
    monkeypatch.setattr(backfills, "EVERY_S", 0.05)
    job = (await stage.create(cron_expression="* * * * *"))["id"]
    words = ("jobs", "backfill", job, "--from", "180s", "--parallel", "3")
    would = json.loads((await daybook(*words, "--dry-run", "-o", "json", status=5)).stdout)
    assert would["total"] == len(would["times"]) == 3
    nothing = await daybook("jobs", "backfill", job, "--from", "1s", "--which", "failed", "--dry-run")
    assert "total" in nothing.stdout
    waiting = asyncio.create_task(daybook(*words, "--reason", "a night", "--wait", "-o", "json", status=5))
    made = await _made(stage, job)
    decider = stage.deps.decider
    for change in (await decider.decide(f"backfill:{made}", Wake(), TESTER)).changes[1:]:
        await decider.decide(change.subject, CancelRun(by="ann"), TESTER)
    said = await waiting
    told = json.loads(said.stdout)
    assert (told["status"], told["failed"], told["reason"]) == ("completed", 3, "a night")
    assert "completed: 3 of 3 done, 0 running, 3 failed" in said.stderr
    assert made in (await daybook("backfills", "list", job)).stdout
    await daybook("backfills", "tail", made, status=5)
    again = json.loads((await daybook(*words, "--which", "all", "-o", "json")).stdout)["id"]
    called_off = json.loads(
        (await daybook("backfills", "cancel", again, "--reason", "no", "-o", "json")).stdout
    )
    assert called_off["cancel"]["reason"] == "no"
    await stage.level()
    assert json.loads((await daybook("backfills", "get", again, "-o", "json")).stdout) == called_off
    await daybook("backfills", "get", "x", status=4)
    await daybook("jobs", "backfill", job, "--from", "999999999d", status=2)


async def _made(stage, job):
    """The id of the backfill that a command has asked for."""

    async def listed():
        return (await stage.ask("GET", f"jobs/{job}/backfills")).json["items"]

    return (await wait_until(listed, "the backfill is listed"))[0]["id"]
