"""Files of jobs, in YAML or JSON: each document a job, a list of jobs, or an object with `jobs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import click


class Written(NamedTuple):
    """A job as it stands in a file, and where."""

    job: dict[str, Any]
    where: str


def read_text(name: str) -> str:
    """The text of a file; `-` is stdin.

    Raises:
        click.UsageError: it can't be read, or is no text.
    """
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise click.UsageError(f"{name}: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{name} is not UTF-8.") from None


def jobs_in(names: tuple[str, ...]) -> list[Written]:
    """The jobs of all files, in their order.

    Raises:
        click.UsageError: one is no file of jobs, or a name stands twice.
    """
    found = [written for name in names for written in _in_file(name)]
    seen: dict[Any, str] = {}
    for job, where in found:
        name = job.get("name")
        if isinstance(name, str) and seen.setdefault(name, where) != where:
            raise click.UsageError(f"{where}: {name!r} is the name of {seen[name]} too.")
    return found


def one_job_in(name: str) -> dict[str, Any]:
    """The only job of a file.

    Raises:
        click.UsageError: there is another number.
    """
    found = _in_file(name)
    if len(found) != 1:
        raise click.UsageError(f"{name} has {len(found)} jobs; `daybook apply` takes several.")
    return found[0].job


def one_object_in(name: str) -> dict[str, Any]:
    """The only document of a file, which is an object.

    Raises:
        click.UsageError: there is something else.
    """
    from services.cli.yaml_text import BadYaml, load  # noqa: PLC0415

    try:
        found = load(read_text(name))
    except BadYaml as error:
        raise click.UsageError(f"{name}: {error}.") from None
    if not isinstance(found, dict):
        raise click.UsageError(f"{name} is not an object.")
    return found


def _in_file(name: str) -> list[Written]:
    from services.cli.yaml_text import BadYaml, load_all  # noqa: PLC0415

    try:
        documents = load_all(read_text(name))
    except BadYaml as error:
        raise click.UsageError(f"{name}: {error}.") from None
    trees: list[Any] = []
    for document in documents:
        if isinstance(document, dict) and set(document) == {"jobs"}:
            document = document["jobs"]  # noqa: PLW2901 - what is meant by it
        trees += document if isinstance(document, list) else [document]
    shown = "stdin" if name == "-" else name
    found = [Written(tree, f"{shown}, job {number}") for number, tree in enumerate(trees, start=1)]
    for tree, where in found:
        if not isinstance(tree, dict):
            raise click.UsageError(f"{where} is not an object.")
    return found
