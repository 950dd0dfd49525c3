"""What the API tells about the system, and about itself."""

import asyncio
import json
import re
import socket

import httpx
import jsonschema_rs
import pytest

from services.api.openapi_examples import EXAMPLES
from services.api.operations import OPERATIONS
from services.api.service import Api, listening_socket
from shared.clock import SystemClock
from shared.domain.zones import tables_version
from shared.loop import Stop
from shared.metrics import Metrics
from shared.ops import Health
from shared.serving import bound_socket
from shared.settings import Settings
from shared.testing import chance, wait_until

from .api_stage import JOB, stage_on


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


async def _timers_alive(stage):
    for partition in range(stage.partitions):
        await stage.redis.set(stage.log.keys(partition).lease("timer"), "t1", px=60_000)


async def test_health_tells_of_all_parts_and_of_the_work_in_hand(stage):
    await _timers_alive(stage)
    job = await stage.create()
    await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)
    told = (await stage.ask("GET", "/health", status=200)).json
    assert (told["status"], told["queue_depth"], told["active_runs"]) == ("healthy", 1, 0)
    assert told["tzdata"] == tables_version()
    assert told["checks"] == {"database": "ok", "redis": "ok", "scheduler": "ok"}
    assert told["version"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", told["timestamp"])


async def test_health_fails_for_a_partition_without_a_timer(stage):
    await stage.redis.set(stage.log.keys(0).lease("timer"), "t1", px=60_000)
    told = (await stage.ask("GET", "/health", status=503)).json
    assert (told["status"], told["checks"]["database"], told["checks"]["redis"]) == ("unhealthy", "ok", "ok")
    assert told["checks"]["scheduler"] == "no timer serves partition 1 of 2"


async def test_health_fails_when_a_timer_holds_its_lease_but_leaves_its_work_lying(stage):
    await _timers_alive(stage)
    seconds, _ = await stage.redis.time()
    await stage.redis.zadd(stage.log.keys(1).due, {"job:x": (seconds - 12) * 1000})
    told = (await stage.ask("GET", "/health", status=503)).json
    assert "has been due for" in told["checks"]["scheduler"]


async def test_health_says_which_store_is_away(stage, monkeypatch):
    async def refused(*_args):
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr(type(stage.deps.ledger), "_ask", refused)
    told = (await stage.ask("GET", "/health", status=503)).json
    assert told["checks"]["database"] == "ConnectionRefusedError: nobody listens"
    assert told["queue_depth"] is None


async def test_probes_tell_of_this_process(stage):
    assert (await stage.ask("GET", "/livez", status=200)).json["status"] == "ok"
    assert (await stage.ask("GET", "/readyz", status=200)).json["status"] == "ok"
    stage.health.check("log", lambda: "it is closed")
    told = (await stage.ask("GET", "/readyz", status=503)).json
    assert told["checks"]["log"] == "it is closed"
    await stage.ask("GET", "/livez", status=200)


async def test_the_document_lists_exactly_the_routes_there_are(stage):
    document = (await stage.ask("GET", "/openapi.json", status=200)).json
    assert document["openapi"].startswith("3.1")
    told = {(path, method) for path, ways in document["paths"].items() for method in ways}
    hidden = {"docs_redirect", "docs_file"}
    served = {
        (re.sub(r"<(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in stage.app.url_map.iter_rules()
        if rule.endpoint not in hidden
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert told == served
    assert {each.name for each in OPERATIONS} <= set(stage.app.view_functions)


async def test_the_document_has_every_schema_it_refers_to_and_every_field_of_an_answer(stage):
    document = (await stage.ask("GET", "/openapi.json", status=200)).json
    schemas = document["components"]["schemas"]
    wanted = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert wanted <= set(schemas)
    job = await stage.create()
    assert set(schemas["JobView"]["properties"]) == set(job)
    run = (await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)).json
    assert set(schemas["ExecutionView"]["properties"]) == set(run)


async def test_the_docs_need_nothing_from_elsewhere(stage):
    await stage.ask("GET", "/docs", status=308)
    page = (await stage.ask("GET", "/docs/", status=200)).text
    assert "http://" not in page
    assert "https://" not in page
    for name in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert (await stage.ask("GET", f"/docs/{name}", status=200)).text


async def test_a_process_serves_over_http_and_ends_with_requests_under_way_answered(stage):
    sock = bound_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    api = Api(
        log=stage.log,
        decider=stage.deps.decider,
        subscriber=stage.blocking,
        pool=stage.pool,
        lists=stage.pool,
        known=stage.deps.known,
        catalog=stage.deps.catalog,
        settings=stage.settings,
        metrics=Metrics(),
        health=Health(),
        clock=SystemClock(),
        sock=sock,
        random_bits=chance,
    )
    stop = Stop()
    serving = asyncio.create_task(api.run(stop))
    async with httpx.AsyncClient(base_url=url) as client:
        made = await client.post("/api/v1/jobs", json=JOB)
        assert made.status_code == 201
        assert (await client.get(made.headers["Location"])).json() == made.json()
        assert (await client.post("/api/v1/jobs", content=b"x" * 10_000_000)).status_code == 413
        await stage.stop_projector()
        late = asyncio.create_task(client.post("/api/v1/jobs", json=JOB, headers={"Prefer": "wait=20"}))
        await wait_until(lambda: any(api._deps.archive._waiters), "the request waits for the archive")
        stop.set()
        stage.start_projector()
        assert (await late).status_code == 201
    async with asyncio.timeout(5):
        await serving


def test_an_inherited_socket_is_taken_over(monkeypatch, stage_settings):
    theirs = bound_socket("127.0.0.1", 0)
    port = theirs.getsockname()[1]
    monkeypatch.setenv("DAYBOOK_API_FD", str(theirs.detach()))
    with listening_socket(stage_settings) as ours:
        assert ours.getsockname()[1] == port
        assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


@pytest.fixture
def stage_settings():
    return Settings(port=0)


async def test_every_body_and_answer_has_an_example_that_is_as_its_schema_says(stage):
    document = (await stage.ask("GET", "/openapi.json", status=200)).json
    schemas = document["components"]["schemas"]
    shown = {each.body.__name__ for each in OPERATIONS if each.body is not None}
    shown |= set(re.findall(r"schemas/(\w+View)", json.dumps([each.answers for each in OPERATIONS])))
    assert shown - {name for name, schema in schemas.items() if schema.get("examples")} == set()
    for name, schema in schemas.items():
        check = jsonschema_rs.validator_for(
            {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        )
        for example in schema.get("examples", ()):
            check.validate(example)


async def test_the_examples_of_bodies_are_taken(stage):
    job = await stage.create()
    await stage.ask("PATCH", f"jobs/{job['id']}", json=EXAMPLES["JobPatch"][0], status=200)
    run = (
        await stage.ask("POST", f"jobs/{job['id']}/trigger", json=EXAMPLES["TriggerBody"][0], status=201)
    ).json
    await stage.ask("POST", f"executions/{run['id']}/cancel", json=EXAMPLES["CancelBody"][0], status=200)
    await stage.ask("POST", f"executions/{run['id']}/retry", json=EXAMPLES["RetryBody"][0], status=201)
    await stage.ask("POST", f"jobs/{job['id']}/pause", json=EXAMPLES["PauseBody"][0], status=200)
    await stage.ask("POST", f"jobs/{job['id']}/resume", json=EXAMPLES["ResumeBody"][0], status=200)
    await stage.ask("POST", f"jobs/{job['id']}/revert", json=EXAMPLES["RevertBody"][0], status=200)
    for path, body, status in (
        ("jobs", "JobBody", 201), ("executions/redrive", "RedriveBody", 200), ("api-keys", "ApiKeyBody", 201),
        ("jobs/bulk", "BulkBody", 200), ("apply", "ApplyBody", 200), ("schedules/preview", "PreviewBody", 200),
    ):  # fmt: skip
        for example in EXAMPLES[body]:
            await stage.ask("POST", path, json=example, status=status)
