"""The runbook's commands answer on a real system: those that look all of them, those that do where they may."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runbook import DEPLOY, SECTIONS, lines, part, words_of

from .test_up import Daybook

MARK = "=== ended with"
NEEDED = ("bash", "curl", "psql", "redis-cli")
NOT_HERE = (
    "docker",
    "again",
    "$PID",
    "copy (",
    "runs cancel",
)  # another deployment's, or there is nothing to end
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def daybook(tmp_path_factory):
    if missing := [each for each in NEEDED if not shutil.which(each)]:
        pytest.skip(f"needs {', '.join(missing)}")
    made = Daybook(tmp_path_factory.mktemp("runbook") / "data")
    yield made.start_up()
    made.close()


def told(daybook, commands, **variables):
    """(status, output) of each command line, as it is pasted into a shell."""
    script = [f". {DEPLOY / 'runbook.sh'} up {daybook.data_dir}"]
    script += [f"{line} 2>&1\necho '{MARK}' $?" for line in commands]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        env=os.environ | {"PATH": path} | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    outputs = done.stdout.split(MARK)
    statuses = [int(output.split()[0]) for output in outputs[1:]]
    return dict(zip(commands, zip(statuses, outputs, strict=False), strict=True))


def answers(told):
    """What did not end well, or was answered by a problem."""
    return {
        line: output for line, (status, output) in told.items() if status or '"type": "/problems/' in output
    }


@pytest.mark.parametrize("name", [each for each in SECTIONS if each.startswith("Daybook")])
def test_whoever_looks_is_answered(daybook, name):
    commands = [line for line in lines(part(name, "Look")) if words_of(line)[0] != "docker"]
    assert answers(told(daybook, commands)) == {}


def test_what_is_to_be_done_can_be_done(daybook):
    fails = daybook.create(name="fails", max_retries=0, job_data={"operation": "fail"})
    run = daybook.http.post(f"/api/v1/jobs/{fails['id']}/trigger").json()
    daybook.wait_until(lambda: daybook.executions(fails, "failed"), "the failure")
    commands = [
        line
        for name in SECTIONS
        if name.startswith("Daybook")
        for line in lines(part(name, "Do"))
        if not any(each in line for each in NOT_HERE)
    ]
    assert len(commands) > 10
    assert answers(told(daybook, commands, JOB=fails["id"], RUN=run["id"])) == {}


def test_a_service_that_is_told_to_stop_is_started_again(daybook):
    before = daybook.pid_of("timer")
    told(daybook, ["again timer"])
    daybook.wait_until(lambda: daybook.pid_of("timer") not in (None, before), "another timer")
