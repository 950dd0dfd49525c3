"""The OpenAPI 3.1 document, from the models that parse requests and make answers."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from services.api import door, jobs, lists, problems, runs
from services.api.apply_contract import ApplyBody, ApplyView
from services.api.bulk_contract import BulkBody, BulkView
from services.api.dead_letters import GROUPS, GROUPS_MAX
from services.api.operations import OPERATIONS, REF, Operation, ref
from services.api.requests import (
    ApiKeyBody,
    CancelBody,
    JobBody,
    JobPatch,
    PauseBody,
    RedriveBody,
    ResumeBody,
    RetryBody,
    RevertBody,
    TokenBody,
    TriggerBody,
)
from services.api.responses import (
    ApiKeyMadeView,
    ApiKeyView,
    DiffView,
    ErrorsView,
    ExecutionView,
    JobView,
    OutputView,
    RedriveView,
    RevisionJobView,
    RevisionView,
    TokenView,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

_BODIES: tuple[type[BaseModel], ...] = (
    JobBody, PauseBody, ResumeBody, TriggerBody, CancelBody, RetryBody, RedriveBody, ApiKeyBody, TokenBody,
    JobPatch, RevertBody, BulkBody, ApplyBody,
)  # fmt: skip
_VIEWS: tuple[type[BaseModel], ...] = (
    JobView, ExecutionView, OutputView, RedriveView, ErrorsView, ApiKeyView, ApiKeyMadeView, TokenView,
    RevisionView, RevisionJobView, DiffView, BulkView, ApplyView,
)  # fmt: skip
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "correlation_id", "errors"],
    "properties": {
        "type": {"type": "string", "examples": [f"/problems/{slug}" for slug in problems.KINDS]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what to do"},
        "instance": {"type": "string", "description": "the path asked"},
        "correlation_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer into the body, or ?parameter"},
                    "detail": {"type": "string"},
                },
            },
        },
        "current": {
            "type": "string",
            "description": "state in the write model (409), revision of the job (412)",
        },
    },
}
_EVENT = {
    "type": "object",
    "description": "A CloudEvents 1.0 event.",
    "required": ["specversion", "id", "source", "type", "subject", "time", "data", "sequence"],
    "properties": {
        name: {"type": "string"}
        for name in (
            "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataversion",
            "sequence", "partitionkey", "correlationid", "causationid", "actor", "traceparent",
        )
    } | {"data": {"type": "object"}},
}  # fmt: skip


_PARAMETERS: dict[str, dict[str, Any]] = {
    "attempt": {"type": "integer", "minimum": 1},
    "page": {"type": "integer", "minimum": 1, "maximum": lists.PAGE_MAX, "default": 1},
    "per_page": {"type": "integer", "minimum": 1, "maximum": lists.SIZE_MAX},
    "job_type": {"type": "string"},
    "job_id": {"type": "string", "format": "uuid"},
    "error_class": {"type": "string"},
    "error_fingerprint": {"type": "string", "description": "see GET /stats/errors"},
    "from": {"type": "string", "format": "date-time", "description": "ended at this time or later"},
    "to": {"type": "string", "format": "date-time", "description": "ended before this time"},
    "limit": {"type": "integer", "minimum": 1, "maximum": GROUPS_MAX, "default": GROUPS},
    door.POSITION_PARAMETER: {"type": "string", "examples": ["2:1763900000000-17"]},
}
_HEADERS: dict[str, dict[str, Any]] = {
    door.KEY_HEADER: {
        "type": "string",
        "description": "1 to 255 visible characters: within 24 hours, the same request again gets the first answer"
        " again, with Idempotency-Replayed: true",
    },
    "If-Match": {
        "type": "string",
        "description": "the ETag of the job, or *: its revision must still be this",
    },
    "If-None-Match": {"type": "string", "description": "ETags that the client has"},
}
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key (dbk_…) or a JSON Web Token"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "an API key (dbk_…)"},
}
_AUTH = (401, 403, 429)  # where DAYBOOK_AUTH is on
_STATUSES = {
    "list_jobs": jobs.STATUSES,
    "list_executions": runs.STATUSES,
    "list_job_executions": runs.STATUSES,
}


@cache
def document(version: str) -> str:
    """The document as JSON; made once."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _told(operation)
    return json.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Daybook",
                "version": version,
                "description": "An event-sourced job scheduler: what ran, when, why, and why not.",
            },
            "paths": paths,
            "components": {"schemas": _schemas(), "securitySchemes": _SCHEMES},
        }
    )


def _schemas() -> dict[str, dict[str, Any]]:
    _, bodies = models_json_schema([(model, "validation") for model in _BODIES], ref_template=REF)
    _, views = models_json_schema([(model, "serialization") for model in _VIEWS], ref_template=REF)
    return {**bodies["$defs"], **views["$defs"], "Problem": _PROBLEM, "Event": _EVENT}


def _told(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": list(_parameters(operation)),
        "responses": {str(status): _answer(status, schema) for status, schema in operation.answers.items()},
    }
    refusals = operation.refusals if operation.tag == "system" else (*operation.refusals, 500, 503)
    refusals += (412,) * operation.conditional + (428,) * operation.edits
    if operation.role is not None:
        refusals = (*_AUTH, *refusals)
    told["security"] = [] if operation.role is None else [{name: []} for name in _SCHEMES]
    told["x-role"] = operation.role
    told["responses"] |= {str(status): _refusal(status) for status in refusals}
    if operation.body is not None:
        types = (door.MERGE_PATCH,) * (operation.method == "patch") + ("application/json",)
        content = {each: {"schema": ref(operation.body)} for each in types}
        told["requestBody"] = {"required": not operation.optional, "content": content}
    return told


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name in ("job_id", "run_id", "key_id"):
        if f"{{{name}}}" in operation.path:
            schema = {"type": "string", "format": "uuid"}
            yield {"name": name, "in": "path", "required": True, "schema": schema}
    if "{number}" in operation.path:
        yield {
            "name": "number",
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        }
    reads = operation.method == "get" and operation.tag != "system"
    for name in (*operation.parameters, *((door.POSITION_PARAMETER,) if reads else ())):
        words = {"type": "string", "enum": list(_STATUSES.get(operation.name, ()))}
        told = {
            "name": name,
            "in": "query",
            "schema": words if name == "status" else _schema(operation, name),
        }
        required = operation.name == "diff_job_revisions" and name != door.POSITION_PARAMETER
        yield told | {"required": True} if required else told
    for name, is_taken in (
        (door.KEY_HEADER, operation.keyed),
        ("If-Match", operation.conditional),
        ("If-None-Match", 304 in operation.answers),  # noqa: PLR2004 - HTTP's number,
    ):
        if is_taken:
            yield {"name": name, "in": "header", "schema": _HEADERS[name]}
    if operation.method != "get" or reads:
        prefer = {"type": "string", "examples": ["wait=5", "respond-async"]}
        yield {"name": "Prefer", "in": "header", "schema": prefer}


def _schema(operation: Operation, name: str) -> dict[str, Any]:
    if operation.name == "diff_job_revisions" and name in {"from", "to"}:
        return {"type": "integer", "minimum": 1, "description": "number of a revision"}
    return _PARAMETERS[name]


def _answer(status: int, schema: Any) -> dict[str, Any]:
    words = {
        200: "Done", 201: "Made, and archived", 202: "Written; the archive lags: look at Location later",
        204: "Done", 304: "It is as If-None-Match says that you have it", 503: "It fails: the checks say what",
    }  # fmt: skip
    told: dict[str, Any] = {"description": words[status]}
    return told if schema is None else told | {"content": {"application/json": {"schema": schema}}}


def _refusal(status: int) -> dict[str, Any]:
    titles = [title for slug, (code, title) in problems.KINDS.items() if code == status]
    content = {problems.CONTENT_TYPE: {"schema": ref("Problem")}}
    return {"description": "; or: ".join(titles), "content": content}
