"""Alarms: promtool's cases tell when each fires and when it does not, the runbook what to do about it."""

import re
import subprocess

import pytest
import yaml

from shared.metrics import Metrics
from tests.debian import program
from tests.runbook import ALERTS, DEPLOY, RULES

CASES = sorted((DEPLOY / "prometheus" / "tests").glob("*.yml"))


def promtool(*words, cwd=DEPLOY / "prometheus"):
    done = subprocess.run(
        [program("promtool", "prometheus"), *words], cwd=cwd, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def failures(directory, change):
    """The alarms whose cases fail when `change(rule)` was done to each."""
    rules = yaml.safe_load(RULES.read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            change(rule)
    for folder in ("rules", "tests"):
        (directory / folder).mkdir()
    (directory / "rules" / "daybook.yml").write_text(yaml.safe_dump(rules))
    for each in CASES:
        (directory / "tests" / each.name).write_text(each.read_text())
    status, said = promtool("test", "rules", *(f"tests/{each.name}" for each in CASES), cwd=directory)
    assert status == 1
    return {name for name in ALERTS if re.search(rf"\b{name}\b", said)}


def test_the_rules_are_well_formed():
    assert promtool("check", "rules", "rules/daybook.yml") == (
        0,
        f"Checking rules/daybook.yml\n  SUCCESS: {len(ALERTS)} rules found\n\n",
    )


def test_alarms_fire_and_stay_silent_as_their_cases_say():
    status, said = promtool("test", "rules", *(f"tests/{each.name}" for each in CASES))
    assert status == 0, said


def test_each_alarm_has_a_case_in_which_it_fires(tmp_path):
    assert failures(tmp_path, lambda rule: rule.update(expr="vector(0) > 0")) == set(ALERTS)


@pytest.mark.long  # three seconds of a processor, and it is about the cases alone
def test_each_alarm_has_a_case_in_which_it_is_silent_though_something_is_near(tmp_path):
    assert failures(tmp_path, lambda rule: rule.update(expr=_lowered(rule["expr"]))) == set(ALERTS)


def _lowered(expression):
    """Compared with less than can be: it fires as soon as there is anything to look at."""
    left, _ = _sides(expression)
    return f"{left} > -1e9"


def _sides(expression):
    found = re.fullmatch(r"(.+) > ([\d.]+)", expression, re.DOTALL)
    assert found, f"{expression} doesn't compare with a number at its top level"
    return found.groups()


@pytest.mark.long  # likewise
def test_each_alarm_that_waits_has_a_case_in_which_it_does(tmp_path):
    waiting = {name for name, rule in ALERTS.items() if "for" in rule}
    assert failures(tmp_path, lambda rule: rule.pop("for", None)) == waiting


def test_prometheus_takes_its_configuration_and_finds_the_rules_by_it():
    status, said = promtool("check", "config", "prometheus.yml")
    assert status == 0, said
    assert f"SUCCESS: {len(ALERTS)} rules found" in said


def test_alarms_ask_for_metrics_that_there_are():
    declared = {sample for family in Metrics(version="1").registry.collect() for sample in _series_of(family)}
    asked = {name for rule in ALERTS.values() for name in re.findall(r"\bdaybook_\w+", rule["expr"])}
    assert len(asked) > 10
    assert asked <= declared


def _series_of(family):
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
    return {family.name + suffix for suffix in suffixes}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alarm_says_how_urgent_it_is_and_where_it_is_explained(name):
    rule = ALERTS[name]
    assert name.startswith("Daybook")
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"runbook.md#{name.lower()}"
    _sides(rule["expr"])
