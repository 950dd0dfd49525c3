"""The dashboards and alarms of `deploy/` as tests read them: boards, their panels, and each expression in them."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
BOARDS = {
    path.stem: json.loads(path.read_text()) for path in sorted(DEPLOY.glob("grafana/dashboards/*.json"))
}
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
INNERMOST = re.compile(r"\([^()]*\)|\{[^{}]*\}|\[[^\[\]]*\]")
COMPARISON = re.compile(r"(==|!=|>=|<=|>|<)(?!\s*bool\b)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """One question in PromQL; `legend` is what Grafana writes beside each row of the answer."""

    where: str
    text: str
    legend: str = ""


def panels(board):
    """The panels of a board but for its rows, those in closed rows too."""
    within = [inner for each in board["panels"] for inner in each.get("panels", [])]
    return [each for each in [*board["panels"], *within] if each["type"] != "row"]


def asked_by(name):
    """Every expression of a board: what its panels show, and what is marked in all of them."""
    board = BOARDS[name]
    shown = [
        Expression(
            where=f"{name}: {panel['title']}: {each['legendFormat']}",
            text=each["expr"],
            legend=each["legendFormat"],
        )
        for panel in panels(board)
        for each in panel["targets"]
    ]
    marks = board["annotations"]["list"]
    return shown + [
        Expression(where=f"{name}: {each['name']}", text=each["target"]["expr"]) for each in marks
    ]


def asked_by_rules():
    """Every expression of the alarms, as it answers when all is quiet: a comparison gives 0 instead of nothing."""
    return [
        Expression(
            where=f"{path.stem}: {rule.get('alert') or rule['record']}", text=always_answered(rule["expr"])
        )
        for path in sorted(DEPLOY.glob("prometheus/rules/*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]


def filled(text, **variables):
    """`text` with Grafana's `$variables` replaced."""
    return re.sub(r"\$(\w+)|\$\{(\w+)\}", lambda found: variables[found[1] or found[2]], text)


def always_answered(text):
    """`text` with its outermost comparisons as `bool`, which drop no row."""
    hidden = STRING.sub(lambda found: "_" * len(found[0]), text)
    while INNERMOST.search(hidden):
        hidden = INNERMOST.sub(lambda found: "_" * len(found[0]), hidden)
    for found in reversed(list(COMPARISON.finditer(hidden))):
        text = f"{text[: found.end()]} bool{text[found.end() :]}"
    return text
