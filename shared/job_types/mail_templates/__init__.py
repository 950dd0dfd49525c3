"""Templates of mail: those that ship with Daybook stand beside this file, the operator's in DAYBOOK_TEMPLATES_DIR.

A template is `NAME.txt`, `NAME.html`, or both; an operator's goes before ours of the same name. They are Jinja, and
given `subject`, `job_name`, `run_id`, `scheduled_for` and the job's `context`. Jobs name templates, they bring none.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

OURS = Path(__file__).parent
PARTS = ("txt", "html")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def names(theirs: Path | None) -> tuple[str, ...]:
    """The templates there are, sorted.

    Args:
        theirs: the operator's directory; one that can't be read has none.
    """
    found = {path.stem for folder in _folders(theirs) for path in _files(folder)}
    return tuple(sorted(name for name in found if NAME.fullmatch(name)))


def parts(name: str, theirs: Path | None) -> dict[str, Path]:
    """The files of a template, by PARTS; none if there is no such template. Those of one template share a folder."""
    if NAME.fullmatch(name) is None:
        return {}
    for folder in _folders(theirs):
        found = {part: path for part in PARTS if (path := folder / f"{name}.{part}").is_file()}
        if found:
            return found
    return {}


def _folders(theirs: Path | None) -> tuple[Path, ...]:
    return (OURS,) if theirs is None else (theirs, OURS)


def _files(folder: Path) -> Iterable[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix[1:] in PARTS and path.is_file()]
    except OSError:
        return []
