"""The types of job there are, and whether a job's `job_data` fits its type.

The API checks at creation, the executor reads the same models; the doing is in `services/executor/handlers`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from shared.job_types import plugins, secrets
from shared.job_types.backup_task import BACKUP_TASK
from shared.job_types.catalog import Catalog
from shared.job_types.cleanup_task import CLEANUP_TASK
from shared.job_types.custom import CUSTOM, with_operations
from shared.job_types.data_processing import DATA_PROCESSING
from shared.job_types.email_notification import EMAIL_NOTIFICATION
from shared.job_types.http_request import HTTP_REQUEST
from shared.job_types.job_type import Fault, JobType
from shared.job_types.report_generation import REPORT_GENERATION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

    from shared.job_types.plugins import Plugin

__all__ = [
    "BUILT_IN",
    "BadJobData",
    "Catalog",
    "Fault",
    "JobType",
    "Known",
    "check",
    "describe",
    "installed",
    "is_the_deployments",
    "of_plugins",
]

BUILT_IN: dict[str, JobType] = {
    kind.name: kind
    for kind in (
        BACKUP_TASK,
        CLEANUP_TASK,
        CUSTOM,
        DATA_PROCESSING,
        EMAIL_NOTIFICATION,
        HTTP_REQUEST,
        REPORT_GENERATION,
    )
}

NOTHING_OFFERED = Catalog()
NOBODY: Mapping[str, str] = MappingProxyType({})
NO_SECRET = f"has the key $secret but names no secret: {secrets.HOW}"


class BadJobData(ValueError):  # noqa: N818 - an answer to a client, like a refusal
    """The job's type isn't known or its data doesn't fit it; `faults` has what is wrong where."""

    def __init__(self, *faults: Fault) -> None:
        """Collect what is wrong."""
        super().__init__("; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """The job types that can be used here; each is itself only, so that what is made of one may be kept by it.

    Attributes:
        types: by name.
        plugins: those of them that come from other packages.
        refused: plug-ins that can't be used: name → why.
    """

    types: Mapping[str, JobType] = field(default_factory=lambda: BUILT_IN)
    plugins: Mapping[str, Plugin] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)


def installed(modules: Sequence[str] = ()) -> Known:
    """What is built in, and the plug-ins of this Python environment; imports them.

    Args:
        modules: those of DAYBOOK_HANDLERS, whose handlers need no package.

    Raises:
        BadModule: one of the modules can't serve.
    """
    found = plugins.load(reserved=BUILT_IN.keys(), modules=modules)
    return of_plugins(found.usable, refused=found.refused)


def of_plugins(usable: Mapping[str, Plugin], *, refused: Mapping[str, str] = NOBODY) -> Known:
    """What is built in, and these: each a type of its own, and an operation of `custom`."""
    theirs = {name: plugin.job_type for name, plugin in usable.items()}
    custom = {CUSTOM.name: with_operations(usable)}
    return Known(types=BUILT_IN | custom | theirs, plugins=usable, refused=refused)


def check(
    job_type: str, job_data: Any, *, known: Known, catalog: Catalog = NOTHING_OFFERED
) -> dict[str, Any]:
    """The data as it is to be kept: only what was given, in the model's spelling.

    Args:
        job_type: as the client wrote it.
        job_data: parsed JSON.
        known: the types there are.
        catalog: what this deployment offers them.

    Raises:
        BadJobData: pointers begin with `#/job_type` or `#/job_data`.
    """
    kind = known.types.get(job_type)
    if kind is None:
        raise BadJobData(Fault(pointer="#/job_type", detail=_unknown(job_type, known)))
    if why := kind.why_not():
        raise BadJobData(Fault(pointer="#/job_type", detail=f"{job_type} {why}"))
    if not isinstance(job_data, dict):
        raise BadJobData(Fault(pointer="#/job_data", detail="is not an object"))
    if wrong := [Fault(pointer=_pointer(where), detail=NO_SECRET) for where in secrets.misspelt(job_data)]:
        raise BadJobData(*wrong)
    return job_data if kind.model is None else _fitted(kind, kind.model, job_data, catalog)


def is_the_deployments(job_type: str, job_data: dict[str, Any], *, known: Known) -> bool:
    """Whether data that `check` has returned is about the deployment as a whole, so that only its admins may say so."""
    kind = known.types.get(job_type)
    if kind is None or kind.model is None or kind.is_the_deployments is None:
        return False
    return kind.is_the_deployments(kind.model.model_validate(job_data))


def describe(known: Known) -> list[dict[str, Any]]:
    """What `GET /job-types` lists, by name."""
    return [
        {
            "name": kind.name,
            "description": kind.description,
            "source": kind.source,
            "schema": kind.schema(),
            "result": None if kind.result is None else kind.result.model_json_schema(mode="serialization"),
            "extra": kind.extra or None,
            "available": not kind.why_not(),
            "why_not": kind.why_not() or None,
            "retried": kind.retried,
            "given_up": kind.given_up,
        }
        for _, kind in sorted(known.types.items())
    ]


def _unknown(job_type: str, known: Known) -> str:
    if job_type in known.refused:
        return f"the plug-in for {job_type} can't be used: {known.refused[job_type]}"
    return f"{job_type[:80]!r} is not known; there are {', '.join(sorted(known.types))}"


def _fitted(
    kind: JobType, model: type[BaseModel], job_data: dict[str, Any], catalog: Catalog
) -> dict[str, Any]:
    try:
        fitted = model.model_validate(job_data)
        data = fitted.model_dump(mode="json", by_alias=True, exclude_unset=True)
    except ValidationError as error:
        return _forgiven(kind, error, job_data)
    if not isinstance(data, dict):
        raise TypeError(f"the model of {kind.name} doesn't describe an object")
    if kind.check is not None and (faults := list(kind.check(fitted, catalog))):
        raise BadJobData(*faults)
    return data


def _forgiven(kind: JobType, error: ValidationError, job_data: dict[str, Any]) -> dict[str, Any]:
    """The data as it was given, if its model only stumbles over secrets that a plug-in will find revealed.

    Raises:
        BadJobData: there is more to it, or the type is ours: its model knows where secrets stand.
    """
    found = error.errors(include_url=False, include_input=False)
    if kind.is_theirs(job_data):
        found = [each for each in found if not _secret_at(_where(kind, each, job_data), job_data)]
    if found:
        raise BadJobData(*(_fault(kind, each, job_data) for each in found)) from None
    return job_data


def _fault(kind: JobType, error: ErrorDetails, job_data: dict[str, Any]) -> Fault:
    where = _where(kind, error, job_data)
    if error["type"] != "value_error" and _secret_at(where, job_data):
        return Fault(pointer=_pointer(where), detail="takes a value of its own, not a secret")
    return Fault(pointer=_pointer(where), detail=_sentence(kind, error))


def _where(kind: JobType, error: ErrorDetails, job_data: dict[str, Any]) -> list[str | int]:
    """The way to what is wrong: pydantic says first which member of a union it tried."""
    where = list(error["loc"])
    if error["type"].startswith("union_tag_"):
        return [kind.tag]
    return where[1:] if kind.tag and where[:1] == [job_data.get(kind.tag)] else where


def _pointer(where: Sequence[str | int]) -> str:
    return "#/job_data" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in where)


def _secret_at(where: Sequence[str | int], value: Any) -> bool:
    """Whether the way into `value` ends at a reference to a secret, or passes one."""
    for part in where:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        if secrets.is_reference(value):
            return True
    return False


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
