"""The README's tour answers as printed: each command is pasted into a shell, over a real `daybook up`."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from shared.embedded import processes

ROOT = Path(__file__).parents[2]
DAYBOOK = Path(sys.executable).with_name("daybook")
MARK = "=== end of command ==="
pytestmark = pytest.mark.xdist_group("readme")  # one system for all


def tour():
    """(command, expected output) of every console block."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    steps = [step for block in blocks for step in re.split(r"(?m)^\$ ", block) if step]
    return [(step.split("\n", 1)[0], step.split("\n", 1)[1].strip()) for step in steps]


def pattern(expected):
    return ".*".join(re.escape(part) for part in expected.split("…"))


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """`daybook up` in a directory of its own; yields its port."""
    tmp_path = tmp_path_factory.mktemp("readme")
    port = processes.free_port()
    environment = os.environ | {"DAYBOOK_PORT": str(port), "DAYBOOK_DATA_DIR": str(tmp_path / "data")}
    said = (tmp_path / "up.log").open("w")
    up = subprocess.Popen([DAYBOOK, "up"], env=environment, stdout=said, stderr=said, cwd=tmp_path)
    try:
        until = time.monotonic() + 60
        while not is_healthy(port):
            assert up.poll() is None, (tmp_path / "up.log").read_text()
            assert time.monotonic() < until, (tmp_path / "up.log").read_text()
            time.sleep(0.1)
        yield port
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0, (tmp_path / "up.log").read_text()


def is_healthy(port):
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def test_the_tour_answers_as_printed(system):
    steps = tour()
    assert len(steps) > 8
    script = "\n".join(f"{command}\necho; echo '{MARK}'" for command, _ in steps)
    script = script.replace("localhost:8080", f"127.0.0.1:{system}")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    answers = [answer.strip() for answer in done.stdout.split(MARK)]
    for (command, expected), answer in zip(steps, answers, strict=False):
        assert re.fullmatch(pattern(expected), answer, re.DOTALL), (
            f"$ {command}\n{answer}\nexpected:\n{expected}"
        )


def test_the_page_of_the_api_works_offline(system):
    page = httpx.get(f"http://127.0.0.1:{system}/docs/", follow_redirects=True)
    assert page.status_code == httpx.codes.OK
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page.text)
    for source in re.findall(r"(?:src|href)=\"([^\"]+\.(?:js|css))\"", page.text):
        found = httpx.get(httpx.URL(str(page.url)).join(source))
        assert found.status_code == httpx.codes.OK, source
    assert json.loads(httpx.get(f"http://127.0.0.1:{system}/openapi.json").text)["openapi"] == "3.1.0"
