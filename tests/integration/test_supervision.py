"""`daybook up` keeps its services and servers running, and ends them in order.

The servers are real; `stand_in.py` stands in for the services.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from services.up.restarts import Restarts
from shared.embedded import DataDir, processes
from tests.seed import sow

STAND_IN = Path(__file__).with_name("stand_in.py")
REPOSITORY = Path(__file__).parents[2]
SERVICES = {"api", "timer", "executor", "projector"}
PROGRAM = """
import sys
from shared import logs
from shared.settings import load
from services.up import Up
logs.configure("INFO", "json", "up")
sys.exit(Up(load(), command=[sys.executable, sys.argv[1]]).run())
"""
on_quiet = pytest.mark.xdist_group("supervision")  # where `quiet` is, for all that are content with one
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")


class System:
    """A `daybook up` of stand-ins over one data directory."""

    def __init__(self, data_dir, **settings):
        self.data_dir = data_dir
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._settings = {"DAYBOOK_PORT": "0", "DAYBOOK_DRAIN_SECONDS": "5"} | settings
        self._output = (data_dir.parent / f"{data_dir.name}.out").open("w+")
        self.process = None

    def start(self):
        sow(self.data_dir)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(STAND_IN)],
            env={**ours, "PYTHONPATH": str(REPOSITORY), "DAYBOOK_DATA_DIR": str(self.data_dir)}
            | self._settings,
            stdout=self._output,
            stderr=self._output,
            start_new_session=True,
        )
        return self

    def start_up(self):
        before = self.said().count("Daybook is up.")
        self.start()
        self.wait_until(lambda: self.said().count("Daybook is up.") > before, "the banner")
        return self

    def wait_until(self, condition, what, timeout_s=60.0):
        assert processes.wait_until(condition, timeout_s), (
            f"{what} did not come in {timeout_s} s:\n{self.said()}"
        )

    def end(self, number=signal.SIGINT, timeout_s=60.0):
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def said(self):
        return Path(self._output.name).read_text()

    def log(self):
        return [json.loads(line) for line in self.said().splitlines() if line.startswith("{")]

    def endpoints(self):
        return DataDir(self.data_dir).read_endpoints()

    def pid_of(self, name):
        address = self.endpoints().services.get(name)
        return None if address is None else address.pid

    def story(self, event=None):
        file = self.data_dir / "story"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [line for line in lines if event in (None, line["event"])]

    def server_pids(self):
        return [processes.read_pid(self.data_dir / each / "server.pid") for each in ("valkey", "postgres")]

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGTERM)
        self._output.close()


@pytest.fixture
def make_system(tmp_path):
    systems = []

    def make(name="data", **settings):
        systems.append(System(tmp_path / name, **settings))
        return systems[-1]

    yield make
    for system in systems:
        system.close()


@pytest.fixture
def system(make_system):
    return make_system().start_up()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    made = System(tmp_path_factory.mktemp("quiet") / "data")
    yield made.start_up()
    made.close()


@pytest.fixture
def quiet(lasting):
    """One system for the tests that leave it at work, if with other processes."""
    lasting.wait_until(
        lambda: is_there(lasting.endpoints().services) and None not in lasting.server_pids(), "all of it"
    )
    return lasting


def is_there(services):
    """Whether the processes that are told of are those at work: one that was killed is told of for a moment."""
    return set(services) == SERVICES and not any(is_gone(each.pid) for each in services.values())


def is_gone(pid):
    return processes.command_line(pid) == ""


def health(system):
    return httpx.get(f"{system.endpoints().api}/health", timeout=10, trust_env=False).json()


@on_quiet
def test_the_schema_is_made_before_any_service_starts(quiet):
    assert quiet.story()[0]["name"] == "migrate"
    assert {line["name"] for line in quiet.story("started")[1:]} == SERVICES


@on_quiet
def test_the_banner_and_endpoints_json_tell_where_everything_is(quiet):
    endpoints = quiet.endpoints()
    assert endpoints.pid == quiet.process.pid
    assert endpoints.redis.startswith("redis://:")
    assert endpoints.postgres.startswith("postgresql://daybook:")
    assert set(endpoints.services) == SERVICES
    assert endpoints.services["timer"].ops == "http://127.0.0.1:12345"
    assert (quiet.data_dir / "endpoints.json").stat().st_mode & 0o777 == 0o600
    for told in (f"{endpoints.api}/api/v1", f"{endpoints.api}/docs/", f"{endpoints.api}/health"):
        assert told in quiet.said()
    assert endpoints.postgres not in quiet.said()


@on_quiet
def test_children_keep_the_session_and_lead_a_group_of_their_own(quiet):
    for address in quiet.endpoints().services.values():
        assert os.getsid(address.pid) == os.getsid(quiet.process.pid)
        assert os.getpgid(address.pid) == address.pid


@on_quiet
def test_each_service_that_is_killed_is_back_within_a_second(quiet):
    starts = len(quiet.story("started"))
    for nth, name in enumerate(sorted(SERVICES), 1):
        before = quiet.pid_of(name)
        killed_s = time.monotonic()
        os.kill(before, signal.SIGKILL)
        quiet.wait_until(
            lambda name=name, before=before: quiet.pid_of(name) not in (before, None), f"another {name}"
        )
        assert time.monotonic() - killed_s < 1
        quiet.wait_until(lambda all_=starts + nth: len(quiet.story("started")) == all_, "its start")
        assert health(quiet)["path"] == "/health"


@on_quiet
def test_no_connection_is_refused_while_the_api_is_started_again(quiet):
    before = quiet.pid_of("api")
    os.kill(before, signal.SIGKILL)
    assert health(quiet)["pid"] != before  # it waited in the socket that `up` holds


@on_quiet
def test_a_server_that_is_killed_is_back_at_the_same_address(quiet):
    before, starts = quiet.endpoints(), len(quiet.story("started"))
    for pid in quiet.server_pids():
        os.kill(pid, signal.SIGKILL)
        quiet.wait_until(lambda pid=pid: pid not in quiet.server_pids(), "another server")
    quiet.wait_until(lambda: None not in quiet.server_pids(), "both servers")
    assert quiet.endpoints() == before
    os.kill(quiet.pid_of("timer"), signal.SIGKILL)  # its successor asks the server
    quiet.wait_until(lambda: len(quiet.story("started")) == starts + 1, "another timer")
    assert quiet.story("started")[-1]["servers"]


def test_services_end_before_the_servers_and_the_projector_after_the_others(system):
    servers = system.server_pids()
    assert system.end(signal.SIGTERM) == 0
    assert system.endpoints() is None
    stopped = system.story("stopped")
    assert {line["name"] for line in stopped} == SERVICES
    assert stopped[-1]["name"] == "projector"
    assert all(line["servers"] for line in stopped)
    assert all(is_gone(pid) for pid in servers)
    assert not (system.data_dir / "postgres/data/postmaster.pid").exists()  # a clean stop, no crash


@pytest.mark.long
def test_a_service_that_does_not_drain_in_time_is_killed(make_system):
    system = make_system(DAYBOOK_DRAIN_SECONDS="0")
    (system.data_dir / "linger-executor").touch()
    system.start_up()
    assert system.end() == 0
    assert "executor" not in {line["name"] for line in system.story("stopped")}
    assert "service killed" in system.said()


def test_a_second_ctrl_c_does_not_wait_for_the_drain(make_system):
    system = make_system(DAYBOOK_DRAIN_SECONDS="600")
    (system.data_dir / "linger-executor").touch()
    system.start_up()
    executor, servers = system.pid_of("executor"), system.server_pids()
    system.process.send_signal(signal.SIGINT)
    system.wait_until(lambda: len(system.story("stopped")) == 2, "the end of api and timer")
    assert system.process.poll() is None
    assert system.end() == 0
    assert all(is_gone(pid) for pid in (executor, *servers))


def test_a_service_that_dies_five_times_before_anything_worked_ends_the_start(make_system):
    system = make_system()
    (system.data_dir / "die-timer").write_text("3")
    system.start()
    assert system.process.wait(20) == 1
    assert "The timer ended 5 times within 10 s of the start, last with status 3" in system.said()
    assert len(system.story("dying")) == 5
    assert system.story("stopped")[-1]["name"] == "projector"


def test_a_service_that_keeps_dying_later_is_tried_with_growing_pauses(system):
    (system.data_dir / "die-timer").write_text("3")
    os.kill(system.pid_of("timer"), signal.SIGKILL)
    system.wait_until(lambda: '"pause_s":2.0' in system.said(), "a longer pause")
    (system.data_dir / "die-timer").unlink()
    system.wait_until(lambda: system.pid_of("timer") is not None, "the timer")
    deaths = [line for line in system.log() if line.get("name") == "timer"]
    assert [line["pause_s"] for line in deaths] == [0, 0, 0, 0, 1, 2]
    at = [datetime.fromisoformat(line["at"]) for line in deaths]
    assert (at[-1] - at[-2]).total_seconds() > 1


def test_a_schema_that_can_not_be_made_ends_the_start(make_system):
    system = make_system()
    (system.data_dir / "die-migrate").write_text("4")
    assert system.start().process.wait(20) == 1
    assert "The schema was not brought up to date (status 4)" in system.said()
    assert not system.story("started")


@on_quiet
def test_a_second_start_over_the_same_data_is_refused_with_a_sentence(quiet, make_system):
    second = make_system(DAYBOOK_DATA_DIR=str(quiet.data_dir))
    assert second.start().process.wait(20) == 1
    assert f"already runs over {quiet.data_dir} (process {quiet.process.pid})" in second.said()
    assert quiet.process.poll() is None
    assert health(quiet)


@on_quiet
def test_two_with_different_data_dirs_run_side_by_side(quiet, make_system):
    other = make_system("other").start_up()
    assert other.endpoints().api != quiet.endpoints().api
    assert other.endpoints().redis != quiet.endpoints().redis
    assert health(other)["pid"] != health(quiet)["pid"]


def test_a_port_that_is_taken_is_said_with_the_name_of_the_setting(make_system):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        system = make_system(DAYBOOK_PORT=str(port)).start()
        assert system.process.wait(20) == 1
    assert re.search(rf"daybook up: Port {port} .* is already in use.*DAYBOOK_PORT", system.said())


@linux_only
def test_after_a_kill_of_up_itself_nothing_is_left_and_the_next_start_works(system):
    port = system.endpoints().api.rsplit(":", 1)[1]
    everything = [*(each.pid for each in system.endpoints().services.values()), *system.server_pids()]
    system.end(signal.SIGKILL)
    system.wait_until(lambda: all(is_gone(pid) for pid in everything), "the end of everything")
    system._settings["DAYBOOK_PORT"] = port
    system.start_up()
    assert health(system)


@linux_only
@pytest.mark.long
def test_a_start_right_after_a_kill_of_up_ends_the_services_that_still_drain(make_system):
    system = make_system(DAYBOOK_PORT=str(processes.free_port()))
    (system.data_dir / "linger-api").touch()  # it holds the port until it has drained
    system.start_up()
    left, servers = system.pid_of("api"), system.server_pids()
    system.end(signal.SIGKILL)
    assert not is_gone(left)
    system.start_up()
    assert is_gone(left)
    assert not set(servers) & set(system.server_pids())
    (system.data_dir / "linger-api").unlink()


def test_a_signal_during_the_start_ends_it_cleanly(make_system):
    system = make_system().start()
    system.wait_until(lambda: None not in system.server_pids(), "the servers' processes")
    servers = system.server_pids()
    assert system.end() == 0
    assert all(is_gone(pid) for pid in servers)
    assert "Daybook is up." not in system.said()


def test_several_apis_share_one_port_and_executors_are_numbered(make_system):
    system = make_system(DAYBOOK_APIS="2", DAYBOOK_EXECUTORS="2").start_up()
    assert set(system.endpoints().services) == {
        "api-1", "api-2", "timer", "executor-1", "executor-2", "projector"
    }  # fmt: skip
    assert {each.ops for name, each in system.endpoints().services.items() if name.startswith("api")} == {
        system.endpoints().api
    }
    os.kill(system.pid_of("api-1"), signal.SIGKILL)
    assert health(system)


@on_quiet
def test_given_servers_are_used_and_none_is_started(quiet, make_system):
    given = quiet.endpoints()
    other = make_system("other", DAYBOOK_REDIS_URL=given.redis, DATABASE_URL=given.postgres).start_up()
    assert (other.endpoints().redis, other.endpoints().postgres) == (given.redis, given.postgres)
    assert other.server_pids() == [None, None]
    assert other.end() == 0
    assert not any(is_gone(pid) for pid in quiet.server_pids())


def test_restarts_are_immediate_until_five_deaths_in_ten_seconds_then_back_off():
    restarts = Restarts()
    assert [restarts.delay_after(died_s, 1.0) for died_s in (0, 2, 4, 6, 8)] == [0, 0, 0, 0, 1]
    assert [restarts.delay_after(died_s, 1.0) for died_s in range(10, 80, 10)] == [2, 4, 8, 16, 30, 30, 30]


def test_five_deaths_that_are_far_apart_are_no_reason_to_wait():
    restarts = Restarts()
    assert [restarts.delay_after(died_s, 3.0) for died_s in range(0, 60, 3)] == [0] * 20


def test_a_life_of_ten_seconds_makes_deaths_forgotten():
    restarts = Restarts()
    for died_s in range(6):
        restarts.delay_after(died_s, 0.5)
    assert restarts.delay_after(20.0, 10.0) == 0
    assert [restarts.delay_after(died_s, 0.1) for died_s in (20.1, 20.2, 20.3, 20.4)] == [0, 0, 0, 1]
