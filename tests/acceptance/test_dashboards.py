"""Every question of the dashboards and alarms is answered by a real Prometheus over the system at work."""

import asyncio
import math
import re
import time

import pytest

from tests.dashboards import BOARDS, asked_by, asked_by_rules, filled, panels

from .monitoring import FIRES, Monitoring
from .system import System, eventually

# Grafana asks for rates over four scrapes at least; and for an hour, if nobody says otherwise.
WINDOWS = {"__rate_interval": "12s", "__range": "1h"}
ANSWERED_S = 45.0  # the projector counts its ledgers every 15 s
ALARMS = asked_by_rules()
QUESTIONS = {name: [*asked_by(name)] for name in BOARDS} | {"alarms": ALARMS}
pytestmark = [pytest.mark.xdist_group("dashboards"), pytest.mark.timeout(180)]


class Seen:
    """The system under its jobs, who watches it, and what was last answered to each question."""

    def __init__(self, system, monitoring):
        self.system, self.monitoring = system, monitoring
        self.answers = {}

    def ask_until_all_is_answered(self):
        asked = [each for several in QUESTIONS.values() for each in several]
        until = time.monotonic() + ANSWERED_S
        while asked and time.monotonic() < until:
            for each in asked:
                self.answers[each] = self.monitoring.rows(filled(each.text, job_type="custom", **WINDOWS))
            asked = [each for each in asked if not _is_answered(self.answers[each])]
            time.sleep(0.2)

    def value(self, title, legend):
        """What a panel of the overview's first row shows now."""
        panel = next(each for each in panels(BOARDS["overview"]) if each["title"] == title)
        (text,) = (each["expr"] for each in panel["targets"] if each["legendFormat"] == legend)
        rows = self.monitoring.rows(filled(text, **WINDOWS))
        return rows[0][1] if rows else None


def _is_answered(rows):
    return any(math.isfinite(value) for _, value in rows)


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dashboards")
    system = System(directory / "data", replicas={"executor": 2})
    monitoring = None
    try:
        system.start()
        asyncio.run(_give_work(system))
        monitoring = Monitoring(system, directory / "monitoring")
        seen = Seen(system, monitoring)
        seen.ask_until_all_is_answered()
        yield seen
    finally:
        if monitoring:
            monitoring.end()
        system.destroy()


async def _give_work(system):
    """Jobs that run each second, well and badly, one of them paused; and questions, one of them wrong."""
    async with system.client() as http:
        for name, operation, more in (
            ("ticks", "echo", {"interval_seconds": 1}),
            ("fails", "fail", {"interval_seconds": 1, "max_retries": 0}),
            ("rests", "echo", {"cron_expression": "* * * * * *"}),
        ):
            body = {"name": name, "job_type": "custom", "job_data": {"operation": operation}, **more}
            answer = await http.post("/api/v1/jobs", json=body)
            assert answer.status_code in (201, 202), answer.text
        paused = await http.post(f"/api/v1/jobs/{answer.json()['id']}/pause", json={})
        assert paused.status_code in (200, 202), paused.text
        assert (await http.get("/api/v1/jobs?per_page=none")).status_code == 422


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_question_is_answered_with_numbers(seen, name):
    assert QUESTIONS[name]
    open_ = {each.where: each.text for each in QUESTIONS[name] if not _is_answered(seen.answers[each])}
    assert open_ == {}


@pytest.mark.parametrize("name", BOARDS)
def test_each_row_has_the_labels_that_its_name_is_made_of(seen, name):
    nameless = [
        (asked.where, labels)
        for asked in QUESTIONS[name]
        for labels, _ in seen.answers[asked]
        if not set(re.findall(r"{{(\w+)}}", asked.legend)) <= set(labels)
    ]
    assert nameless == []


def test_what_has_never_happened_is_0_and_so_its_first_time_is_a_rise(seen):
    for text, series in (
        ('daybook_runs_finished_total{job_type="http_request"}', 4 * 2),  # outcomes, executors
        ('daybook_attempts_total{job_type="http_request"}', 5 * 2),
        ("daybook_work_refused_total", 2),  # memory, backlog
    ):
        assert [value for _, value in seen.monitoring.rows(text)] == [0] * series, text


def test_the_job_types_to_choose_from_are_those_that_executors_serve(seen):
    (variable,) = (each for each in BOARDS["job-type"]["templating"]["list"] if each["name"] == "job_type")
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
    served = seen.monitoring.ask(f"label/{label}/values", **{"match[]": metric})
    assert {"custom", "http_request"} <= set(served)


def test_each_process_is_found_under_the_name_of_its_service(seen):
    def targets():
        return seen.monitoring.ask("targets", state="active")["activeTargets"]

    eventually(lambda: {each["health"] for each in targets()} == {"up"}, "all targets answer")
    found = sorted((each["labels"]["job"], each["labels"].get("service")) for each in targets())
    services = [("daybook", each.role) for each in seen.system.services.values()]
    assert found == sorted([*services, ("redis", None), ("postgres", None)], key=str)


def test_prometheus_evaluates_every_alarm_without_complaint(seen):
    groups = seen.monitoring.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {each["name"]: each["lastError"] for each in rules if each["health"] != "ok"} == {}
    assert len(rules) == len(ALARMS) + 1  # the test's own


def test_all_is_well_with_a_system_that_is_well(seen):
    for title, legend in (("Missing", "missing"), ("Down", "services"), ("Down", "targets")):
        # A machine that is busy with other tests may hold one of them up for a moment.
        eventually(lambda t=title, n=legend: seen.value(t, n) == 0, f"{title}: no {legend}")
    assert seen.value("Duplicates", "duplicates") == 0
    assert seen.value("Alarms", "tickets") == 0
    assert seen.value("Alarms", "pages") == 1, f"{FIRES['alert']} alone"
    assert 0 <= seen.value("Punctuality p99", "p99") < 60
    eventually(lambda: 0.2 < seen.value("Success", "succeeded") < 0.8, "one of two jobs fails")
    eventually(lambda: seen.value("Dead letters", "dead letters") > 0, "that leaves dead letters")


def test_a_service_that_is_gone_is_seen(seen):
    (timer,) = seen.system.of("timer")
    timer.kill()
    eventually(lambda: seen.value("Down", "services") == 1, "no timer is up")
    assert seen.value("Down", "targets") == 1
