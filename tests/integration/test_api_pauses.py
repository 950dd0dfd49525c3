"""Pauses with an end, what their end catches up, and the stop switch over many jobs; over real Redis and Postgres."""

import time
from datetime import datetime, timedelta

import pytest

from services.api import switches
from services.api.problems import unavailable
from services.api.writes import Writes
from shared.clock import SystemClock
from shared.domain import ids
from shared.domain.commands import Wake
from shared.domain.events import OccurrencesSkipped
from shared.eventlog.envelope import rfc3339
from shared.testing import TESTER

from .api_stage import JOB, stage_on
from .test_api_auth import by, key_of

HOURLY = {"interval_seconds": 3_600}
NIGHT = {"tags": ["night"], **HOURLY}


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def guarded(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on") as made:
        yield made


def ahead(**span):
    """A time from now on, as the API shows it."""
    return rfc3339((SystemClock().now() + timedelta(**span)).replace(microsecond=0))


async def told(stage, job_id):
    return (await stage.ask("GET", f"jobs/{job_id}", status=200)).json


async def pause(stage, job_id, status=200, **body):
    return (await stage.ask("POST", f"jobs/{job_id}/pause", json=body, status=status)).json


async def switch(stage, what, query, status=200, headers=None, **body):
    return (
        await stage.ask("POST", f"jobs:{what}?{query}", json=body, status=status, headers=headers or {})
    ).json


async def names_paused(stage):
    items = (await stage.ask("GET", "jobs?status=paused&per_page=200", status=200)).json["items"]
    return sorted(each["name"] for each in items)


async def test_the_end_of_a_pause_is_shown_due_and_kept_by_the_read_side(stage):
    job_id, until = (await stage.create(**HOURLY))["id"], ahead(hours=3)
    said = await pause(stage, job_id, reason="move", until=until, catch_up="latest")
    assert said["paused"] | {"at": None} == {
        "by": "anonymous", "at": None, "reason": "move", "until": until, "catch_up": "latest", "switch": None,
    }  # fmt: skip
    assert (said["status"], said["next_run_time"]) == ("paused", None)
    await stage.level()
    assert await told(stage, job_id) == said
    due = await stage.redis.zscore(stage.log.keys(ids.partition_of(job_id)).due, f"job:{job_id}")
    assert due == ids.to_ms(datetime.fromisoformat(until))
    said = await pause(stage, job_id, until=None)
    assert (said["paused"]["until"], said["paused"]["reason"]) == (None, "move")
    assert await pause(stage, job_id) == said, "nothing said, nothing changed"


@pytest.mark.parametrize(
    ("until", "why"),
    [
        (lambda: ahead(seconds=-5), "is past"),
        (lambda: ahead(days=3_700), "ten years"),
        (lambda: "2090-01-01T00:00:00", "offset"),
        (lambda: 5, "offset"),
    ],
)
async def test_a_pause_ends_in_the_future_and_not_too_far(stage, until, why):
    job_id = (await stage.create(**HOURLY))["id"]
    (error,) = (await pause(stage, job_id, status=422, until=until()))["errors"]
    assert (error["pointer"], why in error["detail"]) == ("#/until", True)
    assert (await told(stage, job_id))["status"] == "pending"


async def test_the_same_pause_sent_again_has_its_answer_though_its_end_is_past(stage, monkeypatch):
    job_id, until = (await stage.create(**HOURLY))["id"], ahead(seconds=60)
    ask = {"json": {"until": until}, "headers": {"Idempotency-Key": "once"}}
    first = await stage.ask("POST", f"jobs/{job_id}/pause", status=200, **ask)
    now = stage.log.now
    monkeypatch.setattr(stage.log, "now", lambda *given: now(*given) + timedelta(hours=1))
    again = await stage.ask("POST", f"jobs/{job_id}/pause", status=200, **ask)
    assert (again.json, again.headers["Idempotency-Replayed"]) == (first.json, "true")


async def test_a_resume_says_what_is_caught_up_and_wakes_do_it(stage):
    job_id = (await stage.create(interval_seconds=1, overlap_policy="allow"))["id"]
    await pause(stage, job_id, reason="rest")
    later = stage.log.now() + timedelta(seconds=130)
    stage.log.now = lambda *_: later
    said = (await stage.ask("POST", f"jobs/{job_id}/resume", json={"catch_up": "all"}, status=200)).json
    assert (said["status"], said["paused"]) == ("pending", None)
    changes = []
    while True:
        decided = await stage.deps.decider.decide(f"job:{job_id}", Wake(), TESTER)
        changes += decided.changes
        if not decided.changes:
            break
    runs = [each for each in changes if each.subject.startswith("run:")]
    assert 128 <= len(runs) <= 131
    assert not any(isinstance(each.event, OccurrencesSkipped) for each in changes)
    assert decided.after.state.catching_up is None
    (error,) = (await stage.ask("POST", f"jobs/{job_id}/resume", json={"catch_up": "some"}, status=422)).json[
        "errors"
    ]
    assert error["pointer"] == "#/catch_up"


async def test_in_bulk_a_pause_and_a_resume_say_the_same(stage):
    job_id, until = (await stage.create(**HOURLY))["id"], ahead(hours=2)
    operations = [
        {"op": "pause", "id": job_id, "until": until, "catch_up": "all"},
        {"op": "pause", "id": job_id, "until": ahead(hours=-2)},
        {"op": "resume", "id": job_id, "catch_up": "latest"},
    ]
    items = (await stage.ask("POST", "jobs/bulk", json={"operations": operations}, status=200)).json["items"]
    assert [each["status"] for each in items] == [200, 422, 200]
    assert items[1]["problem"]["errors"][0]["pointer"] == "#/operations/1/until"
    assert items[2]["job"]["paused"] is None


# The switch.


async def test_a_switch_pauses_the_jobs_with_a_tag_and_ends_only_what_it_began(stage):
    made = {name: (await stage.create(name=name, **NIGHT))["id"] for name in ("a", "b", "c")}
    await stage.create(name="other", tags=["day"], **HOURLY)
    await pause(stage, made["b"], reason="broken")
    until = ahead(hours=1)
    done = await switch(stage, "pause", "tag=night", reason="move", until=until, catch_up="all")
    assert done == {
        "switch": "tag:night", "changed": 2, "unchanged": 1, "next_cursor": None, "dry_run": False,
    }  # fmt: skip
    assert await names_paused(stage) == ["a", "b", "c"]
    paused = {name: (await told(stage, job_id))["paused"] for name, job_id in made.items()}
    assert [paused[name]["switch"] for name in "abc"] == ["tag:night", None, "tag:night"]
    assert (paused["a"]["until"], paused["a"]["catch_up"], paused["b"]["reason"]) == (until, "all", "broken")
    await stage.create(name="late", **NIGHT)
    again = await switch(stage, "pause", "tag=night", reason="move")
    assert (again["changed"], again["unchanged"]) == (1, 3), "what was made meanwhile isn't paused by itself"
    await stage.ask("PATCH", f"jobs/{made['c']}", json={"tags": []}, status=200)
    assert (await switch(stage, "resume", "all=true"))["changed"] == 0
    done = await switch(stage, "resume", "tag=night", catch_up="skip")
    assert (done["changed"], done["unchanged"]) == (3, 0), "also what has lost the tag"
    assert await names_paused(stage) == ["b"]


async def test_all_jobs_are_paused_only_when_that_is_said(stage):
    await stage.create(name="a", **HOURLY)
    for query in (
        "",
        "tag=night&all=true",
        "all=false",
        "all=",
        "tag=",
        "tag=" + "x" * 51,
        "tag=a%00b",
        "x=1",
    ):
        await stage.ask("POST", f"jobs:pause?{query}", status=422)
    assert await names_paused(stage) == []
    done = (await stage.ask("POST", "jobs:pause?all=true", status=200)).json
    assert (done["switch"], done["changed"]) == ("all", 1)
    assert (await stage.ask("POST", "jobs:resume?all=true", status=200)).json["changed"] == 1


async def test_a_dry_run_changes_nothing(stage):
    await stage.create(name="a", **NIGHT)
    held = (await stage.create(name="b", **NIGHT))["id"]
    await pause(stage, held)
    before = await stage.contents()
    done = await switch(stage, "pause", "tag=night", dry_run=True)
    assert (done["changed"], done["unchanged"], done["dry_run"]) == (1, 1, True)
    assert await stage.contents() == before
    await switch(stage, "pause", "tag=night")
    assert (await switch(stage, "resume", "tag=night", dry_run=True))["changed"] == 1
    assert await names_paused(stage) == ["a", "b"]


async def test_what_time_does_not_suffice_for_is_the_next_requests(stage, monkeypatch):
    for name in "abcde":
        await stage.create(name=name, **NIGHT)
    monkeypatch.setattr(switches, "CHUNK", 2)
    monkeypatch.setattr(switches, "LOOKED_MAX", 3)
    first = await switch(stage, "pause", "tag=night")
    assert (first["changed"], first["next_cursor"] is None) == (3, False)
    rest = await switch(stage, "pause", f"tag=night&cursor={first['next_cursor']}")
    assert (rest["changed"], rest["unchanged"], rest["next_cursor"]) == (2, 0, None)
    monkeypatch.setattr(switches, "LOOKED_MAX", 50)
    monkeypatch.setattr(switches, "BEGIN_S", 0.0)
    first = await switch(stage, "resume", "tag=night")
    assert (first["changed"], first["next_cursor"] is None) == (2, False), "each request comes further"
    monkeypatch.setattr(switches, "BEGIN_S", 15.0)
    rest = await switch(stage, "resume", f"tag=night&cursor={first['next_cursor']}")
    assert (rest["changed"], rest["next_cursor"]) == (3, None)
    assert await names_paused(stage) == []


async def test_what_a_crash_cuts_off_is_done_by_the_same_request_again(stage, monkeypatch):
    for name in "abcd":
        await stage.create(name=name, **NIGHT)
    decide, calls = Writes.decide, []

    async def broken(self, *args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise unavailable("Redis is away.")
        return await decide(self, *args, **kwargs)

    monkeypatch.setattr(Writes, "decide", broken)
    key = {"Idempotency-Key": "k"}
    await switch(stage, "pause", "tag=night", status=503, headers=key)
    await stage.level()
    assert len(await names_paused(stage)) == 3
    monkeypatch.undo()
    done = await switch(stage, "pause", "tag=night", headers=key)
    assert (done["changed"], done["unchanged"]) == (1, 3)
    assert await switch(stage, "pause", "tag=night", headers=key) == done
    refused = await switch(stage, "pause", "tag=day", status=422, headers=key)
    assert refused["type"] == "/problems/key-reused", "the same key, another tag"


async def test_a_completed_job_stands_in_nobodys_way(stage):
    over = (await stage.create(name="over", tags=["night"], run_at=ahead(seconds=2)))["id"]
    await stage.create(name="goes on", **NIGHT)
    later = stage.log.now() + timedelta(seconds=5)
    now, stage.log.now = stage.log.now, lambda *_: later
    await stage.deps.decider.decide(f"job:{over}", Wake(), TESTER)
    stage.log.now = now
    await stage.level()
    done = await switch(stage, "pause", "tag=night")
    assert (done["changed"], done["unchanged"]) == (1, 0)


async def test_a_switch_is_an_operators_and_ends_at_the_tenants_wall(guarded):
    ours, theirs = await key_of(guarded, "editor"), await key_of(guarded, "editor", tenant="t2")
    for whose in (ours, theirs):
        body = JOB | NIGHT
        await guarded.ask("POST", "jobs", json=body, headers=by(whose), status=201)
    viewer = await key_of(guarded, "viewer", owner="vic")
    for what in ("pause", "resume"):
        await guarded.ask("POST", f"jobs:{what}?all=true", headers=by(viewer), status=403)
    operator = await key_of(guarded, "operator", owner="olga")
    for query in ("all=true", "tag=night"):
        assert (await switch(guarded, "pause", query, headers=by(operator)))["changed"] <= 1
        assert (await switch(guarded, "resume", query, headers=by(theirs)))["changed"] == 0
        assert (await switch(guarded, "resume", query, headers=by(operator)))["changed"] == 1


@pytest.mark.long
async def test_ten_thousand_jobs_are_one_request(stage):
    operations = [{"op": "create", "job": JOB | NIGHT}] * 1_000
    for _ in range(10):
        await stage.ask("POST", "jobs/bulk", json={"operations": operations})
    await stage.level()
    for what in ("pause", "resume"):
        began_s = time.monotonic()
        done = (await stage.ask("POST", f"jobs:{what}?tag=night", json={})).json
        print(f"{what}: {time.monotonic() - began_s:.1f} s")
        assert (done["changed"], done["unchanged"], done["next_cursor"]) == (10_000, 0, None)
        await stage.level()
