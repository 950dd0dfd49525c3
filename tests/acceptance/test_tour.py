"""What a user is promised, on the whole system as it runs: over HTTP, with real processes and signals."""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.testing import wait_until

from . import book
from .refusals import ECHO, NOBODY, REQUESTS
from .system import System

LEASE_S = 2
DRAIN_S = 1
RESTART_S = 30
PROBLEM_KEYS = {"type", "title", "status", "detail", "instance", "correlation_id", "errors"}
pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tour")
    (directory / "files").mkdir()
    environment = {
        "DAYBOOK_LEASE_SECONDS": str(LEASE_S),
        "DAYBOOK_DRAIN_SECONDS": str(DRAIN_S),
        "DAYBOOK_FILES_ROOTS": str(directory / "files"),
    }
    made = System(directory, replicas={"executor": 2}, environment=environment)
    try:
        yield made.start()
        made.stop()
    finally:
        made.destroy()


@pytest.fixture
async def http(system):
    async with system.client() as client:
        yield client


async def _create(http, **changes):
    response = await http.post("/api/v1/jobs", json=ECHO | changes)
    assert response.status_code == 201, response.text
    return response.json()


async def _trigger(http, job_id, **kwargs):
    response = await http.post(f"/api/v1/jobs/{job_id}/trigger", **kwargs)
    assert response.status_code == 201, response.text
    return response.json()


async def _get(http, path):
    response = await http.get(f"/api/v1/{path}")
    assert response.status_code == 200, response.text
    return response.json()


async def _when(http, run_id, condition, what, timeout_s=20):
    """The execution, once `condition` holds of it."""

    async def look():
        run = await _get(http, f"executions/{run_id}")
        return run if condition(run) else None

    return await wait_until(look, f"run {run_id} {what}", timeout_s=timeout_s, every_s=0.05)


async def _ended(http, run_id, status):
    run = await _when(http, run_id, lambda run: run["finished_at"], "ended")
    assert run["status"] == status, run
    return run


async def _events(http, job_id, run_id=None):
    """A job's events, oldest first; only those about a run, if one is given."""
    found = (await _get(http, f"jobs/{job_id}/events?per_page=200"))["items"][::-1]
    return [event for event in found if run_id is None or event["subject"] == f"run/{run_id}"]


def _types(events):
    return [event["type"].removeprefix("io.daybook.") for event in events]


# A job goes in, fires, runs, and its story can be read.


async def test_a_job_is_there_in_the_very_next_request(system, http):
    body = {
        "name": "Weekly tidy",
        "description": "…",
        "job_type": "cleanup_task",
        "cron_expression": "0 9 * * 1",
        "job_data": {
            "cleanup_type": "temp_files",
            "retention_days": 7,
            "path": str(system.directory / "files"),
        },
        "timeout_seconds": 1800,
        "max_retries": 3,
        "priority": 7,
    }
    created = await http.post("/api/v1/jobs", json=body)
    assert created.status_code == 201, created.text
    job = created.json()
    found = await http.get(created.headers["Location"])
    assert found.status_code == 200
    assert found.json() == job
    assert found.headers["ETag"] == created.headers["ETag"]
    assert {name: job[name] for name in body if name != "job_data"} == {
        k: v for k, v in body.items() if k != "job_data"
    }
    assert body["job_data"].items() <= job["job_data"].items()
    assert datetime.fromisoformat(job["next_run_time"]) == _next_monday_at_nine()
    assert job["id"] in [each["id"] for each in (await _get(http, "jobs"))["items"]]


def _next_monday_at_nine():
    now = datetime.now(UTC)  # noqa: TID251 - what a person would read off the calendar
    monday = (now + timedelta(days=(0 - now.weekday()) % 7)).replace(
        hour=9, minute=0, second=0, microsecond=0
    )
    return monday if monday > now else monday + timedelta(days=7)


async def test_a_cleanup_really_deletes_what_is_old_and_nothing_else(system, http):
    files = system.directory / "files"
    old, new = files / "old", files / "new"
    old.write_text("12345")
    new.write_text("1")
    os.utime(old, (time.time() - 8 * 86_400,) * 2)
    data = {"cleanup_type": "temp_files", "retention_days": 7, "path": str(files)}
    job = await _create(http, job_type="cleanup_task", job_data=data)
    run = await _trigger(http, job["id"])
    ended = await _ended(http, run["id"], "succeeded")
    assert not old.exists()
    assert new.exists()
    assert 5 in ended["result"].values(), ended["result"]


async def test_a_job_every_two_seconds_shows_its_executions_and_its_events(http):
    job = await _create(http, interval_seconds=2)

    async def executions():
        found = (await _get(http, f"jobs/{job['id']}/executions"))["items"]
        return found if sum(run["status"] == "succeeded" for run in found) >= 2 else None

    runs = await wait_until(executions, "two executions have succeeded", timeout_s=15, every_s=0.1)
    first, second = sorted(runs, key=lambda run: run["scheduled_for"])[:2]
    born = datetime.fromisoformat(job["created_at"])
    assert [datetime.fromisoformat(run["scheduled_for"]) - born for run in (first, second)] == [
        timedelta(seconds=2),
        timedelta(seconds=4),
    ]
    assert [run["trigger"] for run in (first, second)] == ["schedule", "schedule"]
    assert 0 <= first["lateness_seconds"] < 2
    assert _types(await _events(http, job["id"]))[:4] == [
        "job.created",
        "run.requested",
        "run.started",
        "run.succeeded",
    ]
    assert (await http.delete(f"/api/v1/jobs/{job['id']}")).status_code == 204


async def test_a_runs_story_is_told_under_the_id_of_the_request_that_triggered_it(http):
    job = await _create(http)
    run = await _trigger(http, job["id"], headers={"X-Request-ID": "tour-correlation-7"})
    ended = await _ended(http, run["id"], "succeeded")
    assert ended["correlation_id"] == "tour-correlation-7"
    story = await _events(http, job["id"], run["id"])
    assert _types(story) == ["run.requested", "run.started", "run.succeeded"]
    assert [event["correlationid"] for event in story] == ["tour-correlation-7"] * 3
    assert story[2]["causationid"] == story[1]["id"]
    assert [event["actor"] for event in story] == ["anonymous", "executor", "executor"]


async def test_services_log_under_the_id_of_the_request(system, http):
    job = await _create(http)
    run = await _trigger(http, job["id"], headers={"X-Request-ID": "tour-logs-8"})
    await _ended(http, run["id"], "succeeded")

    def services():
        each = {
            s.role
            for s in system.services.values()
            for line in s.lines
            if line.get("correlation_id") == "tour-logs-8"
        }
        return each if len(each) > 1 else None

    assert await wait_until(services, "two services have logged it") == {"api", "executor"}


# What is refused changes nothing.


async def test_a_refused_request_is_a_problem_and_changes_nothing(system, http):
    job = await _create(http, interval_seconds=86_400)
    gone = await _create(http)
    assert (await http.delete(f"/api/v1/jobs/{gone['id']}")).status_code == 204
    busy = await _create(http, queue="served-by-nobody")
    await _trigger(http, busy["id"])
    before = await _contents(system)
    expiring = before.pop("expiring")
    names = {"id": job["id"], "gone": gone["id"], "busy": busy["id"], "nobody": NOBODY}
    tidy = {"cleanup_type": "temp_files", "retention_days": 1, "path": str(system.directory / "files")}
    another = ECHO | {"job_type": "cleanup_task", "job_data": tidy}
    requests = REQUESTS | {"another type": ("PUT", "/api/v1/jobs/{id}", {"json": another}, 409)}
    for what, (method, path, sent, status) in requests.items():
        response = await http.request(method, path.format(**names), **sent)
        assert response.status_code == status, f"{what}: {response.status_code} {response.text}"
        assert response.headers["Content-Type"] == "application/problem+json", what
        told = response.json()
        assert told.keys() >= PROBLEM_KEYS, what
        assert told["status"] == status, what
        assert told["correlation_id"] == response.headers["X-Request-ID"], what
        now = await _contents(system)
        assert now.pop("expiring") <= expiring, what
        assert now == before, what


async def _contents(system):
    """What stands in Redis and Postgres, once they are level."""
    written = await book.tails(system)
    await wait_until(lambda: book.has_archived(system, written), "the archive is level")
    return await book.contents(system)


# Executors come and go, and fail.


async def test_a_run_starts_again_elsewhere_when_its_executor_is_killed(system, http):
    job = await _create(http, job_data={"operation": "sleep", "parameters": {"seconds": 2}})
    run = await _trigger(http, job["id"])
    victim = await _worker_of(system, http, run["id"])
    victim.kill()
    ended = await _ended(http, run["id"], "succeeded")
    victim.spawn()
    first, second = ended["attempts"]
    assert (first["outcome"], second["outcome"]) == ("lost", "succeeded")
    assert first["worker"] != second["worker"] == ended["worker"]
    lost_s = datetime.fromisoformat(first["finished_at"]) - datetime.fromisoformat(first["started_at"])
    assert lost_s <= timedelta(seconds=2 * LEASE_S + 1)
    assert _types(await _events(http, job["id"], run["id"])) == [
        "run.requested", "run.started", "run.lost", "run.queued", "run.started", "run.succeeded",
    ]  # fmt: skip
    await wait_until(victim.is_up, f"{victim.name} is up", timeout_s=RESTART_S)


async def _worker_of(system, http, run_id):
    """The executor in which a run is running."""
    run = await _when(http, run_id, lambda run: run["status"] == "running", "is running")
    pid = int(run["worker"].rsplit("-", 2)[1])
    return next(service for service in system.of("executor") if service.pid == pid)


async def test_a_run_that_keeps_failing_ends_failed_with_each_attempt_listed(http):
    told = {"message": "no luck", "error_class": "ValueError"}
    backoff = {"initial_seconds": 0.1, "multiplier": 2, "max_seconds": 1, "jitter": 0}
    data = {"operation": "fail", "parameters": told}
    job = await _create(http, job_data=data, max_retries=2, retry_backoff=backoff)
    run = await _trigger(http, job["id"])
    ended = await _ended(http, run["id"], "failed")
    error = {"class": "ValueError", "message": "no luck"}
    assert ended["error"] == error
    assert [(a["attempt"], a["outcome"], a["error"]) for a in ended["attempts"]] == [
        (n, "failed", error) for n in (1, 2, 3)
    ]
    story = await _events(http, job["id"], run["id"])
    again = ["run.started", "run.retry.planned", "run.queued"]
    assert _types(story) == ["run.requested", *again, *again, "run.started", "run.failed"]
    assert [event["data"]["delay_seconds"] for event in story if event["type"].endswith("planned")] == [
        0.1,
        0.2,
    ]


async def test_a_run_that_fails_once_succeeds_the_second_time(http):
    data = {"operation": "fail", "parameters": {"times": 1}}
    job = await _create(
        http, job_data=data, max_retries=1, retry_backoff={"initial_seconds": 0.1, "jitter": 0}
    )
    run = await _trigger(http, job["id"])
    ended = await _ended(http, run["id"], "succeeded")
    assert [attempt["outcome"] for attempt in ended["attempts"]] == ["failed", "succeeded"]
    assert ended["error"] is None


async def test_an_executor_that_is_told_to_stop_hands_back_what_it_cannot_finish(system, http):
    job = await _create(http, job_data={"operation": "sleep", "parameters": {"seconds": DRAIN_S + 3}})
    run = await _trigger(http, job["id"])
    stopped = await _worker_of(system, http, run["id"])
    assert await asyncio.to_thread(stopped.terminate) == 0, stopped.tail()
    stopped.spawn()
    ended = await _ended(http, run["id"], "succeeded")
    assert [attempt["outcome"] for attempt in ended["attempts"]] == ["interrupted", "succeeded"]
    assert _types(await _events(http, job["id"], run["id"])) == [
        "run.requested", "run.started", "run.interrupted", "run.queued", "run.started", "run.succeeded",
    ]  # fmt: skip
    await wait_until(stopped.is_up, f"{stopped.name} is up", timeout_s=RESTART_S)


# What the system tells about itself.

MOVES = {
    "api": ("daybook_http_requests", "daybook_jobs_created", "daybook_events_committed"),
    "timer": ("daybook_occurrences_decided", "daybook_timer_last_tick_timestamp_seconds"),
    "executor": ("daybook_runs_finished", "daybook_attempts", "daybook_events_committed"),
    "projector": ("daybook_archive_position",),
}


async def test_the_metrics_of_all_services_parse_and_move(system, http):
    before = await _metrics(system, http)
    job = await _create(http, interval_seconds=1)

    async def moved():
        now = await _metrics(system, http)
        still = [
            (role, name)
            for role, names in MOVES.items()
            for name in names
            if now[role][name] <= before[role][name]
        ]
        return not still and now

    now = await wait_until(moved, "every metric has moved", timeout_s=15, every_s=0.2)
    assert (await http.delete(f"/api/v1/jobs/{job['id']}")).status_code == 204
    assert (
        sum(now[role]["daybook_partitions_owned"] for role in ("timer", "projector")) == 2 * system.partitions
    )


async def _metrics(system, http):
    """Role → metric's name → the sum of its samples over labels and replicas (`_bucket`s left out)."""
    sums = {}
    for service in system.services.values():
        response = await http.get(f"{service.ops_url or system.url}/metrics")
        assert response.status_code == 200, service.name
        told = sums.setdefault(service.role, {})
        for family in text_string_to_metric_families(response.text):
            total = sum(
                sample.value for sample in family.samples if not sample.name.endswith(("_bucket", "_info"))
            )
            told[family.name] = told.get(family.name, 0) + total
    return sums


async def test_every_service_says_that_it_lives_and_is_ready(system, http):
    for service in system.services.values():
        for page in ("livez", "readyz"):
            response = await http.get(f"{service.ops_url or system.url}/{page}")
            assert (response.status_code, response.json()["service"]) == (200, service.role)


async def test_health_names_the_scheduler_when_no_timer_is_left(system, http):
    (timer,) = system.of("timer")
    assert await asyncio.to_thread(timer.terminate) == 0, timer.tail()
    sick = await wait_until(lambda: _health(http, 503), "/health says so", timeout_s=10, every_s=0.1)
    timer.spawn()
    assert sick["status"] == "unhealthy"
    assert sick["checks"].pop("scheduler") != "ok"
    assert sick["checks"] == {"database": "ok", "redis": "ok"}
    well = await wait_until(
        lambda: _health(http, 200), "/health is well again", timeout_s=RESTART_S, every_s=0.1
    )
    assert well["status"] == "healthy"


async def _health(http, status):
    response = await http.get("/health")
    return response.json() if response.status_code == status else None


async def test_writes_go_on_while_postgres_is_away_and_are_archived_when_it_is_back(system, http):
    before = await _create(http)
    system.postgres.stop()
    try:
        accepted = await http.post(
            "/api/v1/jobs", json=ECHO | {"interval_seconds": 1, "overlap_policy": "allow"}
        )
        assert accepted.status_code == 202, accepted.text
        assert accepted.json()["next_run_time"]
        triggered = await http.post(
            f"/api/v1/jobs/{before['id']}/trigger", headers={"Prefer": "respond-async"}
        )
        assert triggered.status_code == 202, triggered.text
        for path in ("jobs", f"jobs/{before['id']}", "executions", f"jobs/{before['id']}/events"):
            refused = await http.get(f"/api/v1/{path}")
            assert refused.status_code == 503, refused.text
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.headers["Content-Type"] == "application/problem+json"
        sick = await wait_until(lambda: _health(http, 503), "/health says so", every_s=0.1)
        assert sick["checks"].pop("database") != "ok"
        assert sick["checks"] == {"redis": "ok", "scheduler": "ok"}
        job_id = accepted.json()["id"]
        await wait_until(
            lambda: _has_run(system, job_id, 3), "it has run three times meanwhile", timeout_s=15
        )
    finally:
        system.postgres.start()
    run_id = triggered.json()["id"]
    place = accepted.headers["Daybook-Position"]

    async def is_back():
        response = await http.get(f"/api/v1/jobs/{job_id}", params={"min_position": place})
        return response.status_code == 200

    await wait_until(is_back, "the job made meanwhile can be read", timeout_s=30, every_s=0.2)
    written = await book.tails(system)
    await wait_until(lambda: book.has_archived(system, written), "all partitions are archived", timeout_s=30)
    await _ended(http, run_id, "succeeded")
    assert (await http.delete(f"/api/v1/jobs/{job_id}")).status_code == 204
    runs = await wait_until(
        lambda: _all_ended(http, job_id), "its runs have ended", timeout_s=30, every_s=0.2
    )
    born = datetime.fromisoformat(accepted.json()["created_at"])
    missed = [datetime.fromisoformat(run["scheduled_for"]) - born for run in reversed(runs)]
    assert missed == [timedelta(seconds=n + 1) for n in range(len(runs))], "an occurrence was lost meanwhile"
    assert len(runs) >= 3


async def _all_ended(http, job_id):
    runs = (await _get(http, f"jobs/{job_id}/executions?per_page=200"))["items"]
    return runs if all(run["finished_at"] for run in runs) else None


async def _has_run(system, job_id, times):
    return await book.logged(system, job_id, "RunSucceeded") >= times
