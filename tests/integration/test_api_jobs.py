"""What a client is promised about jobs and executions, on real servers."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain import ids
from shared.domain.commands import FailRun, StartRun, SucceedRun
from shared.domain.events import Failure
from shared.eventlog.envelope import rfc3339
from shared.job_types import BUILT_IN, JobType, Known
from shared.testing import TESTER, wait_until

from .api_stage import JOB, stage_on


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


async def _run_to_end(stage, run_id, command):
    ref = f"run:{run_id}"
    started = await stage.deps.decider.decide(ref, StartRun(worker="w1"), TESTER)
    fence = started.after.fence
    finish = command(fence)
    await stage.deps.decider.decide(ref, finish, TESTER)
    await stage.level()


def _success(fence):
    return SucceedRun(fence=fence, result={"answer": 42})


def _failure(fence):
    return FailRun(fence=fence, error=Failure(class_="OSError", message="no"), names=("OSError",), draw=0.5)


async def test_the_job_of_the_issue_is_made_and_is_there_in_the_very_next_get(stage, tmp_path):
    body = {
        "name": "Weekly tidy",
        "description": "Deletes old temporary files",
        "job_type": "cleanup_task",
        "cron_expression": "0 9 * * 1",
        "job_data": {"cleanup_type": "temp_files", "retention_days": 7, "path": str(tmp_path)},
        "timeout_seconds": 1800,
        "max_retries": 3,
        "priority": 7,
    }
    made = await stage.ask("POST", "jobs", json=body, status=201)
    seen = await stage.ask("GET", f"jobs/{made.json['id']}", status=200)
    assert made.json == seen.json
    assert made.headers["ETag"] == seen.headers["ETag"]
    assert made.headers["Location"] == f"/api/v1/jobs/{made.json['id']}"
    assert made.json["next_run_time"] is not None
    assert {name: made.json[name] for name in body} == body
    assert (made.json["status"], made.json["revision"], made.json["owner"]) == ("pending", 1, "anonymous")


async def test_what_is_left_out_takes_its_default(stage):
    made = await stage.create()
    assert {name: made[name] for name in ("timezone", "timeout_seconds", "max_retries", "priority", "queue")} == {
        "timezone": "UTC", "timeout_seconds": 3600, "max_retries": 3, "priority": 5, "queue": "default",
    }  # fmt: skip
    assert made["retry_backoff"] == {"initial_seconds": 1, "multiplier": 2, "max_seconds": 300, "jitter": 0.1}
    assert (made["next_run_time"], made["last_run"], made["paused"]) == (None, None, None)


async def test_every_field_comes_back_as_it_was_sent(stage):
    run_at = rfc3339(datetime.now(UTC) + timedelta(days=3))  # noqa: TID251 - a time in the real future
    body = JOB | {
        "description": "Łódź € \U0001f600", "tags": ["a", "b"], "run_at": run_at, "timezone": "Europe/Berlin",
        "timeout_seconds": 5, "max_retries": 0, "priority": 10, "queue": "reports",
        "retry_backoff": {"initial_seconds": 0.5, "multiplier": 3.0, "max_seconds": 10.0, "jitter": 0.0},
        "retry_on": ["OSError"], "give_up_on": ["builtins.ValueError"], "misfire_grace_seconds": 10,
        "misfire_policy": "latest", "overlap_policy": "allow",
        "job_data": {"operation": "echo", "parameters": {"deep": [1, 2.5, {"x": None}], "big": 2**60}},
    }  # fmt: skip
    made = await stage.create(**body)
    seen = (await stage.ask("GET", f"jobs/{made['id']}", status=200)).json
    assert {name: seen[name] for name in body} == body
    assert made == seen
    assert seen["next_run_time"] == run_at


async def test_a_put_replaces_all_and_raises_the_revision(stage):
    made = await stage.create(description="old", interval_seconds=60)
    changed = await stage.ask("PUT", f"jobs/{made['id']}", json=JOB | {"name": "new"}, status=200)
    assert (changed.json["name"], changed.json["description"], changed.json["revision"]) == ("new", "", 2)
    assert changed.json["next_run_time"] is None
    assert (await stage.ask("GET", f"jobs/{made['id']}")).json == changed.json


async def test_a_put_that_changes_nothing_writes_nothing(stage):
    made = await stage.ask("POST", "jobs", json=JOB, status=201)
    before = await stage.contents()
    same = await stage.ask("PUT", f"jobs/{made.json['id']}", json=JOB, status=200)
    assert (same.json, same.headers["ETag"]) == (made.json, made.headers["ETag"])
    assert await stage.contents() == before


async def test_pause_and_resume_need_no_body_and_may_be_repeated(stage):
    made = await stage.create(interval_seconds=3600)
    path = f"jobs/{made['id']}"
    paused = (await stage.ask("POST", f"{path}/pause", json={"reason": "holiday"}, status=200)).json
    assert (paused["status"], paused["next_run_time"]) == ("paused", None)
    assert (paused["paused"]["by"], paused["paused"]["reason"]) == ("anonymous", "holiday")
    again = (await stage.ask("POST", f"{path}/pause", status=200)).json
    assert again == paused
    resumed = (await stage.ask("POST", f"{path}/resume", status=200)).json
    assert (resumed["status"], resumed["paused"]) == ("pending", None)
    assert resumed["next_run_time"] == made["next_run_time"]
    assert (await stage.ask("POST", f"{path}/resume", status=200)).json == resumed


async def test_a_deleted_job_is_gone_and_its_story_stays(stage):
    made = await stage.create()
    path = f"jobs/{made['id']}"
    run = (await stage.ask("POST", f"{path}/trigger", status=201)).json
    await stage.ask("DELETE", path, status=204)
    await stage.ask("GET", path, status=404)
    for method, where in (("DELETE", ""), ("PUT", ""), ("POST", "/pause"), ("POST", "/trigger")):
        body = {"json": JOB} if method == "PUT" else {}
        await stage.ask(method, f"{path}{where}", status=404, **body)
    assert (await stage.ask("GET", "jobs")).json["items"] == []
    assert (await stage.ask("GET", f"{path}/executions", status=200)).json["items"][0]["id"] == run["id"]
    types = [each["type"] for each in (await stage.ask("GET", f"{path}/events", status=200)).json["items"]]
    assert types == ["io.daybook.job.deleted", "io.daybook.run.requested", "io.daybook.job.created"]


async def test_new_jobs_come_to_all_partitions(stage):
    met = set()

    async def all_met():
        met.add(ids.partition_of((await stage.create())["id"]))
        return len(met) == stage.partitions

    await wait_until(all_met, "jobs stand in all partitions")


async def test_a_trigger_makes_an_execution_that_can_be_looked_at(stage):
    job = await stage.create(job_data={"operation": "echo", "parameters": {"n": 1}})
    path = f"jobs/{job['id']}/trigger"
    body = {"job_data": {"parameters": {"n": 2}}, "priority": 9}
    made = await stage.ask("POST", path, json=body, headers={"X-Request-ID": "me-1"}, status=201)
    assert made.headers["Location"] == f"/api/v1/executions/{made.json['id']}"
    assert (made.json["status"], made.json["trigger"], made.json["priority"]) == ("queued", "manual", 9)
    assert made.json["correlation_id"] == "me-1"
    assert (await stage.ask("GET", f"executions/{made.json['id']}", status=200)).json == made.json
    events = (await stage.ask("GET", f"jobs/{job['id']}/events")).json["items"]
    assert events[0]["data"]["spec"]["job_data"] == {"operation": "echo", "parameters": {"n": 2}}
    assert events[0]["correlationid"] == "me-1"


async def test_a_second_trigger_is_refused_while_the_first_runs_unless_it_may_overlap(stage):
    job = await stage.create()
    path = f"jobs/{job['id']}/trigger"
    await stage.ask("POST", path, status=201)
    refused = await stage.ask("POST", path, status=409)
    assert (refused.json["type"], refused.json["current"]) == ("/problems/illegal-transition", "running")
    await stage.ask("POST", path, json={"overlap_policy": "allow"}, status=201)


@pytest.mark.parametrize("overlap", ["skip", "allow"])
async def test_a_job_shows_its_active_run_and_then_how_it_ended(stage, overlap):
    job = await stage.create(overlap_policy=overlap)
    run = (await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)).json
    assert (await stage.ask("GET", f"jobs/{job['id']}")).json["status"] == "running"
    await _run_to_end(stage, run["id"], _success)
    seen = (await stage.ask("GET", f"jobs/{job['id']}")).json
    assert seen["status"] == "pending"
    assert (seen["last_run"]["id"], seen["last_run"]["status"]) == (run["id"], "succeeded")
    ended = (await stage.ask("GET", f"executions/{run['id']}")).json
    assert (ended["status"], ended["result"], ended["worker"]) == ("succeeded", {"answer": 42}, "w1")
    assert (ended["attempts"][0]["outcome"], ended["attempt"], ended["max_attempts"]) == ("succeeded", 1, 4)
    assert ended["duration_seconds"] >= 0


async def test_an_execution_that_failed_says_of_what(stage):
    job = await stage.create(max_retries=0)
    run = (await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)).json
    await _run_to_end(stage, run["id"], _failure)
    ended = (await stage.ask("GET", f"executions/{run['id']}")).json
    assert (ended["status"], ended["error"]) == ("failed", {"class": "OSError", "message": "no"})
    listed = (await stage.ask("GET", f"executions?status=failed&job_id={job['id']}")).json
    assert [each["id"] for each in listed["items"]] == [run["id"]]


async def test_lists_are_newest_first_filtered_and_counted(stage):
    made = [await stage.create(name=f"job {n}", interval_seconds=3600) for n in range(5)]
    await stage.ask("POST", f"jobs/{made[0]['id']}/pause", status=200)
    first = (await stage.ask("GET", "jobs?per_page=2", status=200)).json
    newest_first = sorted((job["id"] for job in made), reverse=True)
    assert [job["id"] for job in first["items"]] == newest_first[:2]
    assert {name: first[name] for name in ("page", "per_page", "total", "total_is_capped")} == {
        "page": 1, "per_page": 2, "total": 5, "total_is_capped": False,
    }  # fmt: skip
    last = (await stage.ask("GET", "jobs?per_page=2&page=3")).json
    assert [job["id"] for job in last["items"]] == newest_first[4:]
    paused = (await stage.ask("GET", "jobs?status=paused&job_type=custom")).json
    assert [job["id"] for job in paused["items"]] == [made[0]["id"]]
    assert (await stage.ask("GET", "jobs?job_type=cleanup_task")).json["total"] == 0


async def test_an_edit_while_a_run_is_active_shows_both(stage):
    job = await stage.create(overlap_policy="allow")
    await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)
    changed = (await stage.ask("PUT", f"jobs/{job['id']}", json=JOB | {"name": "new"}, status=200)).json
    assert (changed["status"], changed["name"]) == ("running", "new")


async def test_events_carry_the_correlation_id_of_their_request(stage):
    made = await stage.ask("POST", "jobs", json=JOB, headers={"X-Request-ID": "r-7"}, status=201)
    assert made.headers["X-Request-ID"] == "r-7"
    event = (await stage.ask("GET", f"jobs/{made.json['id']}/events")).json["items"][0]
    assert (event["correlationid"], event["actor"], event["type"]) == (
        "r-7",
        "anonymous",
        "io.daybook.job.created",
    )
    assert event["sequence"] == made.headers["Daybook-Position"]


async def test_job_types_are_listed_with_the_schema_of_their_data(stage):
    items = (await stage.ask("GET", "job-types", status=200)).json["items"]
    assert {"cleanup_task", "custom"} <= {each["name"] for each in items}
    assert all(each["schema"] for each in items)
    document = (await stage.ask("GET", "/openapi.json")).json["components"]["schemas"]
    assert all(set(each) == set(document["JobTypeView"]["properties"]) for each in items)
    [cleanup] = [each for each in items if each["name"] == "cleanup_task"]
    assert set(cleanup["result"]["$defs"]["Cleaned"]["properties"]) == {"files", "bytes", "errors", "dry_run"}
    assert (cleanup["extra"], cleanup["available"], cleanup["why_not"]) == (None, True, None)


async def test_a_type_whose_packages_are_missing_is_listed_and_its_jobs_are_refused(stage):
    needy = JobType(name="needy", description="x", model=None, extra="data", needs=("no_such_module",))
    object.__setattr__(stage.deps, "known", Known(types=BUILT_IN | {"needy": needy}))
    items = (await stage.ask("GET", "job-types", status=200)).json["items"]
    [listed] = [each for each in items if each["name"] == "needy"]
    assert (listed["extra"], listed["available"]) == ("data", False)
    assert listed["why_not"] == "needs `pip install daybook[data]` (no_such_module not installed here)"
    refused = await stage.ask("POST", "jobs", json={"name": "n", "job_type": "needy"}, status=422)
    assert refused.json["errors"] == [{"pointer": "#/job_type", "detail": f"needy {listed['why_not']}"}]


@pytest.mark.parametrize(
    ("parameters", "pointer"),
    [
        ({"a": {"$secret": "../etc"}}, "#/job_data/parameters/a"),
        ({"a": [{"$secret": "A", "or": 1}]}, "#/job_data/parameters/a/0"),
    ],
)
async def test_a_reference_to_no_secret_is_refused_where_it_stands(stage, parameters, pointer):
    data = {"operation": "echo", "parameters": parameters}
    body = {"name": "n", "job_type": "custom", "job_data": data}
    refused = await stage.ask("POST", "jobs", json=body, status=422)
    assert [each["pointer"] for each in refused.json["errors"]] == [pointer]


async def test_a_reference_is_shown_as_it_was_given_and_a_triggers_own_is_checked_too(stage):
    parameters = {"a": {"$secret": "KEY"}}
    made = await stage.create(job_data={"operation": "echo", "parameters": parameters})
    assert made["job_data"]["parameters"] == parameters
    over = {"job_data": {"parameters": {"a": {"$secret": "/"}}}}
    refused = await stage.ask("POST", f"jobs/{made['id']}/trigger", json=over, status=422)
    assert refused.json["errors"][0]["pointer"] == "#/job_data/parameters/a"


async def test_created_jobs_and_requests_are_counted(stage):
    await stage.create()
    text = (await stage.ask("GET", "/metrics", status=200)).text
    assert "daybook_jobs_created_total 1.0" in text
    assert 'daybook_http_requests_total{method="POST",route="/api/v1/jobs",status="201"} 1.0' in text
