"""What an engine is told of a container's health, by the probe of the image."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.probe import probe
from shared.lifecycle import Health, Stop, ops_app
from shared.metrics import Metrics
from shared.serving import bound_socket, serve

ROOT = Path(__file__).parents[2]


@pytest.fixture
def health():
    return Health()


@pytest.fixture
async def port(health, monkeypatch):
    """Of a service's pages; the environment tells of it as the image's does."""
    sock, stop = bound_socket("0.0.0.0", 0), Stop()  # noqa: S104
    number = sock.getsockname()[1]
    monkeypatch.setenv("DAYBOOK_HOST", "0.0.0.0")  # noqa: S104
    monkeypatch.setenv("DAYBOOK_OPS_PORT", str(number))
    serving = asyncio.create_task(
        serve(ops_app("timer", health, Metrics(version="1")), sock, until=stop.wait)
    )
    yield number
    stop.set()
    await serving


async def probed():
    said = []
    return await asyncio.to_thread(probe, said.append), said


async def test_a_service_that_lives_and_can_work_is_well(port, health):
    health.check("log", lambda: None, live=True)
    assert await probed() == (0, ["timer is well"])


async def test_a_service_that_waits_for_something_is_not_well_and_says_for_what(port, health):
    health.check("log", lambda: None)
    health.check("redis", lambda: "does not answer")
    assert await probed() == (1, ["/readyz says 503: redis: does not answer"])


async def test_a_service_that_must_be_restarted_is_not_well(port, health):
    health.check("loop", lambda: "stands still", live=True)
    assert await probed() == (1, ["/livez says 503: loop: stands still"])


async def test_an_api_is_found_at_its_own_port(port, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobodys = free.getsockname()[1]
    monkeypatch.setenv("DAYBOOK_OPS_PORT", str(nobodys))
    monkeypatch.setenv("DAYBOOK_PORT", str(port))
    assert await probed() == (0, ["timer is well"])


async def test_a_process_that_does_not_answer_is_not_well(monkeypatch):
    with socket.create_server(
        ("127.0.0.1", 0)
    ) as silent:  # the kernel takes the connection, nobody the request
        monkeypatch.setenv("DAYBOOK_OPS_PORT", str(silent.getsockname()[1]))
        monkeypatch.setattr("services.cli.probe.TIMEOUT_S", 0.1)
        status, said = await probed()
    assert status == 1
    assert "no answer on port" in said[0]


def test_where_nobody_listens_the_probe_fails_and_loads_nothing_of_daybook():
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobodys = str(free.getsockname()[1])
    environ = os.environ | {"DAYBOOK_OPS_PORT": "", "DAYBOOK_PORT": nobodys, "PYTHONSAFEPATH": "1"}
    seen = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "services.cli.probe"],
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (seen.returncode, seen.stdout) == (1, f"nobody listens on 127.0.0.1, port {nobodys}\n")
    loaded = {line.rpartition("|")[2].strip() for line in seen.stderr.splitlines()}
    assert "http.client" in loaded
    assert not loaded & {"click", "pydantic", "shared", "shared.settings"}
