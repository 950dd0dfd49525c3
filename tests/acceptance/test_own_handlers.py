"""Handlers of one's own, in the real system: of an installed package, and of a module of DAYBOOK_HANDLERS."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.testing import wait_until
from tests.plugins.wheel import EXAMPLE, install, wheel_of

from .system import System

DAYBOOK = [sys.executable, str(Path(sys.executable).with_name("daybook"))]
MORE = """
import os
from pydantic import BaseModel

class Limit(BaseModel):
    limit: int

def crunch(run):
    "Adds up, in a process of its own."
    return {"sum": sum(range(run.job_data["limit"])), "pid": os.getpid(), "type": run.job_type}

crunch.model = Limit
HANDLERS = {"crunch": crunch}
"""
pytestmark = [pytest.mark.xdist_group("heavy"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    site, modules = folder / "site", folder / "modules" / "more"
    install(wheel_of(EXAMPLE, folder), site)
    modules.mkdir(parents=True)
    (modules / "__init__.py").write_text("")
    (modules / "jobs.py").write_text(MORE)
    path = os.pathsep.join([str(site), str(modules.parent)])
    environment = {"PYTHONPATH": path, "DAYBOOK_HANDLERS": "more.jobs, my_jobs"}
    made = System(folder / "data", environment=environment)
    try:
        yield made.start()
    finally:
        made.destroy()


async def result(http, job_type, job_data):
    """What a run of a new job returns."""
    body = {"name": "mine", "job_type": job_type, "job_data": job_data}
    answer = await http.post("/api/v1/jobs", json=body)
    assert answer.status_code in {201, 202}, answer.text
    answer = await http.post(f"/api/v1/jobs/{answer.json()['id']}/trigger")

    async def ended():
        run = (await http.get(f"/api/v1/executions/{answer.json()['id']}")).json()
        return run if run.get("finished_at") else None

    run = await wait_until(ended, "the run has ended", timeout_s=30, every_s=0.1)
    assert run["status"] == "succeeded", run
    return run["result"]


async def test_an_installed_handler_is_a_job_type_and_an_operation_of_custom(system):
    async with system.client() as http:
        assert await result(http, "count_words", {"text": "one two"}) == {"words": 2}
        custom = {"operation": "count_words", "parameters": {"text": "one two three"}}
        assert await result(http, "custom", custom) == {"words": 3}


async def test_a_plain_function_of_a_module_runs_in_a_process_of_the_pool_both_ways(system):
    [executor] = system.of("executor")
    async with system.client() as http:
        told = [
            await result(http, "crunch", {"limit": 10}),
            await result(http, "custom", {"operation": "crunch", "parameters": {"limit": 10}}),
        ]
    for each in told:
        assert each["pid"] not in {executor.pid, os.getpid()}
        assert (each["sum"], each["type"]) == (45, "crunch")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"job_type": "crunch", "job_data": {"limit": "x"}}, "#/job_data/limit"),
        (
            {"job_type": "custom", "job_data": {"operation": "crunch", "parameters": {"limit": "x"}}},
            "#/job_data/parameters/limit",
        ),
        (
            {"job_type": "custom", "job_data": {"operation": "count_words", "parameters": {}}},
            "#/job_data/parameters/text",
        ),
    ],
)
async def test_their_models_are_asked_when_a_job_is_made(system, body, pointer):
    async with system.client() as http:
        answer = await http.post("/api/v1/jobs", json={"name": "mine"} | body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize("service", ["api", "executor"])
def test_a_module_that_cant_be_imported_stops_the_start_with_a_sentence(system, service):
    environment = system._environment() | {"DAYBOOK_HANDLERS": "more.nothing"}
    done = subprocess.run(
        [*DAYBOOK, service], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode not in {0, -15}
    assert (
        "DAYBOOK_HANDLERS: more.nothing can't be imported: ModuleNotFoundError" in done.stdout + done.stderr
    )
    assert "Traceback" not in done.stdout + done.stderr


def test_daybook_up_says_so_before_it_starts_anything(tmp_path):
    environment = os.environ | {
        "DAYBOOK_HANDLERS": "nowhere.jobs",
        "DAYBOOK_DATA_DIR": str(tmp_path / "data"),
    }
    done = subprocess.run(
        [*DAYBOOK, "up"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr == (
        "daybook up: DAYBOOK_HANDLERS: nowhere.jobs can't be imported: ModuleNotFoundError: No module named 'nowhere'\n"
    )
    assert not (tmp_path / "data").exists()
