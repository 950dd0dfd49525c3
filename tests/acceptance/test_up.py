"""`daybook up` as a person starts it: one command, everything runs, nothing is lost between two starts."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from shared.embedded import DataDir, processes
from tests.seed import sow

DAYBOOK = [sys.executable, str(Path(sys.executable).with_name("daybook"))]
SERVICES = {"api", "timer", "executor", "projector"}
APPLICATION_CACHE = Path("/tmp/application_cache")  # noqa: S108 (the default root of the tour)
pytestmark = pytest.mark.xdist_group("up")  # one `running` for all


class Daybook:
    """One system under test; `options` as on the command line."""

    def __init__(self, data_dir):
        self.data_dir = data_dir
        self._output = (data_dir.parent / f"{data_dir.name}.out").open("w+")
        self.process = None
        self.http = None

    def start(self, *options, **variables):
        ours = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
        self.process = subprocess.Popen(
            [*DAYBOOK, "up", *options],
            env={**ours, "DAYBOOK_DATA_DIR": str(self.data_dir), "DAYBOOK_PORT": "0"} | variables,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )
        return self

    def start_up(self, *options, **variables):
        before = self.said().count("Daybook is up.")
        self.start(*options, **variables)
        self.wait_until(lambda: self.said().count("Daybook is up.") > before, "the banner", 60)
        self.http = httpx.Client(base_url=self.endpoints().api, timeout=10, trust_env=False)
        return self

    def wait_until(self, condition, what, timeout_s=30.0):
        assert processes.wait_until(condition, timeout_s), (
            f"{what} did not come in {timeout_s} s:\n{self.said()}"
        )

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.process.wait(60)

    def said(self):
        return Path(self._output.name).read_text()

    def endpoints(self):
        return DataDir(self.data_dir).read_endpoints()

    def pid_of(self, name):
        address = self.endpoints().services.get(name)
        return None if address is None else address.pid

    def create(self, **job):
        answer = self.http.post("/api/v1/jobs", json={"job_type": "custom", **job})
        assert answer.status_code in (201, 202), answer.text  # 202: the archive will have it soon
        return answer.json()

    def executions(self, job, status="succeeded"):
        items = self.http.get(f"/api/v1/jobs/{job['id']}/executions").json().get("items", [])
        return [each for each in items if each["status"] == status]

    def close(self):
        if self.http is not None:
            self.http.close()
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGTERM)
        self._output.close()


@pytest.fixture
def make_daybook(tmp_path):
    made = []

    def make(name="data"):
        made.append(Daybook(tmp_path / name))
        sow(made[-1].data_dir)
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """One system for the tests that leave it as it was; the one that begins with nothing."""
    daybook = Daybook(tmp_path_factory.mktemp("up") / "data")
    yield daybook.start_up()
    daybook.close()


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """Another, told on its command line what the environment tells otherwise; the port it was told."""
    folder = tmp_path_factory.mktemp("beside")
    daybook = Daybook(folder / "given")
    sow(daybook.data_dir)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    daybook.start_up(
        "--port", port, "--executors", "2", "--data-dir", str(daybook.data_dir),
        DAYBOOK_DATA_DIR=str(folder / "other"), DAYBOOK_EXECUTORS="1",
    )  # fmt: skip
    yield daybook, port
    daybook.close()


def echo(**more):
    return {"name": "tick", "job_data": {"operation": "echo"}, **more}


def test_up_reaches_healthy_and_an_interval_job_shows_its_executions_and_events(running):
    assert running.http.get("/health").json()["status"] == "healthy"
    job = running.create(**echo(interval_seconds=2))
    running.wait_until(lambda: running.executions(job), "an execution")
    kinds = {each["type"] for each in running.http.get(f"/api/v1/jobs/{job['id']}/events").json()["items"]}
    assert {"io.daybook.job.created", "io.daybook.run.requested", "io.daybook.run.succeeded"} <= kinds


def test_recovering_by_hand_needs_only_the_data_directory(running):
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
    command = [*DAYBOOK, "recover", "--dry-run"]
    done = subprocess.run(
        command,
        env=ours | {"DAYBOOK_DATA_DIR": str(running.data_dir)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [f"partition {number}: open already" for number in range(4)]


def test_the_weekly_tidy_of_the_readme_is_accepted_and_there_at_once(running):
    tidy = {
        "name": "Weekly tidy",
        "description": "…",
        "job_type": "cleanup_task",
        "cron_expression": "0 9 * * 1",
        "job_data": {"cleanup_type": "temp_files", "retention_days": 7, "path": str(APPLICATION_CACHE)},
        "timeout_seconds": 1800,
        "max_retries": 3,
        "priority": 7,
    }
    answer = running.http.post("/api/v1/jobs", json=tidy)
    assert answer.status_code == 201
    job = answer.json()
    assert job["next_run_time"] is not None
    assert job["id"]
    assert running.http.get(f"/api/v1/jobs/{job['id']}").json() == job


def test_a_cleanup_really_deletes_under_the_default_root(running):
    place = running.data_dir / "files" / "old ones"
    place.mkdir()
    (place / "old").touch()
    os.utime(place / "old", (0, 0))
    data = {"cleanup_type": "temp_files", "retention_days": 1, "path": str(place)}
    job = running.create(name="tidy", job_type="cleanup_task", job_data=data)
    assert running.http.post(f"/api/v1/jobs/{job['id']}/trigger").status_code == 201
    running.wait_until(lambda: running.executions(job), "the cleanup")
    assert not (place / "old").exists()
    place.rmdir()


def test_samples_are_there_from_the_first_start_on_and_their_secrets_are_not_shown(running):
    assert "sales_data, financial_data, legacy_db, new_db; s3://backups" in running.said()
    data = {
        "operation": "echo",
        "parameters": {"key": {"$secret": "backup_key"}, "url": {"$secret": "legacy_db_url"}},
    }
    job = running.create(name="tell", job_data=data)
    running.http.post(f"/api/v1/jobs/{job['id']}/trigger")
    running.wait_until(lambda: running.executions(job), "the echo")
    [run] = running.executions(job)
    assert run["result"] == {"key": "***", "url": "***"}
    missing = running.create(
        name="miss", job_data={"operation": "echo", "parameters": {"a": {"$secret": "no"}}}
    )
    running.http.post(f"/api/v1/jobs/{missing['id']}/trigger")
    running.wait_until(lambda: running.executions(missing, "failed"), "the failure")
    key = (running.data_dir / "secrets" / "backup_key").read_text()
    assert key not in running.said()


def test_every_service_shows_its_pages_where_endpoints_json_says(running):
    services = running.endpoints().services
    assert set(services) == SERVICES
    for name, address in services.items():
        answer = httpx.get(f"{address.ops}/livez", trust_env=False)
        assert answer.status_code == 200, name
        assert httpx.get(f"{address.ops}/metrics", trust_env=False).status_code == 200, name


def test_each_child_is_named_on_its_command_line(running):
    for name, address in running.endpoints().services.items():
        assert processes.command_line(address.pid).strip().endswith(f"daybook {name}")


def test_a_ctrl_c_lets_work_in_hand_end_first_and_a_second_start_finds_its_data_again(make_daybook):
    daybook = make_daybook().start_up()
    job = daybook.create(**echo(interval_seconds=1))
    daybook.wait_until(lambda: daybook.executions(job), "an execution")
    nap = daybook.create(name="nap", job_data={"operation": "sleep", "parameters": {"seconds": 2}})
    daybook.http.post(f"/api/v1/jobs/{nap['id']}/trigger")
    daybook.wait_until(lambda: daybook.executions(nap, "running"), "the start")
    assert daybook.end() == 0
    assert daybook.endpoints() is None
    daybook.start_up()
    (run,) = daybook.executions(nap)
    assert run["attempt"] == 1
    assert daybook.http.get(f"/api/v1/jobs/{job['id']}").json()["name"] == "tick"
    before = len(daybook.executions(job))
    assert before >= 1
    daybook.wait_until(lambda: len(daybook.executions(job)) > before, "another execution")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_after_a_kill_of_up_itself_the_next_start_works_and_has_everything(make_daybook):
    daybook = make_daybook().start_up()
    jobs = [daybook.create(**echo(interval_seconds=1)) for _ in range(5)]
    daybook.end(signal.SIGKILL)
    daybook.start_up()
    for job in jobs:
        assert daybook.http.get(f"/api/v1/jobs/{job['id']}").status_code == 200
        daybook.wait_until(lambda job=job: daybook.executions(job), "an execution")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_work_goes_on_after_a_service_was_killed(running, name):
    before = running.pid_of(name)
    os.kill(before, signal.SIGKILL)
    running.wait_until(lambda: running.pid_of(name) not in (before, None), f"another {name}")
    job = running.create(**echo(interval_seconds=1))
    running.wait_until(lambda: running.executions(job), "an execution")
    running.wait_until(lambda: running.http.get("/health").status_code == 200, "health")


def test_work_goes_on_after_both_servers_were_killed(running):
    job = running.create(**echo(interval_seconds=1))
    for server in ("valkey", "postgres"):
        os.kill(processes.read_pid(running.data_dir / server / "server.pid"), signal.SIGKILL)
    running.wait_until(lambda: running.http.get("/health").status_code == 200, "health")
    assert running.http.get(f"/api/v1/jobs/{job['id']}").json()["name"] == "tick"
    known = {each["id"] for each in running.executions(job)}
    running.wait_until(lambda: {each["id"] for each in running.executions(job)} - known, "an execution")


def test_the_command_line_wins_over_the_environment(beside):
    daybook, port = beside
    assert daybook.endpoints().api == f"http://127.0.0.1:{port}"
    assert set(daybook.endpoints().services) == (SERVICES - {"executor"}) | {"executor-1", "executor-2"}
    assert not (daybook.data_dir.parent / "other").exists()


def test_a_second_up_and_a_taken_port_are_refused_with_a_sentence(running, make_daybook):
    second = Daybook(running.data_dir.parent / "second")
    assert second.start("--data-dir", str(running.data_dir)).process.wait(30) == 1
    assert f"already runs over {running.data_dir}" in second.said()
    second.close()
    other = make_daybook("other").start(DAYBOOK_PORT=running.endpoints().api.rpartition(":")[2])
    assert other.process.wait(30) == 1
    assert "is already in use" in other.said()
    assert "DAYBOOK_PORT" in other.said()


def test_two_systems_run_side_by_side(running, beside):
    other, _ = beside
    job = other.create(**echo(interval_seconds=1))
    other.wait_until(lambda: other.executions(job), "an execution")
    assert running.http.get(f"/api/v1/jobs/{job['id']}").status_code == 404
