"""Real processes with signals and sockets: what a service may rely on, and what its operator sees."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared import lifecycle
from shared.lifecycle import Health
from shared.metrics import Metrics
from shared.serving import bound_socket

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
