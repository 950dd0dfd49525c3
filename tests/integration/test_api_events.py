"""GET /events: what has happened, by what, whose, whom, when and where; page by page, each event once."""

import json

import pytest

from services.api import event_filter
from services.api.ledger import Ledger
from shared.eventlog.position import parse_places
from tests.integration.api_stage import JOB, stage_on
from tests.integration.stream_kit import flood
from tests.integration.test_api_auth import SECRET, by, key_of


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def guarded(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on", secret_key=SECRET) as made:
        yield made


async def listed(stage, **query):
    headers = query.pop("headers", {})
    answer = await stage.ask("GET", "events", query_string=query, headers=headers, status=200)
    return answer.json["items"]


async def walked(stage, **query):
    """All pages, and how many there were."""
    items, pages, cursor = [], 0, {}
    while True:
        answer = (await stage.ask("GET", "events", query_string=query | cursor, status=200)).json
        items, pages = items + answer["items"], pages + 1
        if answer["next_cursor"] is None:
            return items, pages
        cursor = {"cursor": answer["next_cursor"]}


async def some_history(stage):
    """Two jobs, a run, a pause; in both partitions."""
    jobs = [await stage.create() for _ in range(6)]
    run = (await stage.ask("POST", f"jobs/{jobs[0]['id']}/trigger", status=201)).json
    await stage.ask("POST", f"jobs/{jobs[0]['id']}/pause", status=200)
    return jobs, run


def kinds(items):
    return [item["type"].removeprefix("io.daybook.") for item in items]


async def test_everything_is_listed_newest_first_and_oldest_first_and_tells_up_to_where(stage):
    jobs, _ = await some_history(stage)
    answer = await stage.ask("GET", "events", query_string={"limit": "200"}, status=200)
    newest_first = answer.json["items"]
    assert answer.json["next_cursor"] is None
    assert len(newest_first) == 2 + len(jobs) + 2
    assert kinds(newest_first)[:2] == ["job.paused", "run.requested"]
    times = [item["time"] for item in newest_first]
    assert times == sorted(times, reverse=True)
    assert await listed(stage, sort="time", limit=200) == newest_first[::-1]
    story = (await stage.ask("GET", f"jobs/{jobs[0]['id']}/events")).json["items"]
    assert await listed(stage, job_id=jobs[0]["id"]) == story
    places = parse_places(answer.headers["Daybook-Position"], partitions=2)
    marks = dict(await stage.deps.ledger.checkpoints())
    assert places == marks


@pytest.mark.parametrize("sort", ["time", "-time"])
async def test_pages_hold_each_event_once_though_more_is_written_meanwhile(stage, sort):
    jobs, _ = await some_history(stage)
    there = await listed(stage, sort=sort, limit=200)
    items, pages = await walked(stage, sort=sort, limit=3)
    assert items == there
    assert pages == -(-len(there) // 3)
    answer = (await stage.ask("GET", "events", query_string={"limit": 3, "sort": sort})).json
    await stage.ask("POST", f"jobs/{jobs[0]['id']}/resume", status=200)
    await stage.create()
    rest = await listed(stage, sort=sort, limit=200, cursor=answer["next_cursor"])
    assert rest[: len(there) - 3] == there[3:]
    assert len(rest) == len(there) - 3 + (2 if sort == "time" else 0)


async def test_filters_choose_and_join(stage):
    jobs, run = await some_history(stage)
    one = jobs[0]["id"]
    assert kinds(await listed(stage, type="io.daybook.job.paused")) == ["job.paused"]
    assert kinds(await listed(stage, type=["JobPaused", "io.daybook.run.requested"])) == [
        "job.paused", "run.requested",
    ]  # fmt: skip
    assert kinds(await listed(stage, type="JobCreated", job_id=one)) == ["job.created"]
    assert kinds(await listed(stage, execution_id=run["id"])) == ["run.requested"]
    assert await listed(stage, execution_id=run["id"], job_id=jobs[1]["id"]) == []
    assert kinds(await listed(stage, actor="system")) == ["log.opened"] * 2
    assert kinds(await listed(stage, actor="anonymous", type="RunRequested")) == ["run.requested"]
    assert await listed(stage, actor="timer") == []
    assert len(await listed(stage, actor="anonymous")) == 8


async def test_times_bound_to_the_millisecond(stage):
    await some_history(stage)
    there = await listed(stage, limit=200, sort="time")
    for bound, holds in (
        ("gte", lambda at, pivot: at >= pivot), ("gt", lambda at, pivot: at > pivot),
        ("lte", lambda at, pivot: at <= pivot), ("lt", lambda at, pivot: at < pivot),
    ):  # fmt: skip
        for pivot in (there[0]["time"], there[len(there) // 2]["time"], there[-1]["time"]):
            found = await listed(stage, limit=200, sort="time", **{f"time[{bound}]": pivot})
            assert found == [item for item in there if holds(item["time"], pivot)], bound
    middle = there[4]["time"]
    between = await listed(stage, limit=200, sort="time", **{"time[gte]": middle, "time[lte]": middle})
    assert between == [item for item in there if item["time"] == middle]
    finer = middle.replace("Z", "4Z")
    assert await listed(stage, limit=200, **{"time[gt]": finer}) == [
        item for item in there[::-1] if item["time"] > middle
    ]
    assert await listed(stage, **{"time[lte]": "9999-12-31T23:59:59.999999Z"})
    assert await listed(stage, **{"time[gt]": "9999-12-31T23:59:59.999999Z"}) == []


async def test_positions_bound_the_partitions_that_they_name(stage):
    await some_history(stage)
    there = await listed(stage, limit=200)
    mine = [item for item in there if item["sequence"].startswith("1:")]
    others = [item for item in there if item not in mine]
    pivot = mine[1]["sequence"]
    found = await listed(stage, limit=200, after=pivot)
    assert [item for item in found if item in mine] == mine[:1]
    assert [item for item in found if item not in mine] == others
    found = await listed(stage, limit=200, before=pivot)
    assert [item for item in found if item in mine] == mine[2:]
    assert [item for item in found if item not in mine] == others
    assert await listed(stage, limit=200, after="0:0-0,1:0-0") == there


async def test_what_means_nothing_is_refused(stage):
    job = await stage.create()
    for query in (
        {"page": 1}, {"per_page": 5}, {"limit": 0}, {"limit": 201}, {"limit": "x"}, {"sort": "id"},
        {"type": "Nothing"}, {"type": ["JobCreated", "x"]}, {"job_id": "x"}, {"job_id": [job["id"]] * 2},
        {"execution_id": "7"}, {"actor": ""}, {"actor": "é"}, {"actor": "x" * 201}, {"actor": "a\0"},
        {"time[gte]": "yesterday"}, {"time[gte]": "10000-01-01T00:00:00Z"}, {"time[lt]": "2026-01-01T00:00:00"},
        {"time[eq]": "2026-01-01T00:00:00Z"}, {"time[gt]": "2026-01-01T00:00:00Z", "time[gte]": "2026-01-01T00:00:00Z"},
        {"cursor": "x"}, {"cursor": "9:1-1"}, {"after": "0:1"}, {"before": ""}, {"run_id": job["id"]},
        {"after": "0:9999999999999-9"}, {"subject": "log"},
    ):  # fmt: skip
        answer = await stage.ask(
            "GET", "events", query_string=query, headers={"Prefer": "wait=0"}, status=422
        )
        assert answer.json["errors"], query
    answer = await stage.ask("GET", "events", query_string={"after": "0:1-1"}, status=409)
    assert answer.json["type"] == "/problems/history-rewound"


async def test_a_principal_is_told_of_its_tenant_only(guarded):
    acme, other = by(await key_of(guarded)), by(await key_of(guarded, tenant="other", owner="eve"))
    viewer = by(await key_of(guarded, "viewer"))
    await guarded.level()
    theirs = (await guarded.ask("POST", "jobs", json=JOB, headers=other, status=201)).json
    ours = (await guarded.ask("POST", "jobs", json=JOB, headers=acme, status=201)).json
    run = (await guarded.ask("POST", f"jobs/{theirs['id']}/trigger", headers=other, status=201)).json
    assert (await guarded.ask("GET", "events")).status == 401
    seen = await listed(guarded, headers=viewer)
    assert [item["subject"] for item in seen] == [f"job/{ours['id']}"]
    seen = await listed(guarded, headers=acme)
    assert kinds(seen) == ["job.created", "api.key.issued", "api.key.issued"]
    assert kinds(await listed(guarded, headers=other)) == ["run.requested", "job.created", "api.key.issued"]
    for query in (
        {"job_id": theirs["id"]}, {"execution_id": run["id"]}, {"actor": "eve"}, {"type": "LogOpened"},
    ):  # fmt: skip
        assert await listed(guarded, headers=acme, **query) == [], query


def test_the_indexes_of_the_migration_are_those_that_the_filters_reach_for(request):
    """An index that a query's condition doesn't imply is never used."""
    root = request.config.rootpath
    migration = (root / "shared/readmodel/migrations/0006_events.sql").read_text()
    listed = migration.split("where type not in (")[1].split(")")[0]
    assert {each.strip(" '\n") for each in listed.split(",")} == set(event_filter._BULK)
    listed = migration.split("where actor not in (")[1].split(")")[0]
    assert {each.strip(" '\n") for each in listed.split(",")} == set(event_filter._ROLES)


async def test_no_filter_reads_the_whole_archive(stage, monkeypatch):
    """Among many events that don't fit, what is asked for is found by an index: few pages are looked at."""
    job = await stage.create()
    run = (await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)).json
    await stage.stop_projector()
    await flood(stage, 30_000, kind="RunStarted", actor="executor")
    await flood(stage, 3_000, kind="JobPaused", actor="ann")
    await stage.pool.execute("vacuum analyze book.events")
    looked_at = []
    fetch = Ledger._fetch

    async def explained(self, text, *arguments):
        if "bounds" in text:
            rows = await fetch(self, f"explain (analyze, buffers, format json) {text}", *arguments)
            plan = json.loads(rows[0][0])[0]["Plan"]
            looked_at.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
        return await fetch(self, text, *arguments)

    monkeypatch.setattr(Ledger, "_fetch", explained)
    pages = await stage.pool.fetchval(
        "select sum(pg_relation_size(inhrelid)) / 8192 from pg_inherits where inhparent = 'book.events'::regclass"
    )
    assert pages > 1_000
    for query in (
        {}, {"type": "LogOpened"}, {"type": ["JobDeleted", "JobResumed"]}, {"actor": "nobody"},
        {"actor": "nobody", "type": "RunStarted"}, {"job_id": job["id"]}, {"execution_id": run["id"]},
        {"time[lt]": "2025-01-01T00:00:00Z"}, {"time[gte]": "2099-01-01T00:00:00Z"},
        {"sort": "time", "type": "JobDeleted"}, {"sort": "time", "actor": "nobody"},
        {"time[lte]": job["created_at"]},
    ):  # fmt: skip
        await listed(stage, **query)
        assert looked_at[-1] < 150, query
    assert len(looked_at) == 12
