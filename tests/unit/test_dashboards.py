"""Dashboards are files that nothing compiles: here they are held to what Grafana knows, and to what we export."""

import itertools
import json
import re

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard
from prometheus_client.metrics import MetricWrapperBase

from shared.metrics import PREFIX, Metrics, Pulled
from tests.dashboards import BOARDS, DEPLOY, always_answered, asked_by, asked_by_rules, filled, panels

GRID = 24
BUILT_IN = {"__all", "__rate_interval", "__range", "__url_time_range", "__field"}
OF_HISTOGRAM = re.compile(r"_(bucket|sum|count)$")
OF_PROMETHEUS = {"service", "instance", "job", "le"}  # labels that each series may have
UNITS = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}
# What Prometheus' own plugin adds to an annotation; the SDK has the common part.
OF_ITS_PLUGIN = re.compile(
    r"\$\.annotations\.list\[\d\]\.(target|tagKeys|textFormat|titleFormat|useValueForTime)\b"
)
PANELS = [panel for board in BOARDS.values() for panel in panels(board)]
ASKED = [each for name in BOARDS for each in asked_by(name)]
each_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def lost(ours, theirs, at="$"):
    """The places in `ours` that are missing or different in `theirs`."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [place for key in ours for place in lost(ours[key], theirs.get(key), f"{at}.{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            place
            for n, pair in enumerate(zip(ours, theirs, strict=True))
            for place in lost(*pair, f"{at}[{n}]")
        ]
    return [] if ours == theirs else [at]


@each_board
def test_grafana_knows_every_word_of_a_board(board):
    """Its own model reads the board, and writes all of it again: what is misspelt would be gone."""
    plugins.register_default_plugins()
    written = json.loads(JSONEncoder().encode(Dashboard.from_json(board)))
    assert [place for place in lost(board, written) if not OF_ITS_PLUGIN.match(place)] == []


def test_boards_have_addresses_that_stay():
    assert {name: board["uid"] for name, board in BOARDS.items()} == {
        "overview": "daybook-overview",
        "job-type": "daybook-job-type",
    }
    assert {board["schemaVersion"] for board in BOARDS.values()} == {41}


@each_board
def test_panels_stand_side_by_side_and_leave_no_hole(board):
    assert len({each["id"] for each in board["panels"]}) == len(board["panels"])
    taken = [
        (x, y)
        for at in (each["gridPos"] for each in board["panels"])
        for x, y in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
    ]
    depth = max(y for _, y in taken) + 1
    assert sorted(taken) == list(itertools.product(range(GRID), range(depth)))


@each_board
def test_a_title_is_given_once_in_a_row(board):
    said, row = set(), None
    for panel in board["panels"]:
        row = panel["title"] if panel["type"] == "row" else row
        assert (row, panel["title"]) not in said
        said.add((row, panel["title"]))


def test_each_panel_says_what_it_shows():
    silent = [each["title"] for each in PANELS if not re.fullmatch(r"[A-Z`].{30,}\.", each["description"])]
    unnamed = [each["title"] for each in PANELS if not all(one["legendFormat"] for one in each["targets"])]
    assert (silent, unnamed) == ([], [])


def test_each_panel_has_a_unit_that_grafana_knows():
    assert [each["title"] for each in PANELS if each["fieldConfig"]["defaults"]["unit"] not in UNITS] == []


def test_what_one_line_has_of_its_own_names_a_line():
    missed = [
        (panel["title"], each["matcher"]["options"])
        for panel in PANELS
        for each in panel["fieldConfig"]["overrides"]
        for legends in [[one["legendFormat"] for one in panel["targets"]]]
        if each["matcher"]["options"] not in legends and not any("{{" in one for one in legends)
    ]
    assert missed == []


def test_each_question_of_a_panel_has_a_letter_of_its_own():
    letters = {each["title"]: "".join(one["refId"] for one in each["targets"]) for each in PANELS}
    assert {title: each for title, each in letters.items() if not "ABCDEFGH".startswith(each)} == {}


def test_each_panel_asks_the_source_that_the_reader_chose():
    asking = [(panel["title"], each["datasource"]) for panel in PANELS for each in [panel, *panel["targets"]]]
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert [title for title, source in asking if source != chosen] == []


@each_board
def test_what_is_asked_first_is_the_source_that_is_provisioned(board):
    (source,) = _yaml("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    chosen = board["templating"]["list"][0]
    assert (chosen["name"], chosen["query"]) == ("datasource", source["type"])
    assert chosen["current"] == {"text": source["name"], "value": source["uid"]}


def test_no_rate_is_asked_over_less_than_prometheus_can_tell():
    (source,) = _yaml("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert (
        source["jsonData"]["timeInterval"] == _yaml("prometheus/prometheus.yml")["global"]["scrape_interval"]
    )


def test_grafana_looks_for_boards_where_compose_puts_them():
    (provider,) = _yaml("grafana/provisioning/dashboards/daybook.yml")["providers"]
    grafana = _yaml("compose.yaml")["services"]["grafana"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert "./grafana/provisioning:/etc/grafana/provisioning:ro" in grafana["volumes"]
    first = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert first == f"{provider['options']['path']}/overview.json"


@each_board
def test_variables_are_declared_and_links_lead_to_boards(board):
    text = json.dumps(board)
    declared = {each["name"] for each in board["templating"]["list"]}
    used = {found[0] or found[1] for found in re.findall(r"\$(\w+)|\$\{(\w+)[.}]", text)}
    assert used <= declared | BUILT_IN
    linked = set(re.findall(r'"/d/([\w-]+)', text))
    assert linked
    assert linked <= {each["uid"] for each in BOARDS.values()}
    for uid, name in re.findall(r'"/d/([\w-]+)\?var-(\w+)=', text):
        (there,) = (each for each in BOARDS.values() if each["uid"] == uid)
        assert name in {each["name"] for each in there["templating"]["list"]}


@each_board
def test_the_first_row_answers_by_colour(board):
    rows = [n for n, each in enumerate(board["panels"]) if each["type"] == "row"]
    first = board["panels"][1 : rows[1]]
    answers = [each for each in first if each["type"] == "stat"]
    assert board["panels"][0]["title"].endswith("?")
    assert {each["gridPos"]["y"] for each in answers} == {1}
    assert sum(each["gridPos"]["w"] for each in answers) == GRID
    assert all(each["options"]["colorMode"] == "background" for each in answers)


@pytest.mark.parametrize("title", ["Missing", "Duplicates"])
def test_one_broken_promise_is_red(title):
    (panel,) = (each for each in BOARDS["overview"]["panels"] if each["title"] == title)
    assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"] == [
        {"color": "green", "value": None},
        {"color": "red", "value": 1},
    ]


# Expressions.


def exported():
    """Every series of ours by its name, with its labels."""
    found = {f"{PREFIX}{name}_info": {"version"} for name in ("build", "tzdata")}
    for metric in vars(Metrics(version="1")).values():
        if isinstance(metric, MetricWrapperBase):
            endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(
                metric._type, [""]
            )
            found |= {metric._name + each: set(metric._labelnames) for each in endings}
        elif isinstance(metric, Pulled):
            found[metric._name] = set()
    return found


def test_only_series_and_labels_that_we_export_are_asked_for():
    series = exported()
    unknown = [
        (asked.where, name)
        for asked in [*ASKED, *asked_by_rules()]
        for name, selector in re.findall(rf"\b({PREFIX}\w+)(?:\{{([^}}]*)\}})?", asked.text)
        if not set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)) <= series.get(name, set()) | OF_PROMETHEUS
        or name not in series
    ]
    assert unknown == []


def test_a_prometheus_that_watches_more_than_daybook_is_asked_for_ours_alone():
    foreign = re.compile(r"\b(?:redis|pg|process)_\w+|\b(?:up|ALERTS)\b")
    unbound = [
        (each.where, found[0])
        for each in ASKED
        for found in foreign.finditer(each.text)
        if not re.match(r'\{(job=~?"(daybook|redis|postgres)|alertname=~"Daybook)', each.text[found.end() :])
    ]
    assert unbound == []


def test_the_manual_names_metrics_that_there_are():
    named = set(re.findall(rf"`({PREFIX}\w+)`", (DEPLOY.parent / "MANUAL.md").read_text()))
    assert named
    assert named <= {OF_HISTOGRAM.sub("", name) for name in exported()}


def test_each_metric_is_shown_somewhere():
    asked = {name for each in ASKED for name in re.findall(rf"\b{PREFIX}\w+", each.text)}
    assert {OF_HISTOGRAM.sub("", name) for name in exported()} - {
        OF_HISTOGRAM.sub("", name) for name in asked
    } == set()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("up == 0", "up == bool 0"),
        ("sum(rate(a[5m])) / sum(b > 0) > 0.5", "sum(rate(a[5m])) / sum(b > 0) > bool 0.5"),
        ('a{x=~"<b>", y!="c"} >= 1 and b < 2', 'a{x=~"<b>", y!="c"} >= bool 1 and b < bool 2'),
        ("a > bool 1", "a > bool 1"),
        ("sum(a)", "sum(a)"),
    ],
)
def test_a_quiet_alarm_answers_0(text, expected):
    assert always_answered(text) == expected


def test_variables_are_filled_in():
    assert filled('a{b=~"$c"}[$__d] ${c}', c="1", __d="2s") == 'a{b=~"1"}[2s] 1'


def _yaml(path):
    return yaml.safe_load((DEPLOY / path).read_text())
