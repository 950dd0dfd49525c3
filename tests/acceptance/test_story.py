"""A run's story, told by the log lines and the spans of real processes; and what they never tell."""

import json
import subprocess
import time

import httpx
import jwt
import pytest

from .collector import Collector
from .system import System, eventually

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE = CALLER.split("-")[1]
KEY = "the-key-that-tokens-are-signed-with-here"
REVEALED, HEADER, BEARER = "hunter2-and-much-more", "a-header's-own-secret", "a-bearer-that-nobody-sees"
COLLECTORS = "what-the-collector-is-asked-by"
TRIES = 3  # a process that the machine keeps waiting says late what it has done
HANDLERS = """
import logging
from opentelemetry import trace

def in_a_process(run):
    with trace.get_tracer("mine").start_as_current_span("own work") as span:
        span.set_attribute("told", run.job_data["word"])
        logging.getLogger("mine").warning("working with %s", run.job_data["word"])
        if run.attempt == 1:
            raise ValueError("no luck with " + run.job_data["word"])

async def on_the_loop(run):
    with trace.get_tracer("mine").start_as_current_span("own work, too"):
        return {"told": run.job_data["word"]}

HANDLERS = {"in_a_process": in_a_process, "on_the_loop": on_the_loop}
"""
pytestmark = [pytest.mark.xdist_group("story"), pytest.mark.timeout(120)]


class Told:
    """A system that is at its most talkative, what it was asked, and where that went."""

    def __init__(self, system, collector):
        self.system, self.collector = system, collector
        self.token = jwt.encode(
            {
                "sub": "ann",
                "tenant": "default",
                "role": "admin",
                "iss": "daybook",
                "aud": "daybook",
                "exp": time.time() + 600,
            },
            KEY,
        )

    def ask(self, method, path, status, *, headers=None, **options):
        heads = {"Authorization": f"Bearer {self.token}"} | (headers or {})
        answer = httpx.request(method, f"{self.system.url}{path}", headers=heads, timeout=20, **options)
        assert answer.status_code == status, answer.text
        return answer.json()

    def run(self, job_type, data, *, ended="succeeded"):
        """The id of a triggered run that has ended."""
        body = {
            "name": job_type,
            "job_type": job_type,
            "job_data": data,
            "max_retries": 1,
            "retry_backoff": {"initial_seconds": 0.1, "jitter": 0},
        }
        job = self.ask("POST", "/api/v1/jobs", 201, json=body)
        run = self.ask("POST", f"/api/v1/jobs/{job['id']}/trigger", 201, headers={"traceparent": CALLER})
        path = f"/api/v1/executions/{run['id']}"
        eventually(lambda: self.ask("GET", path, 200)["status"] == ended, f"{job_type} has {ended}")
        return run["id"]

    def grep(self, text):
        """The lines of all services that have `text`, in the order of their times: what `grep` finds."""
        files = [str(service.log_file) for service in self.system.services.values()]
        found = subprocess.run(["grep", "-h", text, *files], capture_output=True, text=True, check=False)
        return sorted((json.loads(line) for line in found.stdout.splitlines()), key=lambda line: line["at"])

    def everything(self):
        """All log files, and all spans."""
        logs = [service.log_file.read_text() for service in self.system.services.values()]
        return "\n".join([*logs, self.collector.text])


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    directory = tmp_path_factory.mktemp("story")
    (directory / "story_jobs.py").write_text(HANDLERS)
    with Collector() as collector:
        system = System(
            directory,
            environment={
                "PYTHONPATH": str(directory),
                "DAYBOOK_HANDLERS": "story_jobs",
                "DAYBOOK_LOG_LEVEL": "DEBUG",
                "DAYBOOK_AUTH": "on",
                "DAYBOOK_SECRET_KEY": KEY,
                "DAYBOOK_SECRET__WORD": REVEALED,
                "DAYBOOK_SECRET__BEARER": BEARER,
                "DAYBOOK_SECRET__HEADER": HEADER,
                "DAYBOOK_HTTP_NETWORKS": "127.0.0.0/8",
                "DAYBOOK_TRACING": "otlp",
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_EXPORTER_OTLP_HEADERS": f"x-api-key={COLLECTORS}",
                "OTEL_BSP_SCHEDULE_DELAY": "100",
            },
        )
        try:
            yield Told(system.start(), collector)
        finally:
            system.destroy()


STORY = [
    ("api", "run requested"),
    ("executor", "attempt started"),
    ("executor", "attempt failed"),
    ("timer", "run queued"),
    ("executor", "attempt started"),
    ("executor", "attempt succeeded"),
    ("projector", "runs archived"),
]


def test_one_grep_on_a_run_tells_its_story_over_all_services(told):
    for _ in range(TRIES):
        lines = _story(told)
        seen = [(line["service"], line["message"]) for line in lines]
        if seen == STORY:
            break
    assert seen == STORY
    assert [line["attempt"] for line in lines if line["service"] == "executor"] == [1, 1, 2, 2]
    assert {line["trace_id"] for line in lines[:-1]} == {TRACE}
    assert (lines[0]["actor"], lines[0]["trigger"]) == ("ann", "manual")
    assert "no luck" in lines[2]["error"]


def _story(told):
    run = told.run("in_a_process", {"word": {"$secret": "WORD"}})
    eventually(lambda: any(line["service"] == "projector" for line in told.grep(run)), "its end is archived")
    return [line for line in told.grep(run) if line["level"] != "debug" and line["logger"] != "mine"]


def test_what_a_schedule_fires_is_told_by_the_timer(told):
    body = {"name": "ticks", "job_type": "on_the_loop", "job_data": {"word": "w"}, "interval_seconds": 1}
    job = told.ask("POST", "/api/v1/jobs", 201, json=body)
    fired = eventually(
        lambda: told.grep("run requested.*" + job["id"]) or told.grep(job["id"] + ".*run requested"),
        "it fires",
    )
    told.ask("POST", f"/api/v1/jobs/{job['id']}/pause", 200, json={})
    assert (fired[0]["service"], fired[0]["trigger"], fired[0]["actor"]) == ("timer", "schedule", "timer")
    assert fired[0]["run_id"]


def _requests(lines):
    return [line for line in lines if line["message"] == "run requested"]


def test_real_processes_send_one_trace_and_handlers_spans_are_in_it(told):
    told.run("on_the_loop", {"word": "w"})
    told.run("in_a_process", {"word": "w"})

    def sent():
        return {(service, span.name) for service, span in told.collector.spans(TRACE)}

    wanted = {
        ("daybook-api", "POST /api/v1/jobs/<job_id>/trigger"),
        ("daybook-api", "commit TriggerJob"),
        ("daybook-timer", "wake run"),
        ("daybook-executor", "run in_a_process"),
        ("daybook-executor", "run on_the_loop"),
        ("daybook-executor", "own work"),
        ("daybook-executor", "own work, too"),
        ("daybook-executor", "commit SucceedRun"),
        ("daybook-projector", "archive"),
    }

    def parents():
        """Of the handlers' own spans; a process of the pool sends its own before the executor does."""
        by_id = {span.span_id: span.name for _, span in told.collector.spans(TRACE)}
        return {
            by_id.get(span.parent_span_id)
            for _, span in told.collector.spans(TRACE)
            if span.name.startswith("own work")
        }

    eventually(lambda: wanted <= sent(), "all services have sent their spans")
    eventually(
        lambda: parents() == {"run in_a_process", "run on_the_loop"}, "handlers' spans are in the attempts'"
    )
    path, heads = told.collector.heads[0]
    assert (path, {name.lower(): value for name, value in heads.items()}["x-api-key"]) == (
        "/v1/traces",
        COLLECTORS,
    )


def test_no_secret_stands_in_any_line_or_span_however_much_is_logged(told):
    issued = told.ask("POST", "/api/v1/api-keys", 201, json={"name": "k", "role": "admin"})
    by_key = {"X-API-Key": issued["key"], "Authorization": ""}
    told.ask("GET", "/api/v1/jobs", 200, headers=by_key)
    told.ask("GET", "/api/v1/jobs", 401, headers={"Authorization": "Bearer " + told.token[:-4] + "AAAA"})
    told.run("in_a_process", {"word": {"$secret": "WORD"}})
    told.run(
        "http_request",
        {
            "url": f"{told.system.url}/api/v1/jobs",
            "auth": {"bearer": {"$secret": "BEARER"}},
            "headers": {"X-Other": {"$secret": "HEADER"}},
        },
        ended="failed",
    )
    time_out = time.monotonic() + 1
    eventually(lambda: time.monotonic() > time_out, "what is batched was sent")
    said = told.everything()
    stores = [told.system.valkey.endpoint.url, told.system.postgres.endpoint.url]
    passwords = [httpx.URL(url).password for url in stores]
    secrets = [KEY, REVEALED, HEADER, BEARER, COLLECTORS, told.token, issued["key"], *filter(None, passwords)]
    assert [secret for secret in secrets if secret in said] == []
    assert "working with ***" in said
