"""`--help` of the commands: whole sentences, and for those that an operator needs at night an example."""

import re

import click
import pytest

from services.__main__ import main

OF_THE_RECORD = (
    "archive export",
    "archive import",
    "archive verify",
    "audit check",
    "audit key",
    "audit sign",
    "audit verify",
    "debug replay",
    "erase",
    "events diff",
    "explain",
    "missed",
    "personal-keys export",
    "personal-keys import",
    "recover",
    "replay",
    "simulate",
)


def commands(group, *names):
    for name, command in group.commands.items():
        yield " ".join([*names, name]), command
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)


COMMANDS = dict(commands(main))


def help_of(name):
    return COMMANDS[name].get_help(click.Context(COMMANDS[name], info_name=f"daybook {name}"))


@pytest.mark.parametrize("name", COMMANDS)
def test_nothing_of_how_it_is_written_shows(name):
    assert "\\b" not in help_of(name)
    assert "``" not in help_of(name)


@pytest.mark.parametrize("name", OF_THE_RECORD)
def test_there_is_an_example(name):
    assert re.search(rf"^ +(daybook .*)?daybook {name}\b", help_of(name), re.MULTILINE)
