"""Requests that are refused: what is wrong → method, path, what is sent, status.

In a path `{id}` is a job with an interval of a day, `{gone}` a deleted one, `{busy}` one that limits overlap and
has an unfinished run, `{nobody}` a good id that nobody has.
"""

ECHO = {"name": "a job", "job_type": "custom", "job_data": {"operation": "echo", "parameters": {"n": 1}}}
NOBODY = "01a20a7f-3775-8000-b406-3d54fdf57110"
JSON = {"Content-Type": "application/json"}
TIDY = {"cleanup_type": "temp_files", "retention_days": 1}


def _post(status, /, **changes):
    return "POST", "/api/v1/jobs", {"json": ECHO | changes}, status


def _raw(text, status, /, **headers):
    return "POST", "/api/v1/jobs", {"content": text, "headers": JSON | headers}, status


def _on(method, path, status, /, **sent):
    return method, f"/api/v1/jobs/{path}", sent, status


REQUESTS = {
    # Bodies that can't be read.
    "no body": ("POST", "/api/v1/jobs", {}, 415),
    "a form": ("POST", "/api/v1/jobs", {"data": {"name": "x"}}, 415),
    "bad JSON": _raw("{name: x}", 400),
    "cut off": _raw('{"name":', 400),
    "not UTF-8": _raw(b'{"name":"\xff"}', 400),
    "NaN": _raw(
        '{"name":"x","job_type":"custom","job_data":{"operation":"echo","parameters":{"n":NaN}}}', 400
    ),
    "10,000 levels": _raw("[" * 10_000, 400),
    "a key twice": _raw('{"name":"a","name":"b","job_type":"custom"}', 400),
    "too large": _post(413, description="x" * 2_000_000),
    # Bodies that mean nothing.
    "a list": _raw("[]", 422),
    "NUL": _post(422, name="a\x00b"),
    "unknown field": _post(422, colour="red"),
    "read-only field": _post(422, status="paused"),
    "no name": _raw('{"job_type":"custom"}', 422),
    "name of another type": _post(422, name=5),
    "text for a number": _post(422, interval_seconds="5"),
    "true for a number": _post(422, max_retries=True),
    "unknown type": _post(422, job_type="nothing"),
    "unknown operation": _post(422, job_data={"operation": "dance"}),
    "large data": _post(422, job_data={"operation": "echo", "parameters": {"x": "y" * 70_000}}),
    "path outside the roots": _post(422, job_type="cleanup_task", job_data=TIDY | {"path": "/etc"}),
    "bad cron": _post(422, cron_expression="61 * * * *"),
    "30 February": _post(422, cron_expression="0 0 30 2 *"),
    "seven fields": _post(422, cron_expression="0 0 0 1 1 * 2030"),
    "two schedules": _post(422, cron_expression="0 0 * * *", interval_seconds=5),
    "interval of nothing": _post(422, interval_seconds=0),
    "long past": _post(422, run_at="2001-01-01T00:00:00Z"),
    "time without offset": _post(422, run_at="2090-01-01T00:00:00"),
    "bad zone": _post(422, timezone="Mars/Base"),
    "priority of 11": _post(422, priority=11),
    "unknown overlap": _post(422, overlap_policy="queue"),
    "calendar of nobody": _post(422, cron_expression="0 9 * * *", exclude_calendars=["nobodys"]),
    "calendar without a schedule": _post(422, exclude_calendars=["nobodys"]),
    "calendar of no days": ("PUT", "/api/v1/calendars/x", {"json": {"dates": ["2026-02-30"]}}, 422),
    "calendar of no name": ("PUT", "/api/v1/calendars/-x", {"json": {}}, 422),
    "calendar that was changed": (
        "PUT",
        "/api/v1/calendars/x",
        {"json": {}, "headers": {"If-Match": '"1"'}},
        412,
    ),
    "no calendar: GET": ("GET", "/api/v1/calendars/x", {}, 404),
    "no calendar: DELETE": ("DELETE", "/api/v1/calendars/x", {}, 404),
    # What later versions will take.
    "jitter of none": _post(422, jitter_seconds=3),
    "follower by name": _post(422, on_success=["nightly"]),
    "limit without its key": _post(422, concurrency_limit=2),
    "Idempotency-Key": _raw("{}", 422, **{"Idempotency-Key": "k k"}),
    "If-Match": _on("PUT", "{id}", 412, json=ECHO, headers={"If-Match": '"999"'}),
    "If-Match without quotes": _on("PUT", "{id}", 422, json=ECHO, headers={"If-Match": "1"}),
    "catch_up": _on("POST", "{id}/resume", 422, json={"catch_up": "some"}),
    "pause until long ago": _on("POST", "{id}/pause", 422, json={"until": "2001-01-01T00:00:00Z"}),
    "pause of nobody says which": ("POST", "/api/v1/jobs:pause", {"json": {}}, 422),
    # What isn't there.
    "unknown path": ("GET", "/api/v1/nothing", {}, 404),
    "unknown method": _on("POST", "{id}", 405, json={}),
    "no id": _on("DELETE", "no-id", 404),
    "id of nobody: DELETE": _on("DELETE", "{nobody}", 404),
    "id of nobody: PUT": _on("PUT", "{nobody}", 404, json=ECHO),
    "id of nobody: pause": _on("POST", "{nobody}/pause", 404),
    "id of nobody: trigger": _on("POST", "{nobody}/trigger", 404),
    "id of nobody: execution": ("GET", "/api/v1/executions/{nobody}", {}, 404),
    "deleted: GET": _on("GET", "{gone}", 404),
    "deleted: PUT": _on("PUT", "{gone}", 404, json=ECHO),
    "deleted: DELETE": _on("DELETE", "{gone}", 404),
    "deleted: resume": _on("POST", "{gone}/resume", 404),
    # What doesn't fit the present state.
    "overlap": _on("POST", "{busy}/trigger", 409),
    # Bad questions.
    "unknown parameter": _on("DELETE", "{id}?force=1", 422),
    "unknown parameter of a list": ("GET", "/api/v1/jobs?colour=red", {}, 422),
    "page 0": ("GET", "/api/v1/jobs?page=0", {}, 422),
    "page 51": ("GET", "/api/v1/executions?page=51", {}, 422),
    "bad position": ("GET", "/api/v1/jobs?min_position=1-2", {}, 422),
    "status of nothing": ("GET", "/api/v1/jobs?status=happy", {}, 422),
    "trigger with a bad priority": _on("POST", "{id}/trigger", 422, json={"priority": 0}),
    "trigger with data that doesn't fit": _on(
        "POST", "{id}/trigger", 422, json={"job_data": {"operation": "x"}}
    ),
}
