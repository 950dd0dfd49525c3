"""A refused request says why, as a problem with a pointer, and leaves everything as it was."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from .api_stage import JOB, stage_on

CLEANUP = {"name": "tidy", "job_type": "cleanup_task"}
NOBODY = "01a20a7f-3775-8000-b406-3d54fdf57110"  # a good id that nobody has
JSON = {"Content-Type": "application/json"}
DEEP = "[" * 101 + "]" * 101
CLEAN = {"cleanup_type": "temp_files", "retention_days": 1}


def _job(**changes):
    return {"json": {name: value for name, value in (JOB | changes).items() if value is not ...}}


def _asks(url="https://example.com/", **data):
    return {"json": {"name": "asks", "job_type": "http_request", "job_data": {"url": url} | data}}


def _raw(text, **headers):
    return {"data": text if isinstance(text, bytes) else text.encode(), "headers": JSON | headers}


def _with_data(text):
    return _raw(f'{{"name":"x","job_type":"custom","job_data":{{"operation":"echo","parameters":{text}}}}}')


AT = {"scheduled_for": "2090-01-01T00:00:00.001Z"}
PAST = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()  # noqa: TID251 - past the grace of a minute

# What is sent to POST /jobs, the status, the slug, the pointer (None: the problem points at nothing).
BODIES = {
    "no body": ({}, 415, "unsupported-media-type", None),
    "empty body": (_raw(""), 400, "malformed-json", None),
    "no json": (_raw("{name: x}"), 400, "malformed-json", None),
    "cut off": (_raw('{"name":'), 400, "malformed-json", None),
    "not utf-8": (_raw(b'{"name":"\xff"}'), 400, "malformed-json", None),
    "nan": (_with_data('{"n":NaN}'), 400, "malformed-json", None),
    "infinity": (_with_data('{"n":-Infinity}'), 400, "malformed-json", None),
    "lone surrogate": (_with_data('{"n":"\\ud800"}'), 400, "malformed-json", None),
    "twice the same key": (_raw('{"name":"a","name":"b","job_type":"custom"}'), 400, "malformed-json", None),
    "10,000 levels": (_with_data("[" * 10_000 + "]" * 10_000), 400, "malformed-json", None),
    "101 levels": (_with_data(f'{{"n":{DEEP}}}'), 422, "invalid", "#/job_data/parameters/n" + "/0" * 98),
    "nul": (_with_data('{"n":"\\u0000"}'), 422, "invalid", "#/job_data/parameters/n"),
    "nul in a key": (_with_data('{"a\\u0000":1}'), 422, "invalid", "#/job_data/parameters"),
    "beyond a double": (_with_data('{"n":1e400}'), 422, "invalid", "#/job_data/parameters/n"),
    "a list": (_raw("[]"), 422, "invalid", "#"),
    "form": ({"form": {"name": "x"}}, 415, "unsupported-media-type", None),
    "another charset": (
        {"data": b"{}", "headers": {"Content-Type": "application/json; charset=latin-1"}},
        415, "unsupported-media-type", None,
    ),
    "gzip": (_raw("{}", **{"Content-Encoding": "gzip"}), 415, "unsupported-media-type", None),
    "too large": (_raw(json.dumps(JOB | {"description": "x" * 300_000})), 413, "too-large", None),
    "no name": (_job(name=...), 422, "invalid", "#/name"),
    "no type": (_job(job_type=...), 422, "invalid", "#/job_type"),
    "empty name": (_job(name=""), 422, "invalid", "#/name"),
    "long name": (_job(name="x" * 201), 422, "invalid", "#/name"),
    "name of another type": (_job(name=5), 422, "invalid", "#/name"),
    "long description": (_job(description="x" * 2_001), 422, "invalid", "#/description"),
    "many tags": (_job(tags=["t"] * 21), 422, "invalid", "#/tags"),
    "long tag": (_job(tags=["ok", "t" * 51]), 422, "invalid", "#/tags/1"),
    "unknown field": (_job(**{"na/me": 1}), 422, "invalid", "#/na~1me"),
    "read only field": (_job(status="paused"), 422, "invalid", "#/status"),
    "unknown type": (_job(job_type="nothing"), 422, "invalid", "#/job_type"),
    "unknown operation": (_job(job_data={"operation": "dance"}), 422, "invalid", "#/job_data/operation"),
    "data of another type": (_job(job_data=[]), 422, "invalid", "#/job_data"),
    "large data": (
        _job(job_data={"operation": "echo", "parameters": {"x": "y" * 65_536}}), 422, "invalid", "#/job_data",
    ),
    "path outside the roots": (
        {"json": CLEANUP | {"job_data": CLEAN | {"path": "/etc"}}}, 422, "invalid", "#/job_data/path",
    ),
    "private address": (_asks("http://169.254.169.254/latest/"), 422, "invalid", "#/job_data/url"),
    "private address in disguise": (_asks("http://[::ffff:127.0.0.1]/"), 422, "invalid", "#/job_data/url"),
    "this machine": (_asks("http://localhost.:6379/"), 422, "invalid", "#/job_data/url"),
    "a header that breaks": (
        _asks(headers={"X-A": "b\r\nX-C: d"}), 422, "invalid", "#/job_data/headers/X-A",
    ),
    "a secret that stands there": (_asks(auth={"bearer": "abc"}), 422, "invalid", "#/job_data/auth/bearer"),
    "bad cron": (_job(cron_expression="61 * * * *"), 422, "invalid", "#/cron_expression"),
    "seven fields": (_job(cron_expression="0 0 0 1 1 * 2030"), 422, "invalid", "#/cron_expression"),
    "never": (_job(cron_expression="0 0 30 2 *"), 422, "invalid", "#/cron_expression"),
    "no cron in a list": (_job(cron_expression=[]), 422, "invalid", "#/cron_expression"),
    "a number in a cron list": (_job(cron_expression=["0 0 * * *", 5]), 422, "invalid", "#/cron_expression"),
    "21 crons": (_job(cron_expression=["0 0 * * *"] * 21), 422, "invalid", "#/cron_expression"),
    "bad cron in a list": (_job(cron_expression=["0 0 * * *", "H(9) * * * *"]), 422, "invalid", "#/cron_expression"),
    "two kinds": (_job(cron_expression="0 0 * * *", interval_seconds=5), 422, "invalid", "#/interval_seconds"),
    "zero interval": (_job(interval_seconds=0), 422, "invalid", "#/interval_seconds"),
    "long interval": (_job(interval_seconds=31_536_001), 422, "invalid", "#/interval_seconds"),
    "fraction": (_job(interval_seconds=1.5), 422, "invalid", "#/interval_seconds"),
    "a bool is no number": (_job(interval_seconds=True), 422, "invalid", "#/interval_seconds"),
    "unknown zone": (_job(timezone="Mars/Base"), 422, "invalid", "#/timezone"),
    "no offset": (_job(run_at="2030-01-01T00:00:00"), 422, "invalid", "#/run_at"),
    "leap second": (_job(run_at="2030-12-31T23:59:60Z"), 422, "invalid", "#/run_at"),
    "year 10000": (_job(run_at="10000-01-01T00:00:00Z"), 422, "invalid", "#/run_at"),
    "year 9999": (_job(run_at="9999-12-31T23:59:59-23:00"), 422, "invalid", "#/run_at"),
    "unix time": (_job(run_at=1_900_000_000), 422, "invalid", "#/run_at"),
    "long past": (_job(run_at=PAST), 422, "never-fires", None),
    "no timeout": (_job(timeout_seconds=0), 422, "invalid", "#/timeout_seconds"),
    "long timeout": (_job(timeout_seconds=86_401), 422, "invalid", "#/timeout_seconds"),
    "many retries": (_job(max_retries=101), 422, "invalid", "#/max_retries"),
    "shrinking back-off": (_job(retry_backoff={"multiplier": 0.5}), 422, "invalid", "#/retry_backoff/multiplier"),
    "unknown back-off": (_job(retry_backoff={"base": 2}), 422, "invalid", "#/retry_backoff/base"),
    "priority": (_job(priority=11), 422, "invalid", "#/priority"),
    "queue": (_job(queue="a b"), 422, "invalid", "#/queue"),
    "unknown misfire": (_job(misfire_policy="never"), 422, "invalid", "#/misfire_policy"),
    "unknown overlap": (_job(overlap_policy="queue"), 422, "invalid", "#/overlap_policy"),
    "jitter of none": (_job(jitter_seconds=3), 422, "invalid", "#/jitter_seconds"),
    "long jitter": (_job(interval_seconds=5, jitter_seconds=86_401), 422, "invalid", "#/jitter_seconds"),
    "jitter backwards": (_job(interval_seconds=5, jitter_seconds=-1), 422, "invalid", "#/jitter_seconds"),
    "no date": (_job(interval_seconds=5, exclude=["2026-02-30"]), 422, "invalid", "#/exclude/0"),
    "a time of day": (_job(interval_seconds=5, exclude=["2026-12-24T00:00:00Z"]), 422, "invalid", "#/exclude/0"),
    "half a range": (
        _job(interval_seconds=5, exclude=["2026-12-24", {"from": "2026-12-26"}]), 422, "invalid", "#/exclude/1/to",
    ),
    "a range that ends before it begins": (
        _job(interval_seconds=5, exclude=[{"from": "2026-12-26", "to": "2026-12-25"}]), 422, "invalid", "#/exclude",
    ),
    "many dates": (_job(interval_seconds=5, exclude=["2026-12-24"] * 101), 422, "invalid", "#/exclude"),
    "exclude of none": (_job(exclude=["2026-12-24"]), 422, "invalid", "#/exclude"),
    "run_at on an excluded date": (
        _job(run_at="2090-01-02T23:30:00Z", timezone="Europe/Paris", exclude=["2090-01-03"]), 422, "invalid",
        "#/run_at",
    ),
    "all between start and end excluded": (
        _job(
            interval_seconds=5, start_at="2090-01-01T00:00:00Z", end_at="2090-01-02T23:59:59Z",
            exclude=[{"from": "2090-01-01", "to": "2090-01-02"}],
        ), 422, "invalid", "#/exclude",
    ),
    "all until the end excluded": (
        _job(interval_seconds=5, end_at="2090-01-02T00:00:00Z", exclude=[{"from": "2020-01-01", "to": "2090-01-02"}]),
        422, "never-fires", None,
    ),
    "nothing but excluded": (
        _job(cron_expression="0 9 * * *", exclude=[{"from": "2020-01-01", "to": "8999-12-31"}]), 422, "never-fires",
        None,
    ),
    "runs of none": (_job(max_runs=3), 422, "invalid", "#/max_runs"),
    "a window of none": (_job(start_at="2030-01-01T00:00:00Z"), 422, "invalid", "#/start_at"),
    "a window that ends before it begins": (
        _job(interval_seconds=5, start_at="2090-01-02T00:00:00Z", end_at="2090-01-01T00:00:00Z"), 422, "invalid",
        "#/end_at",
    ),
    "limit without its key": (_job(concurrency_limit=2), 422, "invalid", "#/concurrency_limit"),
    "limit of none": (_job(concurrency_key="k", concurrency_limit=0), 422, "invalid", "#/concurrency_limit"),
    "empty key of a limit": (_job(concurrency_key=""), 422, "invalid", "#/concurrency_key"),
    "failures of none": (_job(pause_after_failures=0), 422, "invalid", "#/pause_after_failures"),
    "failures of too many": (_job(pause_after_failures=1_001), 422, "invalid", "#/pause_after_failures"),
    "follower by name": (_job(on_success=["nightly"]), 422, "invalid", "#/on_success/0"),
    "an empty key": (_job() | {"headers": {"Idempotency-Key": ""}}, 422, "invalid", "Idempotency-Key"),
    "a long key": (_job() | {"headers": {"Idempotency-Key": "k" * 256}}, 422, "invalid", "Idempotency-Key"),
    "a key with a space": (_job() | {"headers": {"Idempotency-Key": "a b"}}, 422, "invalid", "Idempotency-Key"),
    "a key without an end": (_job() | {"headers": {"Idempotency-Key": '"a'}}, 422, "invalid", "Idempotency-Key"),
    "a revision of nothing": (_job() | {"headers": {"If-Match": '"1"'}}, 422, "invalid", "If-Match"),
    "query": (_job() | {"query_string": {"dry_run": "1"}}, 422, "not-available-yet", "?dry_run"),
}  # fmt: skip

# Method, path ({id}: of a job there is), what is sent, status, slug, pointer.
REQUESTS = [
    ("GET", "/nothing", {}, 404, "not-found", None),
    ("GET", "/api/v1/jobs/no-id", {}, 404, "not-found", None),
    ("GET", "/api/v1/jobs/%00", {}, 404, "not-found", None),
    ("GET", f"/api/v1/jobs/{NOBODY}", {}, 404, "not-found", None),
    ("GET", f"/api/v1/jobs/{NOBODY.upper()}", {}, 404, "not-found", None),
    ("GET", "/api/v1/jobs/01a20a7f-3775-8fff-b406-3d54fdf57110", {}, 404, "not-found", None),
    ("GET", f"/api/v1/executions/{NOBODY}", {}, 404, "not-found", None),
    ("GET", f"/api/v1/jobs/{NOBODY}/executions", {}, 404, "not-found", None),
    ("GET", f"/api/v1/executions/{NOBODY}/output", {}, 404, "not-found", None),
    ("POST", f"/api/v1/executions/{NOBODY}/cancel", {}, 404, "not-found", None),
    ("POST", f"/api/v1/executions/{NOBODY}/cancel", {"json": {"why": "x"}}, 422, "invalid", "#/why"),
    ("GET", f"/api/v1/jobs/{NOBODY}/events", {}, 404, "not-found", None),
    ("DELETE", f"/api/v1/jobs/{NOBODY}", {}, 404, "not-found", None),
    ("PUT", f"/api/v1/jobs/{NOBODY}", {"json": JOB}, 404, "not-found", None),
    ("POST", f"/api/v1/jobs/{NOBODY}/trigger", {"json": {"job_data": {}}}, 404, "not-found", None),
    ("PATCH", "/api/v1/jobs", {"json": {}}, 405, "method-not-allowed", None),
    ("PATCH", f"/api/v1/jobs/{NOBODY}", {"json": {}}, 404, "not-found", None),
    ("PATCH", "/api/v1/jobs/{id}", {"json": []}, 422, "invalid", "#"),
    ("PATCH", "/api/v1/jobs/{id}", {"json": {"priority": 0}}, 422, "invalid", "#/priority"),
    ("PATCH", "/api/v1/jobs/{id}", {"json": {"name": None}}, 422, "invalid", "#/name"),
    ("PATCH", "/api/v1/jobs/{id}", {"json": {"colour": None}}, 422, "invalid", "#/colour"),
    ("PATCH", "/api/v1/jobs/{id}", {"json": {"revision": 2}}, 422, "invalid", "#/revision"),
    ("PATCH", "/api/v1/jobs/{id}", {"json": {"concurrency_limit": 2}}, 422, "invalid", "#/concurrency_limit"),
    ("PATCH", "/api/v1/jobs/{id}", {"json": {"job_type": "cleanup_task"}}, 422, "invalid", "#/job_data/cleanup_type"),
    ("PATCH", "/api/v1/jobs/{id}", {"data": b"name: x"}, 415, "unsupported-media-type", None),
    (
        "PATCH", "/api/v1/jobs/{id}", {"json": {}, "headers": {"Idempotency-Key": "k"}},
        422, "invalid", "Idempotency-Key",
    ),
    ("GET", f"/api/v1/jobs/{NOBODY}/revisions", {}, 404, "not-found", None),
    ("GET", f"/api/v1/jobs/{NOBODY}/revisions/1", {}, 404, "not-found", None),
    ("GET", "/api/v1/jobs/{id}/revisions/2", {}, 404, "not-found", None),
    ("GET", "/api/v1/jobs/{id}/revisions/0", {}, 404, "not-found", None),
    ("GET", "/api/v1/jobs/{id}/revisions/-1", {}, 404, "not-found", None),
    ("GET", "/api/v1/jobs/{id}/revisions/%D9%A1", {}, 404, "not-found", None),
    ("GET", "/api/v1/jobs/{id}/revisions/99999999999999999999", {}, 404, "not-found", None),
    ("GET", "/api/v1/jobs/{id}/revisions/4697755535", {}, 404, "not-found", None),
    ("GET", "/api/v1/jobs/{id}/diff", {}, 422, "invalid", "?from"),
    ("GET", "/api/v1/jobs/{id}/diff?from=1&to=x", {}, 422, "invalid", "?to"),
    ("GET", "/api/v1/jobs/{id}/diff?from=1&to=2", {}, 404, "not-found", None),
    ("POST", "/api/v1/jobs/{id}/revert", {"json": {}}, 422, "invalid", "#/revision"),
    ("POST", "/api/v1/jobs/{id}/revert", {"json": {"revision": 2}}, 404, "not-found", None),
    ("POST", "/api/v1/jobs/{id}/backfill", {"json": {}}, 422, "invalid", "#/from"),
    ("POST", "/api/v1/jobs/{id}/backfill", {"json": {"from": "1969-01-01T00:00:00Z"}}, 422, "invalid", "#/from"),
    ("POST", "/api/v1/jobs/{id}/backfill", {"json": {"from": PAST, "to": PAST}}, 422, "invalid", "#/to"),
    ("POST", "/api/v1/jobs/{id}/backfill", {"json": {"from": PAST, "which": "some"}}, 422, "invalid", "#/which"),
    (
        "POST", "/api/v1/jobs/{id}/backfill", {"json": {"from": PAST, "max_parallel": 0}},
        422, "invalid", "#/max_parallel",
    ),
    (
        "POST", "/api/v1/jobs/{id}/backfill", {"json": {"from": PAST}, "headers": {"If-Match": '"1"'}},
        422, "invalid", "If-Match",
    ),
    ("POST", f"/api/v1/jobs/{NOBODY}/backfill", {"json": {"from": PAST}}, 404, "not-found", None),
    ("GET", f"/api/v1/jobs/{NOBODY}/backfills", {}, 404, "not-found", None),
    ("GET", f"/api/v1/backfills/{NOBODY}", {}, 404, "not-found", None),
    ("GET", "/api/v1/backfills/none", {}, 404, "not-found", None),
    ("POST", f"/api/v1/backfills/{NOBODY}/cancel", {"json": {}}, 404, "not-found", None),
    ("GET", "/api/v1/executions?backfill=none", {}, 422, "invalid", "?backfill"),
    ("GET", "/api/v1/jobs/{id}", {"headers": {"If-None-Match": "x"}}, 422, "invalid", "If-None-Match"),
    ("DELETE", "/api/v1/jobs", {}, 405, "method-not-allowed", None),
    ("GET", "/api/v1/jobs/{id}/pause", {}, 405, "method-not-allowed", None),
    ("PUT", "/api/v1/jobs/{id}", {}, 415, "unsupported-media-type", None),
    ("PUT", "/api/v1/jobs/{id}", {"json": JOB | {"priority": 0}}, 422, "invalid", "#/priority"),
    ("PUT", "/api/v1/jobs/{id}", {"json": CLEANUP}, 422, "invalid", "#/job_data/cleanup_type"),
    ("PUT", "/api/v1/jobs/{id}", _job(run_at=PAST), 422, "never-fires", None),
    ("PUT", "/api/v1/jobs/{id}", _job() | {"headers": {"If-Match": "1"}}, 422, "invalid", "If-Match"),
    ("PUT", "/api/v1/jobs/{id}", _job() | {"headers": {"If-Match": '"2"'}}, 412, "precondition-failed", None),
    ("PUT", "/api/v1/jobs/{id}", _job() | {"headers": {"Idempotency-Key": "k"}}, 422, "invalid", "Idempotency-Key"),
    ("DELETE", "/api/v1/jobs/{id}", {"headers": {"If-Match": 'W/"1"'}}, 412, "precondition-failed", None),
    ("DELETE", "/api/v1/jobs/{id}", {"headers": {"Idempotency-Key": "k"}}, 422, "invalid", "Idempotency-Key"),
    ("DELETE", "/api/v1/jobs/{id}?force=1", {}, 422, "invalid", "?force"),
    ("POST", "/api/v1/jobs/{id}/skip", {}, 415, "unsupported-media-type", None),
    ("POST", "/api/v1/jobs/{id}/skip", {"json": {}}, 422, "invalid", "#/scheduled_for"),
    ("POST", "/api/v1/jobs/{id}/skip", {"json": {"scheduled_for": None}}, 422, "invalid", "#/scheduled_for"),
    ("POST", "/api/v1/jobs/{id}/skip", {"json": {"scheduled_for": "2090-01-01"}}, 422, "invalid", "#/scheduled_for"),
    ("POST", "/api/v1/jobs/{id}/skip", {"json": AT | {"reason": "r" * 201}}, 422, "invalid", "#/reason"),
    ("POST", "/api/v1/jobs/{id}/skip", {"json": AT}, 422, "no-such-occurrence", None),
    ("POST", "/api/v1/jobs/{id}/unskip", {"json": AT}, 422, "no-such-occurrence", None),
    ("POST", "/api/v1/jobs/{id}/unskip", {"json": AT | {"reason": "x"}}, 422, "invalid", "#/reason"),
    ("POST", "/api/v1/jobs/{id}/pause", {"json": {"until": "x"}}, 422, "invalid", "#/until"),
    ("POST", "/api/v1/jobs/{id}/pause", {"json": {"reason": 5}}, 422, "invalid", "#/reason"),
    ("POST", "/api/v1/jobs/{id}/pause", _raw(""), 400, "malformed-json", None),
    ("POST", "/api/v1/jobs/{id}/pause", {"data": b"{}"}, 415, "unsupported-media-type", None),
    ("POST", "/api/v1/jobs/{id}/resume", {"json": {"catch_up": "x"}}, 422, "invalid", "#/catch_up"),
    ("POST", "/api/v1/jobs:pause", {"json": {}}, 422, "invalid", "?tag"),
    ("POST", "/api/v1/jobs:resume?tag=a&all=true", {"json": {}}, 422, "invalid", "?tag"),
    ("POST", "/api/v1/jobs:pause?all=true", {"json": {"until": PAST}}, 422, "invalid", "#/until"),
    ("POST", "/api/v1/jobs:pause?all=true&cursor=x", {"json": {}}, 422, "invalid", "?cursor"),
    ("POST", "/api/v1/jobs:pause?all=true", {"json": {}, "headers": {"If-Match": '"1"'}}, 422, "invalid", "If-Match"),
    ("POST", "/api/v1/jobs/{id}/trigger", {"json": {"priority": 0}}, 422, "invalid", "#/priority"),
    (
        "POST", "/api/v1/jobs/{id}/trigger", {"json": {"job_data": {"operation": "x"}}},
        422, "invalid", "#/job_data/operation",
    ),
    (
        "POST", "/api/v1/jobs/{id}/trigger", {"json": {"overlap_policy": "replace_all"}},
        422, "invalid", "#/overlap_policy",
    ),
    ("GET", "/api/v1/jobs?colour=red", {}, 422, "invalid", "?colour"),
    ("GET", "/api/v1/jobs?page=0", {}, 422, "invalid", "?page"),
    ("GET", "/api/v1/jobs?page=x", {}, 422, "invalid", "?page"),
    ("GET", "/api/v1/jobs?page=%D9%A1", {}, 422, "invalid", "?page"),
    ("GET", "/api/v1/jobs?page=51", {}, 422, "invalid", "?page"),
    ("GET", "/api/v1/jobs?per_page=201", {}, 422, "invalid", "?per_page"),
    ("GET", "/api/v1/jobs?page=1&page=2", {}, 422, "invalid", "?page"),
    ("GET", "/api/v1/jobs?cursor=abc", {}, 422, "invalid", "?cursor"),
    ("GET", "/api/v1/jobs?created_at[gte]=x", {}, 422, "invalid", "?created_at[gte]"),
    ("GET", "/api/v1/jobs?status=deleted", {}, 422, "invalid", "?status"),
    ("GET", "/api/v1/jobs?job_type=%00", {}, 422, "invalid", "?job_type"),
    ("GET", "/api/v1/executions?job_id=x", {}, 422, "invalid", "?job_id"),
    ("GET", "/api/v1/executions?status=%ff", {}, 422, "invalid", "?status"),
    ("GET", "/api/v1/jobs/{id}/executions?tag=night", {}, 422, "invalid", "?tag"),
    ("GET", "/api/v1/jobs/{id}/events?type=x", {}, 422, "invalid", "?type"),
    ("GET", "/api/v1/jobs/{id}?min_position=7:1-1", {}, 422, "invalid", "?min_position"),
    ("GET", "/api/v1/jobs/{id}?min_position=now", {}, 422, "invalid", "?min_position"),
    ("GET", "/docs/../app.py", {}, 404, "not-found", None),
    ("GET", "/docs/app.py", {}, 404, "not-found", None),
]  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture
async def stage(valkey, postgres, root):
    async with stage_on(valkey, postgres, root) as made:
        yield made


def _check(answer, what, status, slug, pointer):
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json"), (
        what,
        answer,
    )
    problem = answer.json
    assert (problem["type"], problem["status"]) == (f"/problems/{slug}", status), (what, problem)
    assert problem["correlation_id"] == answer.headers["X-Request-ID"]
    assert all(problem[name] for name in ("title", "detail", "instance")), (what, problem)
    pointers = [each["pointer"] for each in problem["errors"]]
    assert (pointer in pointers) if pointer else not pointers, (what, problem)


async def test_a_refused_body_leaves_log_keys_and_rows_as_they_were(stage):
    before = await stage.contents()
    for what, (sent, status, slug, pointer) in BODIES.items():
        _check(await stage.ask("POST", "jobs", **sent), what, status, slug, pointer)
        assert await stage.contents() == before, what


async def test_a_refused_request_leaves_log_keys_and_rows_as_they_were(stage):
    job = await stage.create(interval_seconds=3600)
    before = await stage.contents()
    for method, path, sent, status, slug, pointer in REQUESTS:
        answer = await stage.ask(method, path.replace("{id}", job["id"]), **sent)
        _check(answer, (method, path, sent), status, slug, pointer)
        assert await stage.contents() == before, (method, path)


async def test_another_type_for_a_job_is_refused_with_its_present_state(stage, root):
    job = await stage.create()
    before = await stage.contents()
    body = CLEANUP | {"job_data": CLEAN | {"path": str(root)}}
    answer = await stage.ask("PUT", f"jobs/{job['id']}", json=body)
    _check(answer, "another type", 409, "illegal-transition", None)
    assert answer.json["current"] == "pending"
    assert await stage.contents() == before


async def test_a_problem_lists_everything_that_is_wrong(stage):
    answer = await stage.ask("POST", "jobs", json={"job_type": "custom", "priority": 0, "colour": 1})
    pointers = {each["pointer"] for each in answer.json["errors"]}
    assert pointers == {"#/name", "#/priority", "#/colour"}


async def test_a_405_says_what_is_allowed(stage):
    answer = await stage.ask("PATCH", "jobs", status=405)
    assert {"GET", "POST"} <= {each.strip() for each in answer.headers["Allow"].split(",")}


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "a\x7fb"])
async def test_an_insane_request_id_is_replaced(stage, sent):
    answer = await stage.ask("GET", "/livez", headers={"X-Request-ID": sent})
    assert answer.headers["X-Request-ID"] not in {sent, ""}


async def test_a_defect_is_a_problem_of_500_that_tells_no_secrets(stage, monkeypatch):
    async def broken(*_args, **_kwargs):
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(type(stage.deps.ledger), "job", broken)
    answer = await stage.ask("GET", f"jobs/{NOBODY}")
    _check(answer, "a defect", 500, "internal-error", None)
    assert "hunter2" not in answer.text
