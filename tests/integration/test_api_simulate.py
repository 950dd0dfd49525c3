"""POST /jobs/{id}/simulate: what a job would have done, over a real log, a real archive and a real history."""

from datetime import timedelta
from urllib.parse import quote

import pytest

from services.api import simulation_views
from shared.domain import simulation
from shared.domain.commands import FailRun, StartRun, SucceedRun, Wake
from shared.domain.events import Failure
from shared.recovery import recollecting
from shared.testing import TESTER, wait_until
from tests.integration.api_stage import stage_on
from tests.integration.test_api_auth import SECRET, by, key_of
from tests.integration.test_retention_api import age


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


class Doing:
    """A timer and an executor, which do what a test says."""

    def __init__(self, stage, job):
        self.stage, self.id = stage, job["id"]

    async def state(self):
        ref = f"job:{self.id}"
        return (await self.stage.log.load(ref))[ref].state

    async def fired(self):
        """Let the next occurrence come and be decided."""
        due = (await self.state()).due_at

        async def is_due():
            return self.stage.log.now() >= due

        await wait_until(is_due, "it is due", every_s=0.01)
        await self.stage.deps.decider.decide(f"job:{self.id}", Wake(), TESTER)

    async def start(self):
        run_id = (await self.state()).active[0]
        return run_id, await self.stage.deps.decider.decide(f"run:{run_id}", StartRun(worker="w"), TESTER)

    async def end(self, started, *, fails=False):
        run_id, start = started
        command = SucceedRun(fence=start.after.fence, result={"n": 1})
        if fails:
            error = Failure(class_="ValueError", message="no")
            command = FailRun(fence=start.after.fence, error=error, names=("ValueError",), draw=0.5)
        await self.stage.deps.decider.decide(f"run:{run_id}", command, TESTER)


async def simulated(stage, job, body, status=200, **asked):
    query = "&".join(f"{name}={quote(str(value))}" for name, value in asked.items())
    return (await stage.ask("POST", f"jobs/{job['id']}/simulate?{query}", json=body, status=status)).json


async def everything(stage):
    """All keys of Redis with what is in them, and all rows of Postgres."""
    await stage.level()
    keys = {name: await stage.redis.dump(name) for name in sorted(await stage.keys())}
    tables = await stage.pool.fetch(
        "select table_schema || '.' || table_name as name from information_schema.tables"
        " where table_schema in ('book', 'ledger') and table_type = 'BASE TABLE' order by 1"
    )
    rows = {
        row["name"]: sorted(map(str, await stage.pool.fetch(f"select * from {row['name']}")))  # noqa: S608
        for row in tables
    }
    sequences = await stage.pool.fetch("select sequencename, last_value from pg_sequences")
    return keys, rows, sorted(map(str, sequences))


async def a_history(stage):
    """A job of every second: one run is skipped, as the one before is active; one fails; the timer is late once."""
    job = await stage.create(interval_seconds=1, max_retries=0, misfire_grace_seconds=0)
    doing = Doing(stage, job)
    await doing.fired()
    first = await doing.start()
    await doing.fired()
    await doing.end(first)
    await doing.fired()
    await doing.end(await doing.start(), fails=True)
    await stage.level()
    return job, doing


async def test_nothing_is_changed_and_an_unchanged_job_would_have_done_what_it_did(stage):
    job, _ = await a_history(stage)
    before = await everything(stage)
    told = await simulated(stage, job, {}, count=5)
    assert await everything(stage) == before
    assert told["changes"] == []
    past = told["past"]
    assert [each["change"] for each in past["items"]] == ["same"] * 3
    assert past["totals"] == {"same": 3, "added": 0, "removed": 0, "moved": 0, "changed": 0}
    assert past["was"] == past["would"]
    assert past["was"]["skipped"] == {"overlap": 1}
    assert past["was"]["collisions"] == 1
    assert [each["was"]["status"] for each in past["items"]] == ["succeeded", None, "failed"]
    events = (await stage.ask("GET", f"jobs/{job['id']}/events?per_page=50", status=200)).json["items"]
    places = {each["sequence"]: each["type"].rpartition(".")[2] for each in events}
    assert [[places[at] for at in each["was"]["positions"]] for each in past["items"]] == [
        ["requested", "succeeded"],
        ["skipped"],
        ["requested", "failed"],
    ]
    assert told["measured_runs"] == 2
    assert {each["change"] for each in told["future"]["items"]} == {"same"}
    assert len(told["future"]["items"]) == 5
    assert told["future"]["truncated"]


async def test_another_policy_lets_run_what_was_skipped_and_another_schedule_moves_it(stage):
    job, _ = await a_history(stage)
    queued = (await simulated(stage, job, {"overlap_policy": "queue_all"}))["past"]
    skipped = next(each for each in queued["items"] if each["was"]["decision"] == "skip")
    assert skipped["change"] == "added"
    assert skipped["would"]["waits"]
    assert skipped["would"]["collides_with"] == queued["items"][0]["was"]["execution_id"]
    assert queued["would"]["waiting"] == 1
    told = await simulated(stage, job, {"interval_seconds": 2})
    assert [each["pointer"] for each in told["changes"]] == ["/interval_seconds"]
    assert told["past"]["would"]["occurrences"] < told["past"]["was"]["occurrences"]
    assert told["past"]["totals"]["removed"] >= 1
    paused = (await simulated(stage, job, {"pause_after_failures": 1}))["past"]
    assert [each["reason"] for each in paused["paused_by_failures"]] == ["a run has failed"]


async def test_calendars_are_read_as_they_were_and_ahead_as_they_are(stage):
    job, _ = await a_history(stage)
    days = ["mon", "tue", "wed", "thu", "fri", "sat"]
    await stage.ask("PUT", "calendars/week", json={"weekdays": days}, status=201)
    await stage.ask(
        "PUT", "calendars/all", json={"dates": [{"from": "2020-01-01", "to": "2100-01-01"}]}, status=201
    )
    told = await simulated(stage, job, {"exclude_calendars": ["all"]}, count=3)
    assert told["past"]["would"]["skipped"].get("calendar", 0) == 0, "there was no such calendar then"
    assert told["future"]["would"]["skipped"] == {"calendar": told["future"]["would"]["occurrences"]}
    unknown = await simulated(stage, job, {"exclude_calendars": ["none"]}, 422)
    assert "#/exclude_calendars/0" in [each["pointer"] for each in unknown["errors"]]


async def test_what_patch_refuses_is_refused_and_so_is_data(stage):
    job, _ = await a_history(stage)
    for body in (
        {"nothing": 1},
        {"priority": 11},
        {"cron_expression": "61 * * * *"},
        {"interval_seconds": 0},
    ):
        here = await simulated(stage, job, body, 422)
        there = (await stage.ask("PATCH", f"jobs/{job['id']}", json=body, status=422)).json
        assert here["errors"] == there["errors"]
    data = await simulated(stage, job, {"job_data": {"to": "ann@example.com"}}, 422)
    assert data["errors"][0]["pointer"] == "#/job_data"
    assert "isn't simulated" in data["errors"][0]["detail"]
    now = stage.log.now()
    for asked, name in (
        ({"since": (now + timedelta(days=1)).isoformat()}, "?since"),
        ({"since": (now - timedelta(days=40)).isoformat()}, "?since"),
        ({"until": (now + timedelta(days=400)).isoformat()}, "?until"),
        ({"count": 0}, "?count"),
        ({"when": 1}, "?when"),
    ):
        refused = await simulated(stage, job, {}, 422, **asked)
        assert refused["errors"][0]["pointer"] == name
    await stage.ask("DELETE", f"jobs/{job['id']}", status=204)
    await simulated(stage, job, {}, 404)


async def test_what_is_too_much_is_refused(stage, monkeypatch):
    job, _ = await a_history(stage)
    monkeypatch.setattr(simulation, "DECIDED_MAX", 2)
    refused = await simulated(stage, job, {"overlap_policy": "allow"}, 422)
    assert "occurrences" in refused["errors"][0]["detail"]
    monkeypatch.undo()
    monkeypatch.setattr(recollecting, "EVENTS_MAX", 3)
    refused = await simulated(stage, job, {}, 422)
    assert "events" in refused["errors"][0]["detail"]
    assert refused["errors"][0]["pointer"] == "?since"
    monkeypatch.undo()
    monkeypatch.setattr(recollecting, "READ", 2)
    assert (await simulated(stage, job, {}))["past"]["totals"]["same"] == 3, "however it is read"
    monkeypatch.setattr(simulation_views, "LISTED_MAX", 2)
    told = (await simulated(stage, job, {"overlap_policy": "queue_all"}))["past"]
    assert (told["truncated"], told["totals"]["same"]) == (True, 2)
    assert [each["change"] for each in told["items"]] == ["same", "added"]


async def test_the_past_may_begin_and_end_anywhere(stage, monkeypatch):
    job, doing = await a_history(stage)
    whole = (await simulated(stage, job, {}))["past"]
    middle = whole["items"][1]["was"]["decided_at"]
    later = await simulated(stage, job, {}, since=middle)
    assert later["past"]["items"] == whole["items"][2:]
    assert later["past"]["from"] == middle
    earlier = await simulated(stage, job, {}, until=middle)
    assert earlier["future"] is None
    assert [each["was"]["scheduled_for"] for each in earlier["past"]["items"]] == [
        each["was"]["scheduled_for"] for each in whole["items"][:2]
    ]
    queued = await simulated(stage, job, {"overlap_policy": "queue_all"}, since=middle)
    assert queued["past"]["totals"]["added"] == 0, "what was skipped before stays so"
    await age(stage, monkeypatch)
    await doing.fired()
    gone = await simulated(stage, job, {}, 410, since=middle)
    assert "dropped" in gone["detail"]
    left = (await simulated(stage, job, {}))["past"]
    assert left["from"] > middle
    assert [each["change"] for each in left["items"]] == ["same"]


async def test_only_who_may_see_a_job_may_ask(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on", secret_key=SECRET) as stage:
        editor, viewer, other = (
            await key_of(stage, role="editor"),
            await key_of(stage, role="viewer"),
            await key_of(stage, role="admin", tenant="other"),
        )
        body = {"name": "a job", "job_type": "custom", "interval_seconds": 60}
        body["job_data"] = {"operation": "echo"}
        job = (await stage.ask("POST", "jobs", json=body, status=201, headers=by(editor))).json
        path = f"jobs/{job['id']}/simulate"
        await stage.ask("POST", path, json={"priority": 7}, status=200, headers=by(viewer))
        await stage.ask("POST", path, json={}, status=404, headers=by(other))
        await stage.ask("POST", path, json={}, status=401)
