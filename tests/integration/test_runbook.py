"""The runbook: a section for each alarm, and each command in it is one that there is."""

import re

import asyncpg
import pytest
import yaml

from services.api.operations import OPERATIONS
from shared.metrics import Metrics, render
from tests.integration.databases import a_database
from tests.runbook import ALERTS, ANCHORS, DEPLOY, PARTS, SECTIONS, TEXT, lines, part, take, words_of

SHELL = (DEPLOY / "runbook.sh").read_text()
KINDS = re.findall(r"^(up|compose)\)\n(.*?)^ {4};;", SHELL, re.MULTILINE | re.DOTALL)
OTHERS = {"docker", "date", "export", "."}
SERVICES = {"api", "timer", "executor", "projector"}


def functions_of(text):
    return set(re.findall(r"^ {4}([a-z]\w*)\(\)", text, re.MULTILINE))


def calls_of(function):
    """The arguments of each call of a function of runbook.sh."""
    found = [words[1:] for words in map(words_of, lines(TEXT)) if words[0] == function]
    assert found, f"{function} is of no use"
    return found


@pytest.mark.parametrize("name", ALERTS)
def test_an_alarm_has_a_section_with_what_one_sees_where_to_look_and_what_to_do(name):
    places = [SECTIONS[name].index(f"**{each}.**") for each in PARTS]
    assert places == sorted(places)
    assert lines(part(name, "Look"))
    assert lines(part(name, "Do"))


def test_no_section_is_about_an_alarm_that_is_gone():
    assert {name for name in SECTIONS if name.startswith("Daybook")} == set(ALERTS)


def test_links_lead_to_sections():
    links = re.findall(r"\]\(#([^)]+)\)", TEXT)
    assert links
    assert set(links) <= ANCHORS


def test_each_loss_in_the_table_has_its_page_with_what_to_do():
    drills = TEXT.split("## Recovery drills\n")[1].split("\n## ")[0]
    pages = dict(re.findall(r"^### (\d)\. [^\n]+\n(.*?)(?=^###|\Z)", drills, re.MULTILINE | re.DOTALL))
    assert set(re.findall(r"^\| (\d)\. ", drills, re.MULTILINE)) == set(pages) == set("12345")
    assert all(lines(page) for page in pages.values())
    assert {
        path for path in re.findall(r"`(tests/\S+\.py)`", drills) if not (DEPLOY.parent / path).exists()
    } == set()


def test_each_command_is_one_that_there_is_whatever_runs_here():
    assert [name for name, _ in KINDS] == ["up", "compose"]
    used = {words_of(line)[0] for line in lines(TEXT)} - OTHERS
    for name, text in KINDS:
        assert functions_of(text) == used, name


def test_what_is_asked_in_containers_are_services_of_the_deployment():
    services = set(yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"])
    asked = set(re.findall(r"_in (?:-e .*? )?([a-z]+) ", dict(KINDS)["compose"]))
    assert asked == {"api", "prometheus", "postgres", "redis"}
    assert asked | SERVICES <= services


@pytest.mark.parametrize("words", calls_of("daybook"), ids=" ".join)
def test_each_daybook_command_takes_what_it_is_given(words):
    take(words)


def test_each_metric_that_is_shown_is_exported():
    page = render(Metrics(version="1").registry)[0].decode()
    for (name,) in calls_of("shown"):
        assert re.search(rf"^(# HELP )?{name}", page, re.MULTILINE), name


def test_each_service_that_is_asked_is_one():
    for function in ("page", "said", "again"):
        assert {words[0] for words in calls_of(function)} <= SERVICES
    assert {words[1] for words in calls_of("page")} <= {"livez", "readyz", "metrics"}


def test_each_request_is_one_that_the_api_takes():
    routes = {(each.method.upper(), each.path) for each in OPERATIONS}
    for method, path, *_ in calls_of("call"):
        assert (method, path.partition("?")[0]) in routes


async def test_each_question_to_postgres_is_one_that_it_understands(postgres):
    statements = {words[0] for words in calls_of("sql") if "$PID" not in words[0]}
    async with a_database(postgres) as url:
        connection = await asyncpg.connect(url)
        for each in statements:
            if not each.startswith("copy"):
                await connection.execute(f"explain {each}")
        await connection.close()
    assert len(statements) > 10
