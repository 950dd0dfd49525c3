"""The OpenAPI 3.1 document, from the models that parse requests and make answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from services.api import door, jobs, lists, problems, runs
from services.api.answers import BASE
from services.api.requests import JobBody, PauseBody, ResumeBody, TriggerBody
from services.api.responses import ExecutionView, JobView

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

_BODIES: tuple[type[BaseModel], ...] = (JobBody, PauseBody, ResumeBody, TriggerBody)
_VIEWS: tuple[type[BaseModel], ...] = (JobView, ExecutionView)
_REF = "#/components/schemas/{model}"
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
        "current": {"type": "string", "description": "state in the write model (409)"},
    },
}
_EVENT = {
    "type": "object",
    "description": "A CloudEvents 1.0 event.",
    "required": ["specversion", "id", "source", "type", "subject", "time", "data", "sequence"],
    "properties": {
        name: {"type": "string"}
        for name in (
            "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataversion", "sequence",
            "partitionkey", "correlationid", "causationid", "actor", "traceparent",
        )
    } | {"data": {"type": "object"}},
}  # fmt: skip
_OBJECT = {"type": "object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One route, as the document tells it.

    Attributes:
        name: its operationId, and the name of its endpoint.
        answers: status → schema of the JSON; None for no body.
        body: the model of what is sent.
        optional: whether the body may be left out.
        parameters: of the query, beside min_position of every read.
        refusals: statuses of problems; 500 and 503 are everywhere.
    """

    method: str
    path: str
    name: str
    summary: str
    answers: dict[int, Any]
    body: type[BaseModel] | None = None
    optional: bool = False
    parameters: tuple[str, ...] = ()
    refusals: tuple[int, ...] = ()
    tag: str = "jobs"


def _ref(model: type[BaseModel] | str) -> dict[str, str]:
    return {"$ref": _REF.format(model=model if isinstance(model, str) else model.__name__)}


def _list_of(item: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["items", "page", "per_page", "total", "total_is_capped"],
        "properties": {
            "items": {"type": "array", "items": item},
            "page": {"type": "integer"},
            "per_page": {"type": "integer"},
            "total": {"type": "integer", "description": "exact up to 10,000"},
            "total_is_capped": {"type": "boolean"},
        },
    }


_JOB, _EXECUTION = _ref(JobView), _ref(ExecutionView)
_CHANGING = (400, 404, 409, 413, 415, 422)
OPERATIONS = (
    Operation(
        method="get", path=f"{BASE}/jobs", name="list_jobs", summary="Jobs, newest first",
        answers={200: _list_of(_JOB)}, parameters=(*lists.PARAMETERS, "status", "job_type"), refusals=(409, 422),
    ),
    Operation(
        method="post", path=f"{BASE}/jobs", name="create_job", summary="Define a job",
        answers={201: _JOB, 202: _JOB}, body=JobBody, refusals=(400, 413, 415, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}", name="get_job", summary="One job",
        answers={200: _JOB}, refusals=(404, 409, 422),
    ),
    Operation(
        method="put", path=f"{BASE}/jobs/{{job_id}}", name="replace_job",
        summary="Replace a job: what is left out takes its default",
        answers={200: _JOB, 202: _JOB}, body=JobBody, refusals=_CHANGING,
    ),
    Operation(
        method="delete", path=f"{BASE}/jobs/{{job_id}}", name="delete_job",
        summary="Delete a job; its executions and events stay readable",
        answers={204: None, 202: None}, refusals=(404, 422),
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/{{job_id}}/pause", name="pause_job", summary="Stop a job's schedule",
        answers={200: _JOB, 202: _JOB}, body=PauseBody, optional=True, refusals=_CHANGING,
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/{{job_id}}/resume", name="resume_job", summary="Let it go on",
        answers={200: _JOB, 202: _JOB}, body=ResumeBody, optional=True, refusals=_CHANGING,
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/{{job_id}}/trigger", name="trigger_job", summary="Run a job now",
        answers={201: _EXECUTION, 202: _EXECUTION}, body=TriggerBody, optional=True, refusals=_CHANGING,
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}/executions", name="list_job_executions", tag="executions",
        summary="Executions of a job, newest first", answers={200: _list_of(_EXECUTION)},
        parameters=(*lists.PARAMETERS, "status"), refusals=(404, 409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}/events", name="list_job_events", tag="events",
        summary="The story of a job and its executions, newest first",
        answers={200: _list_of(_ref("Event"))}, parameters=lists.PARAMETERS, refusals=(404, 409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/executions", name="list_executions", tag="executions",
        summary="Executions of all jobs, newest first", answers={200: _list_of(_EXECUTION)},
        parameters=(*lists.PARAMETERS, "status", "job_type", "job_id"), refusals=(404, 409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/executions/{{run_id}}", name="get_execution", tag="executions",
        summary="One execution", answers={200: _EXECUTION}, refusals=(404, 409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/job-types", name="list_job_types", summary="What a job can be",
        answers={200: _OBJECT}, refusals=(409, 422),
    ),
    Operation(
        method="get", path="/health", name="health", tag="system", summary="Whether the whole system works",
        answers={200: _OBJECT, 503: _OBJECT},
    ),
    Operation(
        method="get", path="/livez", name="livez", tag="system", summary="Whether this process lives",
        answers={200: _OBJECT, 503: _OBJECT},
    ),
    Operation(
        method="get", path="/readyz", name="readyz", tag="system", summary="Whether this process can work",
        answers={200: _OBJECT, 503: _OBJECT},
    ),
)  # fmt: skip
_PARAMETERS: dict[str, dict[str, Any]] = {
    "page": {"type": "integer", "minimum": 1, "maximum": lists.PAGE_MAX, "default": 1},
    "per_page": {"type": "integer", "minimum": 1, "maximum": lists.SIZE_MAX},
    "job_type": {"type": "string"},
    "job_id": {"type": "string", "format": "uuid"},
    door.POSITION_PARAMETER: {"type": "string", "examples": ["2:1763900000000-17"]},
}
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
            "components": {"schemas": _schemas()},
        }
    )


def _schemas() -> dict[str, Any]:
    _, bodies = models_json_schema([(model, "validation") for model in _BODIES], ref_template=_REF)
    _, views = models_json_schema([(model, "serialization") for model in _VIEWS], ref_template=_REF)
    return bodies["$defs"] | views["$defs"] | {"Problem": _PROBLEM, "Event": _EVENT}


def _told(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": list(_parameters(operation)),
        "responses": {str(status): _answer(status, schema) for status, schema in operation.answers.items()},
    }
    refusals = operation.refusals if operation.tag == "system" else (*operation.refusals, 500, 503)
    told["responses"] |= {str(status): _refusal(status) for status in refusals}
    if operation.body is not None:
        content = {"application/json": {"schema": _ref(operation.body)}}
        told["requestBody"] = {"required": not operation.optional, "content": content}
    return told


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name in ("job_id", "run_id"):
        if f"{{{name}}}" in operation.path:
            schema = {"type": "string", "format": "uuid"}
            yield {"name": name, "in": "path", "required": True, "schema": schema}
    reads = operation.method == "get" and operation.tag != "system"
    for name in (*operation.parameters, *((door.POSITION_PARAMETER,) if reads else ())):
        words = {"type": "string", "enum": list(_STATUSES.get(operation.name, ()))}
        yield {"name": name, "in": "query", "schema": words if name == "status" else _PARAMETERS[name]}
    if operation.method != "get" or reads:
        prefer = {"type": "string", "examples": ["wait=5", "respond-async"]}
        yield {"name": "Prefer", "in": "header", "schema": prefer}


def _answer(status: int, schema: Any) -> dict[str, Any]:
    words = {
        200: "Done", 201: "Made, and archived", 202: "Written; the archive lags: look at Location later",
        204: "Done", 503: "It fails: the checks say what",
    }  # fmt: skip
    told: dict[str, Any] = {"description": words[status]}
    return told if schema is None else told | {"content": {"application/json": {"schema": schema}}}


def _refusal(status: int) -> dict[str, Any]:
    titles = [title for slug, (code, title) in problems.KINDS.items() if code == status]
    content = {problems.CONTENT_TYPE: {"schema": _ref("Problem")}}
    return {"description": "; or: ".join(titles), "content": content}
