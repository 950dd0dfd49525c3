"""`GET /missed`: what should have been decided and was not, while no timer is there."""

import asyncio
from datetime import datetime, timedelta

import pytest

from services.api import missed
from services.projector import missing as gauge
from shared.domain.commands import PauseJob, Wake
from shared.testing import TESTER, wait_until
from tests.integration.api_stage import JOB, stage_on
from tests.integration.test_api_auth import SECRET, by, key_of

NONE = timedelta()


@pytest.fixture
async def stage(valkey, postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(missed, "GRACE", NONE)
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def guarded(valkey, postgres, tmp_path, monkeypatch):
    monkeypatch.setattr(missed, "GRACE", NONE)
    async with stage_on(valkey, postgres, tmp_path, auth="on", secret_key=SECRET) as made:
        yield made


async def listed(stage, query="", **options):
    return (await stage.ask("GET", f"missed{query}", status=200, **options)).json


async def some(stage, count, **options):
    """The list, once it has so many."""

    async def has_some():
        told = await listed(stage, "?per_page=200", **options)
        return told if told["total"] >= count else None

    return await wait_until(has_some, f"{count} occurrences are missing", every_s=0.1)


async def wake(stage, job):
    await stage.deps.decider.decide(f"job:{job['id']}", Wake(), TESTER)
    await stage.level()


async def test_what_no_timer_decides_is_listed_until_one_does(stage):
    job = await stage.create(name="each second", interval_seconds=1)
    for beside in ({"interval_seconds": 3600}, {}):
        await stage.create(**beside)
    assert (await listed(stage))["items"] == []
    told = await some(stage, 2)
    first = datetime.fromisoformat(job["next_run_time"])
    for n, each in enumerate(told["items"]):
        at = (first + n * timedelta(seconds=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert each == {
            "job_id": job["id"],
            "job_name": "each second",
            "scheduled_for": at,
            "missing_since": at,
        }
    assert (await listed(stage, "?per_page=1&page=2"))["items"] == told["items"][1:2]
    assert not told["total_is_capped"]
    count = await gauge.count(stage.pool, {each: stage.log.now() for each in range(2)}, grace=NONE)
    assert count >= told["total"], "the gauge counts the same"
    await wake(stage, job)
    left = (await listed(stage))["items"]
    assert {each["scheduled_for"] for each in left}.isdisjoint(
        each["scheduled_for"] for each in told["items"]
    )


async def test_what_misses_nothing_isnt_listed_and_what_cannot_be_read_is_once(stage):
    paused, unreadable = await stage.create(interval_seconds=1), await stage.create(interval_seconds=1)
    await stage.deps.decider.decide(f"job:{paused['id']}", PauseJob(by="ann", reason=""), TESTER)
    await some(stage, 3)
    await stage.pool.execute(
        "update book.snapshots set state = null where ref = $1", f"job:{unreadable['id']}"
    )
    (one,) = (await listed(stage))["items"]
    assert (one["job_id"], one["scheduled_for"]) == (unreadable["id"], unreadable["next_run_time"])


async def test_a_decision_that_is_not_archived_yet_makes_nothing_missing(stage):
    """The archive is older than the log: what it says of the present would be wrong."""
    job = await stage.create(interval_seconds=1)
    await some(stage, 1)
    await stage.stop_projector()
    await stage.deps.decider.decide(f"job:{job['id']}", Wake(), TESTER)
    assert (await listed(stage))["items"] == []
    stage.start_projector()
    await some(stage, 1)


async def test_a_long_list_is_cut_and_says_so(stage, monkeypatch):
    await stage.create(interval_seconds=1)
    await some(stage, 2)
    monkeypatch.setattr(missed, "JOBS_MAX", 1)
    assert (await listed(stage))["total_is_capped"]
    monkeypatch.setattr(missed, "OF_A_JOB", 1)
    assert len((await listed(stage))["items"]) == 1


async def test_each_tenant_is_told_of_its_own_and_the_anonymous_of_nothing(guarded):
    ours = {each: by(await key_of(guarded, "editor", tenant=each)) for each in ("acme", "umbrella")}
    made = {}
    for each, headers in ours.items():
        body = JOB | {"interval_seconds": 1}
        made[each] = (await guarded.ask("POST", "jobs", json=body, headers=headers, status=201)).json
    for each, headers in ours.items():
        told = await some(guarded, 1, headers=headers)
        assert {item["job_id"] for item in told["items"]} == {made[each]["id"]}
    await asyncio.gather(*(guarded.ask("GET", "missed", status=401) for _ in range(2)))
