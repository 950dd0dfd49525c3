"""POST /jobs/bulk: many changes, each done or refused by itself, over real Redis and Postgres."""

import asyncio
import time

import pytest

from services.api import bulk
from services.api.idempotency import Idempotency
from services.api.problems import unavailable
from services.api.writes import Writes
from shared.eventlog.position import parse_places

from .api_stage import JOB, stage_on
from .test_api_auth import by, key_of

REPLAYED = "Idempotency-Replayed"


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def guarded(valkey, postgres, tmp_path):
    async with stage_on(
        valkey, postgres, tmp_path, auth="on", max_jobs_per_user=3, require_if_match=True
    ) as made:
        yield made


async def bulk_of(stage, *operations, status=200, **kwargs):
    return await stage.ask("POST", "jobs/bulk", json={"operations": operations}, status=status, **kwargs)


def create(**changes):
    return {"op": "create", "job": JOB | changes}


async def names(stage):
    return sorted(
        each["name"] for each in (await stage.ask("GET", "jobs?per_page=200", status=200)).json["items"]
    )


async def test_each_operation_does_what_its_own_route_does(stage):
    a, b, c, d = [(await stage.create(name=name))["id"] for name in "abcd"]
    answer = await bulk_of(
        stage,
        create(name="new"),
        {"op": "update", "id": a, "job": {"priority": 9, "description": None}},
        {"op": "pause", "id": b, "reason": "rest"},
        {"op": "resume", "id": b},
        {"op": "delete", "id": c},
        {"op": "trigger", "id": d, "priority": 2, "job_data": {"parameters": {"n": 7}}},
    )
    items = answer.json["items"]
    assert [each["status"] for each in items] == [201, 200, 200, 200, 204, 201]
    assert [each["index"] for each in items] == list(range(6))
    assert (answer.json["succeeded"], answer.json["failed"]) == (6, 0)
    assert (await stage.ask("GET", f"jobs/{items[0]['job']['id']}", status=200)).json == items[0]["job"]
    updated = (await stage.ask("GET", f"jobs/{a}", status=200)).json
    assert (updated["priority"], updated["revision"], updated) == (9, 2, items[1]["job"])
    assert items[2]["job"]["paused"]["reason"] == "rest"
    assert (items[3]["job"]["status"], items[3]["job"]["paused"]) == ("pending", None)
    assert set(items[4]) == {"index", "op", "status"}
    await stage.ask("GET", f"jobs/{c}", status=404)
    run = (await stage.ask("GET", f"executions/{items[5]['execution']['id']}", status=200)).json
    assert (run["job_id"], run["priority"], run["trigger"]) == (d, 2, "manual")
    assert run["status"] == "queued"


async def test_each_fails_alone_and_points_to_what_is_wrong(stage):
    gone = (await stage.create())["id"]
    await stage.ask("DELETE", f"jobs/{gone}", status=204)
    here = (await stage.create(name="here"))["id"]
    answer = await bulk_of(
        stage,
        create(name="good"),
        create(name=""),
        create(job_data={"operation": "nothing"}),
        {"op": "fly", "id": here},
        {"id": here},
        {"op": "pause", "id": gone},
        {"op": "pause", "id": "nonsense"},
        {"op": "update", "id": here, "job": {"priority": 11, "colour": "red"}},
        {"op": "update", "id": here, "job": {"priority": 2}, "if_revision": 7},
        {"op": "create", "job": JOB | {"cron_expression": "0 0 30 2 *"}},
        {"op": "trigger", "id": here, "until": 1},
        {"op": "trigger", "id": here, "job_data": {"operation": "nothing"}},
    )
    items = answer.json["items"]
    assert [each["status"] for each in items] == [201, 422, 422, 422, 422, 404, 422, 422, 412, 422, 422, 422]
    assert (answer.json["succeeded"], answer.json["failed"]) == (1, 11)
    pointers = [
        [fault["pointer"] for fault in each.get("problem", {"errors": []})["errors"]] for each in items
    ]
    assert pointers[1] == ["#/operations/1/job/name"]
    assert pointers[2][0].startswith("#/operations/2/job/job_data")
    assert pointers[3:5] == [["#/operations/3/op"], ["#/operations/4/op"]]
    assert pointers[6] == ["#/operations/6/id"]
    assert sorted(pointers[7]) == ["#/operations/7/job/colour", "#/operations/7/job/priority"]
    assert items[8]["problem"]["current"] == "1"
    assert pointers[10] == ["#/operations/10/until"]
    assert pointers[11][0].startswith("#/operations/11/job_data")
    assert items[1]["problem"]["title"]
    assert await names(stage) == ["good", "here"]


async def test_what_is_no_list_of_operations_is_refused_whole(stage):
    wrong = (
        {},
        {"operations": []},
        {"operations": {}},
        {"operations": [1]},
        {"operations": [create()], "x": 1},
    )
    for body in wrong:
        answer = await stage.ask("POST", "jobs/bulk", json=body, status=422)
        assert answer.json["errors"][0]["pointer"].startswith("#/")
    assert await names(stage) == []


async def test_a_thousand_share_commits_and_one_wait_and_one_more_is_refused(stage):
    await bulk_of(stage, *[create()] * 1_001, status=422)
    wide = {"operation": "echo", "parameters": {"text": "x" * 1_000}}  # above the 256 KB of other routes
    before = stage.metrics.registry.get_sample_value("daybook_commit_batch_size_count")
    began = time.monotonic()
    answer = await bulk_of(stage, *(create(name=f"job {n}", job_data=wide) for n in range(1_000)))
    took = time.monotonic() - began
    assert (answer.json["succeeded"], answer.json["failed"]) == (1_000, 0)
    commits = stage.metrics.registry.get_sample_value("daybook_commit_batch_size_count") - before
    assert commits < 50
    assert took < 20
    places = parse_places(answer.headers["Daybook-Position"], partitions=stage.partitions)
    assert set(places) == set(range(stage.partitions))
    assert (await stage.ask("GET", "jobs", status=200)).json["total"] == 1_000


async def test_a_body_above_its_limit_is_refused_and_other_routes_keep_theirs(stage):
    big = {"operations": [create(description="x" * 4_200_000)]}
    answer = await stage.ask("POST", "jobs/bulk", json=big, status=413)
    assert "4096 KB" in answer.json["detail"]
    assert "256 KB" in (await stage.ask("POST", "jobs", json={"x": "y" * 300_000}, status=413)).json["detail"]


async def test_under_a_key_all_are_done_once_and_answered_the_same(stage):
    job_id = (await stage.create(name="old"))["id"]
    operations = [
        create(name="new"),
        {"op": "trigger", "id": job_id, "overlap_policy": "allow"},
        {"op": "pause", "id": "x"},
    ]
    headers = {"Idempotency-Key": "k1"}
    first = await bulk_of(stage, *operations, headers=headers)
    again = await bulk_of(stage, *operations, headers=headers)
    assert (again.json, again.headers[REPLAYED]) == (first.json, "true")
    assert again.headers["Daybook-Position"] == first.headers["Daybook-Position"]
    assert (await bulk_of(stage, create(), status=422, headers=headers)).json[
        "type"
    ] == "/problems/key-reused"
    assert await names(stage) == ["new", "old"]


async def test_of_two_under_a_key_at_once_each_operation_is_done_once(stage):
    operations = [create(name=f"job {n}") for n in range(20)]
    headers = {"Idempotency-Key": "k2"}
    one, two = await asyncio.gather(*(bulk_of(stage, *operations, headers=headers) for _ in range(2)))
    assert one.json == two.json
    assert len(await names(stage)) == 20


async def test_what_a_crash_cut_off_is_finished_by_the_next_and_not_done_again(stage, monkeypatch):
    job_id = (await stage.create(name="old"))["id"]
    operations = [
        *(create(name=f"job {n}") for n in range(5)),
        {"op": "trigger", "id": job_id, "overlap_policy": "allow"},
        {"op": "delete", "id": job_id},
    ]
    headers = {"Idempotency-Key": "k3"}
    kept = Idempotency._kept

    async def crash(*_):
        raise RuntimeError

    monkeypatch.setattr(Idempotency, "_kept", crash)
    await bulk_of(stage, *operations, status=500, headers=headers)
    monkeypatch.setattr(Idempotency, "_kept", kept)
    again = await bulk_of(stage, *operations, headers=headers)
    assert [each["status"] for each in again.json["items"]] == [201] * 6 + [204]
    assert len(await names(stage)) == 5
    assert (await stage.ask("GET", "executions", status=200)).json["total"] == 1


async def test_an_answer_that_failed_of_the_server_is_not_kept(stage, monkeypatch):
    decide, fails = Writes.decide, {"left": 2}

    async def sometimes(self, *args, **kwargs):
        if fails["left"]:
            fails["left"] -= 1
            raise unavailable("Redis is away.")
        return await decide(self, *args, **kwargs)

    monkeypatch.setattr(Writes, "decide", sometimes)
    operations = [create(name=f"job {n}") for n in range(4)]
    headers = {"Idempotency-Key": "k4"}
    first = await bulk_of(stage, *operations, headers=headers)
    assert sorted(each["status"] for each in first.json["items"]) == [201, 201, 503, 503]
    again = await bulk_of(stage, *operations, headers=headers)
    assert [each["status"] for each in again.json["items"]] == [201] * 4
    assert len(await names(stage)) == 4


async def test_the_archive_lags_and_the_answer_says_so(stage):
    await stage.stop_projector()
    answer = await bulk_of(stage, create(), status=202, headers={"Prefer": "wait=0"})
    assert answer.json["items"][0]["status"] == 201
    assert answer.headers["Location"] == "/api/v1/jobs"


async def test_operations_on_one_job_are_done_in_their_order(stage):
    job_id = (await stage.create())["id"]
    steps = [{"op": "update", "id": job_id, "job": {"priority": n}} for n in (1, 2, 3, 4)]
    items = (await bulk_of(stage, *steps)).json["items"]
    assert [(each["job"]["priority"], each["job"]["revision"]) for each in items] == [
        (1, 2), (2, 3), (3, 4), (4, 5),
    ]  # fmt: skip


async def test_an_edit_at_the_same_time_does_not_fail_an_update(stage):
    job_id = (await stage.create())["id"]
    answers = await asyncio.gather(
        *(bulk_of(stage, {"op": "update", "id": job_id, "job": {"tags": [str(n)]}}) for n in range(4))
    )
    assert [each.json["items"][0]["status"] for each in answers] == [200] * 4


async def test_what_is_not_begun_in_time_is_told(stage, monkeypatch):
    monkeypatch.setattr(bulk, "BEGIN_S", -1.0)
    items = (await bulk_of(stage, create())).json["items"]
    assert (items[0]["status"], items[0]["problem"]["type"]) == (503, "/problems/unavailable")


async def test_tenants_quotas_and_required_revisions_hold(guarded):
    ann, eve = by(await key_of(guarded, "editor")), by(await key_of(guarded, "editor", "other", "eve"))
    first = await bulk_of(guarded, create(), create(name=""), create(), headers=ann)
    job_id = first.json["items"][0]["job"]["id"]
    assert first.json["items"][0]["job"]["owner"] == "ann"
    foreign = await bulk_of(
        guarded,
        {"op": "pause", "id": job_id},
        {"op": "update", "id": job_id, "job": {"priority": 11}, "if_revision": 9},
        {"op": "trigger", "id": job_id, "job_data": {}},
        headers=eve,
    )
    assert [each["status"] for each in foreign.json["items"]] == [404] * 3
    items = (
        await bulk_of(
            guarded,
            *[create()] * 2,
            {"op": "update", "id": job_id, "job": {"priority": 1}},
            {"op": "delete", "id": job_id},
            {"op": "update", "id": job_id, "job": {"priority": 1}, "if_revision": 1},
            headers=ann,
        )
    ).json["items"]
    assert sorted(each["status"] for each in items[:2]) == [201, 409]
    assert [each["status"] for each in items[2:]] == [428, 428, 200]
    assert items[4]["job"]["priority"] == 1
    viewer = by(await key_of(guarded, "operator"))
    await bulk_of(guarded, {"op": "pause", "id": job_id}, status=403, headers=viewer)


async def test_a_retry_under_a_key_is_not_refused_for_the_places_the_first_has_taken(guarded, monkeypatch):
    ann = by(await key_of(guarded, "editor"))
    kept = Idempotency._kept

    async def crash(*_):
        raise RuntimeError

    monkeypatch.setattr(Idempotency, "_kept", crash)
    headers = ann | {"Idempotency-Key": "k5"}
    await bulk_of(guarded, *[create()] * 3, headers=headers, status=500)
    await guarded.level()
    monkeypatch.setattr(Idempotency, "_kept", kept)
    again = await bulk_of(guarded, *[create()] * 3, headers=headers)
    assert [each["status"] for each in again.json["items"]] == [201] * 3
    listed = (await guarded.ask("GET", "jobs", headers=ann, status=200)).json["items"]
    assert {each["id"] for each in listed} == {each["job"]["id"] for each in again.json["items"]}
