"""Pages for operators: each `daybook` command in them takes what it is given there."""

import re
from pathlib import Path

import pytest

import shared
from tests.runbook import take, words_of

DEPLOY = Path(shared.__file__).parents[1] / "deploy"
PAGES = ("runbook.md", "kubernetes/README.md")


def commands(page):
    """The words after `daybook` in the lines of a page's blocks, whoever runs it where."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", (DEPLOY / page).read_text(), re.MULTILINE | re.DOTALL)
    lines = [
        line for kind, block in blocks if kind != "sh" for line in block.splitlines()
    ]  # `sh`: test_runbook's
    found = (re.match(r"(?:kubectl .* -- )?daybook (.*)", line) for line in lines)
    return [match[1] for match in found if match]


@pytest.mark.parametrize(("page", "text"), [(page, text) for page in PAGES for text in commands(page)])
def test_each_daybook_command_takes_what_it_is_given(page, text):
    take(words_of(text))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_commands(page):
    assert len(commands(page)) > 1
