"""What a template makes of a job's context: Jinja in a sandbox, for which values are only values.

The template is the operator's or ours, the values are the job's: text in them that looks like Jinja stays as it is, and
in HTML it is escaped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shared.job_types import mail_templates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jinja2.sandbox import SandboxedEnvironment

RENDERED_MAX = 1_000_000  # characters


class BadTemplate(ValueError):  # noqa: N818 - seen in a sentence
    """There is no such template, it is broken, or it needs a value that the context doesn't have."""


def rendered(name: str, values: Mapping[str, Any], theirs: Path | None) -> dict[str, str]:
    """The template's parts, by their kind: `txt`, `html`, or both.

    Args:
        name: of the template.
        values: what it may use; JSON, and nothing that has methods of its own to call.
        theirs: the operator's directory.

    Raises:
        BadTemplate: saying what is wrong where.
    """
    found = mail_templates.parts(name, theirs)
    if not found:
        raise BadTemplate(
            f"{name!r} is no template here; there are {', '.join(mail_templates.names(theirs))}"
        )
    made = {}
    for part, path in found.items():
        try:
            made[part] = _text(_environment(path.parent, part), path.name, values)
        except BadTemplate:
            raise
        except Exception as error:
            raise BadTemplate(f"{path.name}: {type(error).__name__}: {error}") from error
    return made


def _text(environment: SandboxedEnvironment, name: str, values: Mapping[str, Any]) -> str:
    pieces, size = [], 0
    for piece in environment.get_template(name).generate(dict(values)):
        size += len(piece)
        if size > RENDERED_MAX:
            raise BadTemplate(f"{name} makes more than {RENDERED_MAX:,} characters")
        pieces.append(piece)
    return "".join(pieces)


def _environment(folder: Path, part: str) -> SandboxedEnvironment:
    from jinja2 import FileSystemLoader, StrictUndefined  # noqa: PLC0415 - not before it is needed
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    return ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        autoescape=part == "html",
        trim_blocks=part == "html",
        keep_trailing_newline=True,
    )
