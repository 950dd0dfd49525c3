"""One trace over all services: from a request over commits, wakes and attempts to the archive."""

import asyncio
import subprocess
import sys
import threading
from datetime import UTC, timedelta
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind

from services.__main__ import main
from services.executor.claims import Claim
from services.executor.handlers.http_request_answer import ServerError
from services.executor.traced import TracedAttempt
from shared import logs, settings, tracing
from shared.eventlog.trails import Trails
from shared.faults import Fatal
from shared.testing import a_job_id, wait_until
from shared.tracing import set_present
from shared.tracing import spans as spans_module
from shared.tracing.spans import Tracing, failed, provider, traceparent
from tests.integration.spans_kit import CALLER, ITS_TRACE, Spans, a_traced_system, trace_of
from tests.integration.web_kit import answer, ask, serving

ECHO = {"name": "traced", "job_type": "custom", "job_data": {"operation": "echo", "parameters": {}}}


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with a_traced_system(valkey, postgres, tmp_path) as made:
        yield made


async def executions(stage, job, *, ended=1):
    """The job's executions, once so many have ended and are archived with all that led there."""

    async def look():
        found = (await stage.ask("GET", f"jobs/{job['id']}/executions", status=200)).json["items"]
        return found if len([each for each in found if each["finished_at"]]) >= ended else None

    found = await wait_until(look, f"{ended} executions of {job['id']} have ended")
    await stage.level()
    return found


async def create(stage, headers=None, **changes):
    return (await stage.ask("POST", "jobs", json=ECHO | changes, headers=headers, status=201)).json


def soon(stage, seconds):
    at = stage.log.now().astimezone(UTC) + timedelta(seconds=seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def test_a_job_that_fires_once_is_one_trace_from_its_request_to_the_archive_of_its_end(stage):
    job = await create(stage, {"traceparent": CALLER}, run_at=soon(stage, 0.3))
    await executions(stage, job)
    spans = stage.spans
    await wait_until(lambda: len(spans.all("archive")) >= 4, "each of four commits is archived")
    assert {trace_of(span) for span in spans.all() if "list" not in span.name and "GET" not in span.name} == {
        ITS_TRACE
    }
    (end,) = [each for each in spans.all("archive") if "RunSucceeded" in each.attributes["daybook.events"]]
    assert spans.line(end) == [
        ("daybook-projector", "archive"),
        ("daybook-executor", "commit SucceedRun"),
        ("daybook-executor", "run custom"),
        ("daybook-timer", "commit Wake"),
        ("daybook-timer", "wake job"),
        ("daybook-api", "commit CreateJob"),
        ("daybook-api", "POST /api/v1/jobs"),
    ]
    (request,) = spans.all("POST /api/v1/jobs")
    assert f"{request.parent.span_id:016x}" == CALLER.split("-")[2]
    assert request.attributes["http.response.status_code"] == 201
    (attempt,) = spans.all("run custom")
    assert attempt.attributes["daybook.run.status"] == "succeeded"


async def test_each_firing_of_a_schedule_is_a_trace_of_its_own_linked_to_what_came_before(stage):
    job = await create(stage, {"traceparent": CALLER}, interval_seconds=1)
    await executions(stage, job, ended=2)
    first, second = stage.spans.all("wake job")[:2]
    runs = stage.spans.all("run custom")[:2]
    assert [trace_of(each) for each in runs] == [trace_of(first), trace_of(second)]
    assert len({ITS_TRACE, trace_of(first), trace_of(second)}) == 3
    (created,) = stage.spans.all("commit CreateJob")
    assert [link.context.span_id for link in first.links] == [created.context.span_id]
    assert [f"{link.context.trace_id:032x}" for link in second.links] == [trace_of(first)]


async def test_a_retry_stays_in_the_trace_of_its_run_and_says_what_failed(stage):
    data = {"operation": "fail", "parameters": {"times": 1, "message": "no luck"}}
    job = await create(stage, job_data=data, max_retries=1, retry_backoff={"initial_seconds": 0.1})
    await stage.ask("POST", f"jobs/{job['id']}/trigger", headers={"traceparent": CALLER}, status=201)
    await executions(stage, job)
    failed, done = stage.spans.all("run custom")
    assert {trace_of(failed), trace_of(done)} == {ITS_TRACE}
    assert (failed.attributes["error.type"], failed.status.description) == ("RuntimeError", "no luck")
    assert [failed.attributes["daybook.run.attempt"], done.attributes["daybook.run.attempt"]] == [1, 2]
    assert done.status.is_ok or done.status.is_unset
    assert [name for _, name in stage.spans.line(done)][1:4] == ["commit Wake", "wake run", "commit FailRun"]


async def test_what_its_caller_does_not_sample_leaves_no_span_but_its_context_goes_on(stage):
    job = await create(stage, {"traceparent": CALLER[:-2] + "00"})
    await stage.ask(
        "POST", f"jobs/{job['id']}/trigger", headers={"traceparent": CALLER[:-2] + "00"}, status=201
    )
    await executions(stage, job)
    assert not [each for each in stage.spans.all() if "GET" not in each.name]
    events = (await stage.ask("GET", f"jobs/{job['id']}/events", status=200)).json["items"]
    assert {each["traceparent"].split("-")[1] for each in events} == {ITS_TRACE}
    assert {each["traceparent"][-2:] for each in events} == {"00"}


async def test_a_request_tells_its_route_and_its_status_and_probes_are_no_spans(stage):
    for path in ("/livez", "/readyz", "/health", "/metrics"):
        await stage.ask("GET", path)
    await stage.ask("POST", "jobs", json={"name": ""}, status=422)
    await stage.ask("GET", f"jobs/{a_job_id()}?q=1", status=422)
    assert [span.name for span in stage.spans.all()] == ["POST /api/v1/jobs", "GET /api/v1/jobs/<job_id>"]
    refused, _ = stage.spans.all()
    assert refused.attributes["http.response.status_code"] == 422
    assert refused.status.is_unset
    assert "q=1" not in str([span.to_json() for span in stage.spans.all()])


# Finding the trace.


async def test_an_event_says_which_commit_it_is_of_and_the_archive_where_the_log_was_trimmed(stage):
    job = await create(stage, {"traceparent": CALLER})
    (event,) = (await stage.ask("GET", f"jobs/{job['id']}/events", status=200)).json["items"]
    (commit,) = stage.spans.all("commit CreateJob")
    assert event["traceparent"] == f"00-{ITS_TRACE}-{commit.context.span_id:016x}-01"
    asked = []

    async def archived(partition, position):
        asked.append((partition, str(position)))
        return "from the archive"

    trails = Trails(stage.log, archived)
    partition, position = event["sequence"].split(":")
    assert await trails.after(int(partition), position) == event["traceparent"]
    await stage.redis.xtrim(stage.log.keys(int(partition)).log, maxlen=0)
    assert await trails.after(int(partition), position) == "from the archive"
    assert asked == [(int(partition), position)]


async def test_a_trace_breaks_off_rather_than_that_a_run_waits(bench):
    async def archived(_partition, _position):
        raise ConnectionError("the archive is away")

    trails = Trails(bench.log, archived)
    assert await trails.after(0, "1-99999") == ""
    assert await trails.after(0, "") == ""
    assert await trails.after(0, "no position") == ""


async def test_a_run_that_is_claimed_while_its_executor_ends_gives_its_slot_back():
    never, ended, vacated = asyncio.Event(), [], []

    class Waiting:
        async def after(self, *_):
            await never.wait()

    claim = Claim(0, "default", 5, "1-1", "r", (b"",) * 4)
    attempt = TracedAttempt(
        SimpleNamespace(), claim, tracing=Spans().of["executor"], trails=Waiting(),
        vacate=lambda: vacated.append(1), end=ended.append,
    )  # fmt: skip
    attempt.begin()
    await asyncio.sleep(0)
    attempt.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt.task
    assert (ended, vacated) == ([attempt], [1])


async def test_a_collector_that_is_away_keeps_no_process_from_ending(monkeypatch):
    class Stuck(SpanExporter):
        def export(self, _spans):
            threading.Event().wait(60)

    monkeypatch.setattr(spans_module, "CLOSE_S", 0.05)
    made = spans_module.provider("timer", "timer-1")
    made.add_span_processor(BatchSpanProcessor(Stuck()))
    stuck = spans_module.Tracing(made)
    with stuck.span("one", SpanKind.INTERNAL):
        pass
    async with asyncio.timeout(5):
        await stuck.close()


# What leaves the process.


def test_what_a_span_says_is_masked_as_lines_are(monkeypatch):
    monkeypatch.setattr(logs, "_hidden", {})
    monkeypatch.setattr(logs, "_hiding", None)
    logs.hide(["hunter2"])
    spans = Spans()
    with spans.of["executor"].span("asks hunter2", SpanKind.INTERNAL) as span:
        span.set_attributes({"told": ["hunter2", "x"], "dsn": "redis://u:pass-word@h/0", "api_key": "k"})
        span.add_event("seen", {"body": "hunter2"})
        failed(span, "ValueError", "not hunter2")
    (sent,) = spans.all()
    text = sent.to_json()
    assert not [word for word in ("hunter2", "pass-word", '"k"') if word in text]
    assert sent.attributes["told"] == ["***", "x"]
    assert (sent.events[0].attributes["body"], sent.status.description) == ("***", "not ***")


async def test_a_server_that_is_asked_is_told_the_trace():
    spans = Spans()
    of_executor = spans.of["executor"]
    async with serving(answer(503)) as site:
        with of_executor.span("run http_request", SpanKind.CONSUMER) as run:
            set_present(of_executor)
            with pytest.raises(ServerError):
                await ask(f"{site.url}/a?key=secret")
            await ask(f"{site.url}/b", headers={"traceparent": CALLER}, expected_statuses=[503])
    (asked, _), (first, second) = spans.all("GET"), site.heard
    sent = first.headers["traceparent"].split("-")
    assert sent[1:3] == [trace_of(asked), f"{asked.context.span_id:016x}"]
    assert second.headers["traceparent"] == CALLER
    assert asked.parent.span_id == run.get_span_context().span_id
    assert (asked.attributes["error.type"], asked.attributes["http.response.status_code"]) == ("503", 503)
    assert "secret" not in asked.to_json()


async def test_without_tracing_a_server_is_told_nothing():
    async with serving(answer()) as site:
        await ask(site.url)
    assert "traceparent" not in site.heard[0].headers


# Turning it on.


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"])
def test_a_protocol_that_is_not_there_is_refused(monkeypatch, name):
    monkeypatch.setenv(name, "grpc")
    with pytest.raises(Fatal, match=rf"{name}=grpc is not available, only http/protobuf is"):
        tracing.of_settings(settings.load(tracing="otlp"), "timer", "timer-1")


def test_what_cannot_be_is_said_before_anything_is_started(tmp_path, monkeypatch):
    monkeypatch.setenv("DAYBOOK_TRACING", "otlp")
    monkeypatch.setenv("DAYBOOK_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    done = CliRunner().invoke(main, ["up"])
    assert done.exit_code == 1
    assert "daybook up: OTEL_EXPORTER_OTLP_PROTOCOL=grpc is not available" in done.output
    assert not (tmp_path / "data").exists()


def test_where_opentelemetry_is_told_to_do_nothing_the_callers_context_goes_on(monkeypatch):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    nothing = Tracing(provider("api", "api-1"))
    with nothing.span("first", SpanKind.SERVER, parent="") as span:
        assert traceparent(span) == ""
    with nothing.span("second", SpanKind.SERVER, parent=CALLER) as span:
        assert traceparent(span) == CALLER


def test_without_its_packages_tracing_is_refused_and_off_needs_none():
    said = """
import sys
sys.modules["opentelemetry"] = None
from shared import settings, tracing
from services import __main__, traced
assert tracing.of_settings(settings.load(), "timer", "timer-1") is None
tracing.of_settings(settings.load(tracing="otlp"), "timer", "timer-1")
"""
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=False)
    assert "install the extra, daybook[tracing], or set DAYBOOK_TRACING=off" in done.stderr
