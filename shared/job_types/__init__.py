"""The types of job there are, and whether a job's `job_data` fits its type.

The API checks at creation, the executor reads the same models; the doing is in `services/executor/handlers`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from shared.job_types import plugins
from shared.job_types.cleanup_task import CLEANUP_TASK
from shared.job_types.custom import CUSTOM
from shared.job_types.job_type import JobType, inside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

    from shared.job_types.plugins import Plugin

__all__ = ["BUILT_IN", "NOT_YET", "BadJobData", "Fault", "JobType", "Known", "check", "describe", "installed"]

BUILT_IN: dict[str, JobType] = {kind.name: kind for kind in (CUSTOM, CLEANUP_TASK)}
NOT_YET = frozenset(
    {"email_notification", "data_processing", "report_generation", "backup_task", "http_request"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong: a JSON pointer into the request, and a sentence."""

    pointer: str
    detail: str


class BadJobData(ValueError):  # noqa: N818 - an answer to a client, like a refusal
    """The job's type isn't known or its data doesn't fit it; `faults` has what is wrong where."""

    def __init__(self, *faults: Fault) -> None:
        """Collect what is wrong."""
        super().__init__("; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The job types that can be used here.

    Attributes:
        types: by name.
        plugins: those of them that come from other packages.
        refused: plug-ins that can't be used: name → why.
    """

    types: Mapping[str, JobType] = field(default_factory=lambda: BUILT_IN)
    plugins: Mapping[str, Plugin] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def installed() -> Known:
    """What is built in, and the plug-ins of this Python environment; imports them."""
    found = plugins.load(reserved=BUILT_IN.keys() | NOT_YET)
    theirs = {name: plugin.job_type for name, plugin in found.usable.items()}
    return Known(types=BUILT_IN | theirs, plugins=found.usable, refused=found.refused)


def check(
    job_type: str, job_data: Any, *, known: Known, files_roots: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """The data as it is to be kept: only what was given, in the model's spelling.

    Args:
        job_type: as the client wrote it.
        job_data: parsed JSON.
        known: the types there are.
        files_roots: the directories in which jobs may touch files.

    Raises:
        BadJobData: pointers begin with `#/job_type` or `#/job_data`.
    """
    kind = known.types.get(job_type)
    if kind is None:
        raise BadJobData(Fault(pointer="#/job_type", detail=_unknown(job_type, known)))
    if not isinstance(job_data, dict):
        raise BadJobData(Fault(pointer="#/job_data", detail="is not an object"))
    if kind.model is None:
        return job_data
    data = _fitted(kind, kind.model, job_data)
    outside = [
        _outside(name, files_roots) for name in kind.paths if not inside(Path(data[name]), files_roots)
    ]
    if outside:
        raise BadJobData(*outside)
    return data


def describe(known: Known) -> list[dict[str, Any]]:
    """What `GET /job-types` lists, by name."""
    return [
        {
            "name": kind.name,
            "description": kind.description,
            "source": kind.source,
            "schema": kind.schema(),
            "retried": kind.retried,
            "given_up": kind.given_up,
        }
        for _, kind in sorted(known.types.items())
    ]


def _unknown(job_type: str, known: Known) -> str:
    if job_type in NOT_YET:
        return f"{job_type} is not available yet"
    if job_type in known.refused:
        return f"the plug-in for {job_type} can't be used: {known.refused[job_type]}"
    return f"{job_type[:80]!r} is not known; there are {', '.join(sorted(known.types))}"


def _outside(name: str, roots: tuple[Path, ...]) -> Fault:
    where = ", ".join(map(str, roots)) or "none; the operator sets DAYBOOK_FILES_ROOTS"
    return Fault(
        pointer=f"#/job_data/{name}", detail=f"lies outside the directories jobs may touch ({where})"
    )


def _fitted(kind: JobType, model: type[BaseModel], job_data: dict[str, Any]) -> dict[str, Any]:
    try:
        fitted = model.model_validate(job_data)
        data = fitted.model_dump(mode="json", by_alias=True, exclude_unset=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise BadJobData(*(_fault(kind, each, job_data) for each in found)) from None
    if not isinstance(data, dict):
        raise TypeError(f"the model of {kind.name} doesn't describe an object")
    return data


def _fault(kind: JobType, error: ErrorDetails, job_data: dict[str, Any]) -> Fault:
    where = [str(part) for part in error["loc"]]
    if error["type"].startswith("union_tag_"):
        where = [kind.tag]
    elif kind.tag and where[:1] == [job_data.get(kind.tag)]:
        del where[0]  # pydantic says first which member of the union it tried
    path = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in where)
    return Fault(pointer=f"#/job_data{path}", detail=_sentence(kind, error))


def _sentence(kind: JobType, error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return "is not a field here"
        case "union_tag_not_found":
            return f"is required: one of {_tags(kind)}"
        case "union_tag_invalid":
            return f"{str(context['tag'])[:80]!r} is not known; there are {context['expected_tags']}"
        case "value_error":
            return str(context["error"])
        case _:
            return error["msg"]


def _tags(kind: JobType) -> str:
    return ", ".join(sorted(kind.schema().get("discriminator", {}).get("mapping", {})))
