"""A third-party package with handlers, really installed: its job types are there, and its handlers run."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from shared.job_types import BUILT_IN
from tests.plugins.wheel import EXAMPLE, install

NAME = "daybook_plugin_for_tests"
PACKAGE = Path(__file__).parents[1] / "plugins"
ROOT = Path(__file__).parents[2]

LOOK = """
import asyncio, json, os
from datetime import datetime, timezone
from services.executor.notebook import Notebook
from services.executor.outcome import returned
from services.executor.plugins import handlers
from services.executor.pool import Pool
from services.executor.resources import Resources
from shared import job_types
from shared.handlers import Run

def run(job_type, job_data):
    now = datetime.fromtimestamp(0, timezone.utc)
    return Run(run_id="r", job_id="j", job_name="n", job_type=job_type, job_data=job_data, attempt=2,
               max_attempts=4, scheduled_for=now, fence="1-1", correlation_id="c", deadline=now)

def faults(job_data):
    try:
        return job_types.check("shout", job_data, known=known)
    except job_types.BadJobData as refusal:
        return [fault.pointer for fault in refusal.faults]

async def main():
    found = handlers(known, Resources())
    shouted = await found["shout"].call(run("shout", {"text": "hey"}))
    pool = Pool(processes=1, log_level="INFO", log_format="json")
    notebook = Notebook(print)
    crunched = await pool.call(found["crunch"].call, run("crunch", {"n": 10}), notebook, timeout_s=30, context={})
    pool.stop()
    return {"shouted": shouted, "crunched": crunched.result, "blocking": found["crunch"].blocking}

if __name__ == "__main__":
    known = job_types.installed()
    described = [each for each in job_types.describe(known) if each["name"] == "shout"]
    print(json.dumps({"types": sorted(known.types), "refused": known.refused, "described": described,
        "good": faults({"text": "hey"}), "bad": faults({"text": 3}), "pid": os.getpid(),
        **asyncio.run(main())}))
"""


def a_wheel(folder):
    """The package as others would get it. Built by hand: a build backend would have to come from an index."""
    wheel = folder / f"{NAME}-1.0-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        archive.write(PACKAGE / "plugin_for_tests.py", "plugin_for_tests.py")
        for path in sorted((PACKAGE / "dist-info").iterdir()):
            archive.write(path, f"{NAME}-1.0.dist-info/{path.name}")
        record = "".join(f"{each},,\n" for each in archive.namelist())
        archive.writestr(f"{NAME}-1.0.dist-info/RECORD", f"{record}{NAME}-1.0.dist-info/RECORD,,\n")
    return wheel


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What a process with the package installed finds."""
    folder = tmp_path_factory.mktemp("plugin")
    site = folder / "site"
    install(a_wheel(folder), site)
    script = folder / "look.py"
    script.write_text(LOOK)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={"PYTHONPATH": f"{site}:{ROOT}", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_an_installed_package_adds_its_job_types(seen):
    assert seen["types"] == sorted([*BUILT_IN, "block", "crunch", "shout"])
    [shout] = seen["described"]
    assert shout["description"] == "Says it louder."
    assert shout["source"] == "daybook-plugin-for-tests"
    assert set(shout["schema"]["properties"]) == {"text", "times"}
    assert shout["schema"]["properties"]["text"]["x-personal"] is True


def test_a_plugin_shadows_no_type_of_ours_and_a_broken_one_is_refused_alone(seen):
    assert set(seen["refused"]) == {"custom", "http_request", "broken", "constant"}
    assert "built in" in seen["refused"]["custom"]


def test_the_model_of_a_plugin_checks_the_data_of_its_jobs(seen):
    assert seen["good"] == {"text": "hey"}
    assert seen["bad"] == ["#/job_data/text"]


def test_an_async_handler_of_a_plugin_is_called(seen):
    assert seen["shouted"] == {"shouted": "HEY", "attempt": 2}


def test_a_plain_function_of_a_plugin_runs_in_a_process_of_its_own(seen):
    assert seen["blocking"]
    assert seen["crunched"]["sum"] == 45
    assert seen["crunched"]["pid"] != seen["pid"]


# The README's ten lines.


def readme_blocks():
    section = (
        (ROOT / "README.md").read_text().partition("## Write your own in ten lines")[2].partition("\n## ")[0]
    )
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_example_of_the_readme_is_the_package_that_is_tested():
    shown, tested = ast.parse(readme_blocks()[0]), ast.parse((EXAMPLE / "my_jobs.py").read_text())
    assert ast.dump(shown) == ast.dump(tested)


def test_the_test_of_the_readme_passes_as_it_stands_and_fails_where_the_handler_does(tmp_path):
    handler, test = readme_blocks()
    (tmp_path / "test_my_jobs.py").write_text(test)
    for text, status in ((handler, 0), (handler.replace("len(", "7 + len("), 1)):
        (tmp_path / "my_jobs.py").write_text(text)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "--rootdir",
                tmp_path,
                "test_my_jobs.py",
            ],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
