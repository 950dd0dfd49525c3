"""Jobs as they were, by `as_of`: at a time, or after the events at a position."""

import asyncio
from datetime import timedelta
from urllib.parse import quote

import pytest

from services.api import past
from shared.domain.commands import StartRun, SucceedRun
from shared.eventlog.position import parse_places
from shared.testing import TESTER, wait_until
from tests.integration.api_stage import JOB, stage_on
from tests.integration.retention_kit import moment
from tests.integration.test_api_auth import SECRET, by, key_of
from tests.integration.test_retention_api import age

MS = timedelta(milliseconds=1)
CHANGES = ({"description": "two"}, {"priority": 9, "tags": ["b"]}, {"cron_expression": "0 3 * * *"})


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def guarded(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on", secret_key=SECRET) as made:
        yield made


async def past_of(stage, path, at, status=200, **options):
    text = at if isinstance(at, str) else at.isoformat()
    return await stage.ask(
        "GET", f"{path}{'&' if '?' in path else '?'}as_of={quote(text)}", status=status, **options
    )


async def told_by(stage, job, position):
    """The job now, once the archive tells it; where it stands, and a time before anything else happens."""
    await stage.level()
    now = (await stage.ask("GET", f"jobs/{job['id']}", status=200)).json
    partition = next(iter(parse_places(position, partitions=stage.partitions)))
    return now, position, await moment(stage, partition)


async def over(stage, at):
    async def is_over():
        return stage.log.now() > at

    await wait_until(is_over, "it is over", every_s=0.001)


async def end_of(stage):
    await stage.level()
    return (await stage.ask("GET", "events?limit=1", status=200)).headers["Daybook-Position"]


async def test_a_job_is_shown_as_it_was_at_each_position_and_each_time(stage):
    made = await stage.ask("POST", "jobs", json=JOB, status=201)
    job = made.json
    path = f"jobs/{job['id']}"
    seen = [await told_by(stage, job, made.headers["Daybook-Position"])]
    for body in CHANGES:
        done = await stage.ask("PATCH", path, json=body, status=200)
        seen.append(await told_by(stage, job, done.headers["Daybook-Position"]))
    done = await stage.ask("POST", f"{path}/pause", json={"reason": "why"}, status=200)
    seen.append(await told_by(stage, job, done.headers["Daybook-Position"]))
    await stage.ask("POST", f"{path}/resume", status=200)
    run = (await stage.ask("POST", f"{path}/trigger", json={}, status=201)).json
    seen.append(await told_by(stage, job, await end_of(stage)))
    assert seen[-1][0]["status"] == "running"
    fence = (await stage.deps.decider.decide(f"run:{run['id']}", StartRun(worker="w"), TESTER)).after.fence
    await stage.deps.decider.decide(f"run:{run['id']}", SucceedRun(fence=fence, result=None), TESTER)
    seen.append(await told_by(stage, job, await end_of(stage)))
    assert seen[-1][0]["last_run"]["id"] == run["id"]
    done = await stage.ask("DELETE", path, status=204)
    for then, position, at in seen:
        for asked in (position, at):
            answer = await past_of(stage, path, asked)
            assert answer.json == then, asked
            assert "ETag" not in answer.headers
        again = await past_of(stage, path, answer.headers["Daybook-Position"])
        assert again.json == then, "the answer says where it was so"
    assert len({str(then) for then, _, _ in seen}) == len(seen)
    gone = await past_of(stage, path, done.headers["Daybook-Position"], 404)
    assert "There was no such job then" in gone.json["detail"]


async def test_a_list_shows_what_there_was_deleted_jobs_too_and_pages_by_cursor(stage):
    jobs = [await stage.create(name=f"job {n}") for n in range(5)]
    await stage.ask("PATCH", f"jobs/{jobs[0]['id']}", json={"name": "renamed"}, status=200)
    await stage.level()
    then = sorted(
        (await stage.ask("GET", "jobs", status=200)).json["items"], key=lambda job: job["id"], reverse=True
    )
    at, position = await moment(stage), await end_of(stage)
    at = max(at, await moment(stage, 1))
    await stage.ask("DELETE", f"jobs/{jobs[1]['id']}", status=204)
    await stage.ask("PATCH", f"jobs/{jobs[0]['id']}", json={"name": "again"}, status=200)
    await stage.create(name="later")
    await stage.level()
    for asked in (at, position):
        told = await past_of(stage, "jobs", asked)
        assert told.json == {"items": then, "next_cursor": None}
        items, answer = [], await past_of(stage, "jobs?limit=2", asked)
        while cursor := answer.json["next_cursor"]:
            items += answer.json["items"]
            answer = await past_of(stage, f"jobs?limit=2&cursor={cursor}", asked)
        assert items + answer.json["items"] == then
    same = await past_of(stage, "jobs", told.headers["Daybook-Position"])
    assert same.json["items"] == then
    assert [set(each) for each in (await past_of(stage, "jobs?fields=id,name", at)).json["items"]] == [
        {"id", "name"}
    ] * 5
    now = (await stage.ask("GET", "jobs", status=200)).json["items"]
    assert {job["name"] for job in now} == {"again", "later", "job 2", "job 3", "job 4"}


async def test_a_list_of_the_past_is_filtered_by_what_never_changes_and_by_nothing_else(stage):
    first = await stage.create(name="a")
    await over(stage, stage.log.now() + MS)
    second = await stage.create(name="b")
    position = await end_of(stage)

    async def ids(query):
        return [job["id"] for job in (await past_of(stage, f"jobs?{query}", position)).json["items"]]

    both = sorted((first["id"], second["id"]), reverse=True)
    assert await ids("job_type=custom") == await ids("owner=anonymous") == both
    assert await ids("job_type=report_generation") == await ids("owner=bob") == []
    created = quote(second["created_at"])
    assert await ids(f"created_at[gte]={created}") == [second["id"]]
    assert await ids(f"created_at[gt]={created}") == []
    assert await ids(f"created_at[lt]={created}") == [first["id"]]
    assert await ids(f"created_at[lte]={created}") == both
    for query in ("status=paused", "tag=a", "queue=default", "q=a", "sort=id", "page=1", "per_page=5",
                  "next_run_time[gte]=2026-01-01T00:00:00Z", "updated_at[lt]=2026-01-01T00:00:00Z"):  # fmt: skip
        refused = await past_of(stage, f"jobs?{query}", position, 422)
        assert "as_of" in refused.json["errors"][0]["detail"], query
        assert refused.json["errors"][0]["pointer"] == f"?{query.split('=')[0]}"


async def test_slices_of_the_past_are_bounded_and_leave_nothing_out(stage, monkeypatch):
    monkeypatch.setattr(past, "LOOKED_AT", 3)
    monkeypatch.setattr(past, "TOGETHER", 2)
    monkeypatch.setattr(past, "FOLDED", 1)
    jobs = [await stage.create() for _ in range(7)]
    position = await end_of(stage)
    for limit in (1, 2, 5):
        found, answer = [], await past_of(stage, f"jobs?limit={limit}", position)
        while cursor := answer.json["next_cursor"]:
            found += answer.json["items"]
            assert len(answer.json["items"]) <= min(limit, 3)
            answer = await past_of(stage, f"jobs?limit={limit}&cursor={cursor}", position)
        found += answer.json["items"]
        assert [job["id"] for job in found] == sorted((job["id"] for job in jobs), reverse=True)


async def test_a_moment_that_is_no_past_is_refused_with_a_sentence(stage):
    job = await stage.create()
    path, position = f"jobs/{job['id']}", await end_of(stage)
    mine, other = sorted(parse_places(position, partitions=2).items())
    if int(job["id"][15:18], 16) == other[0]:
        mine, other = other, mine
    beyond = f"{mine[0]}:{mine[1].epoch}-{mine[1].pos + 1000}"
    later = (stage.log.now() + timedelta(seconds=30)).isoformat()
    for at, status, said in (
        (later, 422, "isn't over yet"),
        ("yesterday", 422, ""),
        ("2026-01-01T00:00:00", 422, ""),
        ("", 422, ""),
        ("9:1-1", 422, "is not a position here"),
        (f"{other[0]}:{other[1]}", 422, "names no position in partition"),
        (beyond, 422, "is beyond the end of the log"),
        (f"{mine[0]}:0-0", 422, "lies before everything"),
        ("1999-01-01T00:00:00Z", 422, "lies before everything"),
        (f"{mine[0]}:{mine[1].epoch - 1}-{mine[1].pos}", 409, "is not part of the history"),
    ):
        refused = await past_of(stage, path, at, headers={"Prefer": "wait=0"}, status=None)
        assert refused.status == status, f"{at}: {refused.text}"
        assert said in refused.text, f"{at}: {refused.text}"
    refused = await past_of(stage, "jobs", f"{mine[0]}:{mine[1]}", 422)
    assert f"names no position in partition {other[0]}" in refused.text
    assert (await past_of(stage, f"jobs/{'0' * 14}8{job['id'][15:]}", position, 404)).json["type"]


async def test_what_was_just_now_is_told_once_it_is_archived_and_not_before(stage):
    job = await stage.create()
    path = f"jobs/{job['id']}"
    await stage.stop_projector()
    await stage.ask("PATCH", path, json={"name": "new"}, headers={"Prefer": "wait=0"}, status=202)
    at = stage.log.now()
    await over(stage, at)
    await past_of(stage, path, at, 503, headers={"Prefer": "wait=0"})
    waiting = asyncio.create_task(past_of(stage, path, at, headers={"Prefer": "wait=10"}))
    stage.start_projector()
    assert (await waiting).json["name"] == "new"


async def test_what_retention_has_dropped_is_gone_and_what_came_after_is_told(stage, monkeypatch):
    job = await stage.create(description="old")
    path, old = f"jobs/{job['id']}", await end_of(stage)
    early = max(await moment(stage), await moment(stage, 1))
    await stage.ask("PATCH", path, json={"description": "newer"}, status=200)
    await age(stage, monkeypatch)
    kept = await end_of(stage)
    await stage.ask("PATCH", path, json={"description": "newest"}, status=200)
    await stage.level()
    for asked in (path, "jobs"):
        for at in (early, old):
            assert (await past_of(stage, asked, at, 410)).json["type"] == "/problems/history-gone"
    assert (await past_of(stage, path, kept)).json["description"] == "newer"
    assert [each["description"] for each in (await past_of(stage, "jobs", kept)).json["items"]] == ["newer"]


async def test_of_another_tenants_past_nothing_is_told(guarded):
    ours = {
        each: by(await key_of(guarded, "editor", tenant=each, owner="ann")) for each in ("acme", "umbrella")
    }
    made = {
        each: (await guarded.ask("POST", "jobs", json=JOB, headers=headers, status=201)).json
        for each, headers in ours.items()
    }
    position = await end_of_as(guarded, ours["acme"])
    for mine, other in (("acme", "umbrella"), ("umbrella", "acme")):
        told = await past_of(guarded, "jobs", position, headers=ours[mine])
        assert [each["id"] for each in told.json["items"]] == [made[mine]["id"]]
        await past_of(guarded, f"jobs/{made[mine]['id']}", position, headers=ours[mine])
        await past_of(guarded, f"jobs/{made[other]['id']}", position, 404, headers=ours[mine])


async def end_of_as(stage, headers):
    await stage.level()
    return (await stage.ask("GET", "events?limit=1", headers=headers, status=200)).headers["Daybook-Position"]
