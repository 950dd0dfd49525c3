"""The document of a run: what is kept as JSON, and what can be told from it, now or later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import figures
from .floors import LINES

if TYPE_CHECKING:
    from pathlib import Path

    from .figures import Result

FORMAT = 2
Document = dict[str, Any]
"""`format`, `machine`, `scale`, `command`, and `benches`: by name `what`; `raw`, `cpu` and `yardstick`, or `broken`."""


class BadDocumentError(Exception):
    """The file is no document of this version."""


def write(document: Document, path: Path) -> None:
    """Write it, compact, and keep its directory out of version control."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent.name.startswith("."):
        (path.parent / ".gitignore").write_text("*\n")
    path.write_text(json.dumps(document, separators=(",", ":"), ensure_ascii=False))


def read(path: Path) -> Document:
    """The document in a file.

    Raises:
        BadDocumentError: it is none.
    """
    try:
        document: Document = json.loads(path.read_text())
    except ValueError as error:
        raise BadDocumentError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BadDocumentError(f"{path.name} is not what `make bench` writes (format {FORMAT})")
    return document


def results(document: Document) -> dict[str, Result]:
    """Of every bench that has run to its end, computed anew."""
    return {
        name: figures.of(name, bench["raw"]) for name, bench in document["benches"].items() if "raw" in bench
    }


def stored(document: Document) -> dict[str, dict[str, Any]]:
    """Figures as they were written beside the rows."""
    return {name: bench["figures"] for name, bench in document["benches"].items() if "figures" in bench}


def is_judged(document: Document) -> bool:
    """Whether floors apply: they are meant for all of the work."""
    return bool(document["scale"] == 1)


def status(document: Document, *, strict: bool = False) -> int:
    """The exit status: 1 if a bench broke, if work was lost or doubled, or, when strict, below a floor."""
    found = results(document)
    failed = len(found) < len(document["benches"]) or any(result.faults for result in found.values())
    return int(failed or (strict and is_judged(document) and any(below(document).values())))


def below(document: Document) -> dict[str, list[str]]:
    """Figures below their floors, by bench."""
    return {
        name: [key for key, line in LINES[name].items() if not line.holds(result.figures[key])]
        for name, result in results(document).items()
    }
