"""Jitter, excluded dates and occurrences skipped by hand, as clients ask for them."""

import asyncio
from datetime import datetime, timedelta

import pytest

from shared.domain.commands import Wake
from shared.testing import TESTER
from tests.integration.api_stage import JOB, stage_on

EXCLUDE = ["2090-12-25", {"from": "2090-12-31", "to": "2091-01-01"}]


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


def moment(text):
    return datetime.fromisoformat(text)


def written(at):
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def times_of(stage, job, count):
    """The job's next occurrences, of an interval of an hour without jitter or anything skipped."""
    first = moment((await stage.ask("GET", f"jobs/{job['id']}", status=200)).json["next_run_time"])
    return [written(first + timedelta(hours=n)) for n in range(count)]


async def test_windows_are_kept_as_they_were_sent_and_null_takes_them_back(stage):
    job = await stage.create(interval_seconds=3600, jitter_seconds=600, exclude=EXCLUDE)
    path = f"jobs/{job['id']}"
    assert (job["jitter_seconds"], job["exclude"], job["skipped"]) == (600, EXCLUDE, [])
    due, created = moment(job["next_run_time"]), moment(job["created_at"])
    assert timedelta(hours=1) <= due - created <= timedelta(hours=1, minutes=10)
    await stage.level()
    assert (await stage.ask("GET", path, status=200)).json == job
    body = {
        name: job[name] for name in (await stage.ask("GET", f"{path}/revisions/1", status=200)).json["job"]
    }
    assert (await stage.ask("PUT", path, json=body, status=200)).json["revision"] == 1, (
        "sent back, it is the same"
    )
    patched = await stage.ask("PATCH", path, json={"jitter_seconds": None, "exclude": None}, status=200)
    assert (patched.json["jitter_seconds"], patched.json["exclude"], patched.json["revision"]) == (0, [], 2)
    back = await stage.ask("POST", f"{path}/revert", json={"revision": 1}, status=200)
    assert (back.json["jitter_seconds"], back.json["exclude"]) == (600, EXCLUDE)


async def test_a_change_of_the_jitter_alone_moves_when_the_same_occurrence_fires(stage):
    job = await stage.create(interval_seconds=3600)
    path, nominal = f"jobs/{job['id']}", job["next_run_time"]
    jittered = (await stage.ask("PATCH", path, json={"jitter_seconds": 1800}, status=200)).json
    assert timedelta() < moment(jittered["next_run_time"]) - moment(nominal) <= timedelta(minutes=30)
    plain = (await stage.ask("PATCH", path, json={"jitter_seconds": 0}, status=200)).json
    assert plain["next_run_time"] == nominal


async def test_windows_can_be_applied_and_applying_them_again_changes_nothing(stage):
    wanted = JOB | {"interval_seconds": 60, "jitter_seconds": 5, "exclude": EXCLUDE}
    for said in ("create", "unchanged"):
        done = await stage.ask("POST", "apply", json={"jobs": [wanted]}, status=200)
        assert [each["action"] for each in done.json["items"]] == [said], done.json
    fewer = wanted | {"exclude": EXCLUDE[:1]}
    done = await stage.ask("POST", "apply", json={"jobs": [fewer]}, status=200)
    assert [each["pointer"] for each in done.json["items"][0]["changes"]] == ["/exclude"]


async def test_an_occurrence_is_skipped_and_not_skipped_after_all(stage):
    job = await stage.create(interval_seconds=3600)
    path = f"jobs/{job['id']}"
    first, second, third = await times_of(stage, job, 3)
    said = {"scheduled_for": first, "reason": "the database moves"}
    skipped = (await stage.ask("POST", f"{path}/skip", json=said, status=200)).json
    assert (skipped["next_run_time"], skipped["revision"], skipped["status"]) == (second, 1, "pending")
    (told,) = skipped["skipped"]
    assert told == said | {"by": "anonymous", "at": skipped["updated_at"]}
    local = moment(second).astimezone(tz=None).isoformat()
    again = (await stage.ask("POST", f"{path}/skip", json={"scheduled_for": local}, status=200)).json
    assert ([each["scheduled_for"] for each in again["skipped"]], again["next_run_time"]) == (
        [first, second],
        third,
    )
    await stage.level()
    shown = (await stage.ask("GET", path, status=200)).json
    assert shown == again
    assert (await stage.ask("GET", "jobs?sort=next_run_time", status=200)).json["items"] == [shown]
    back = (await stage.ask("POST", f"{path}/unskip", json={"scheduled_for": first}, status=200)).json
    assert (back["next_run_time"], [each["scheduled_for"] for each in back["skipped"]]) == (first, [second])
    events = (await stage.ask("GET", f"{path}/events", status=200)).json["items"]
    assert [each["type"].removeprefix("io.daybook.occurrence") for each in events[:3]] == [
        ".included", ".excluded", ".excluded",
    ]  # fmt: skip


async def test_skipping_again_changes_nothing_and_costs_no_event(stage):
    job = await stage.create(interval_seconds=3600)
    path, (first,) = f"jobs/{job['id']}", await times_of(stage, job, 1)
    for verb in ("skip", "unskip"):
        done = await stage.ask("POST", f"{path}/{verb}", json={"scheduled_for": first}, status=200)
        before = await stage.contents()
        again = await stage.ask("POST", f"{path}/{verb}", json={"scheduled_for": first}, status=200)
        assert (again.json, await stage.contents()) == (done.json, before)


async def test_a_time_that_is_no_occurrence_is_refused_with_those_around_it(stage):
    job = await stage.create(interval_seconds=3600)
    path, (first, second) = f"jobs/{job['id']}", await times_of(stage, job, 2)
    off = written(moment(first) + timedelta(minutes=1))
    refused = await stage.ask("POST", f"{path}/skip", json={"scheduled_for": off}, status=422)
    assert refused.json["type"] == "/problems/no-such-occurrence"
    for each in (first, second):
        assert each in refused.json["detail"]


async def test_a_skip_that_comes_after_the_decision_is_a_conflict(stage):
    """The race with the timer: whoever comes first, the occurrence is decided once, and the other is told."""
    soon = written(stage.log.now() + timedelta(seconds=1.5))
    job = await stage.create(interval_seconds=3600, start_at=soon)
    path = f"jobs/{job['id']}"
    await asyncio.sleep(max(0.0, (moment(soon) - stage.log.now()).total_seconds() + 0.05))
    refused = await stage.ask("POST", f"{path}/skip", json={"scheduled_for": soon}, status=409)
    assert "has been decided" in refused.json["detail"]
    await stage.deps.decider.decide(f"job:{job['id']}", Wake(), TESTER)
    refused = await stage.ask("POST", f"{path}/unskip", json={"scheduled_for": soon}, status=409)
    assert refused.json["current"] == "pending"
    await stage.level()
    runs = (await stage.ask("GET", f"{path}/executions", status=200)).json["items"]
    assert [(each["scheduled_for"], each["fires_at"]) for each in runs] == [(soon, soon)]


async def test_a_skip_goes_by_the_revision_it_was_made_up_from(stage):
    job = await stage.create(interval_seconds=3600)
    path, (first,) = f"jobs/{job['id']}", await times_of(stage, job, 1)
    for verb in ("skip", "unskip"):
        sent = {"json": {"scheduled_for": first}}
        await stage.ask("POST", f"{path}/{verb}", **sent, headers={"If-Match": '"9"'}, status=412)
        await stage.ask("POST", f"{path}/{verb}", **sent, headers={"If-Match": '"1"'}, status=200)


async def test_a_skipped_occurrence_leaves_an_event_that_says_who_and_a_job_that_goes_on(stage):
    job = await stage.create(interval_seconds=1)
    path = f"jobs/{job['id']}"
    second = written(moment(job["next_run_time"]) + timedelta(seconds=1))
    await stage.ask("POST", f"{path}/skip", json={"scheduled_for": second}, status=200)
    for _ in range(2):
        held = (await stage.log.load(f"job:{job['id']}"))[f"job:{job['id']}"].state
        await asyncio.sleep(max(0.0, (held.due_at - stage.log.now()).total_seconds() + 0.01))
        await stage.deps.decider.decide(f"job:{job['id']}", Wake(), TESTER)
    await stage.level()
    events = (await stage.ask("GET", f"{path}/events", status=200)).json["items"]
    (told,) = [each["data"] for each in events if each["type"] == "io.daybook.occurrences.skipped"]
    assert (told["reason"], told["by"], told["count"]) == ("excluded", "anonymous", 1)
    assert moment(told["from"]) == moment(second)
    assert (await stage.ask("GET", path, status=200)).json["skipped"] == []
