"""The runbook as data: its sections, their parts, and the command lines in their blocks of shell."""

import re
import shlex
from pathlib import Path

import click
import yaml

from services.__main__ import main

DEPLOY = Path(__file__).parents[1] / "deploy"
RULES = DEPLOY / "prometheus" / "rules" / "daybook.yml"
ALERTS = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
TEXT = (DEPLOY / "runbook.md").read_text()
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
ANCHORS = {
    re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
    for title in re.findall(r"^##+ (.+)$", TEXT, re.MULTILINE)
}
PARTS = ("Symptom", "Look", "Do")


def part(name, wanted):
    """One of the parts of a section."""
    text = SECTIONS[name].split(f"**{wanted}.**", 1)[1]
    return text.split(f"**{PARTS[PARTS.index(wanted) + 1]}.**", 1)[0] if wanted != PARTS[-1] else text


def lines(text):
    """The command lines in a text's blocks of shell."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def words_of(line):
    return shlex.split(line, comments=True)


def take(words):
    """Read the words after `daybook` as the command line would, and run nothing."""
    command, context, rest = main, click.Context(main, info_name="daybook"), list(words)
    while isinstance(command, click.Group):
        name, command, rest = command.resolve_command(context, rest)
        context = click.Context(command, info_name=name, parent=context)
    command.parse_args(context, rest)
