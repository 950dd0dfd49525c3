"""The OpenAPI 3.1 document, from the models that parse requests and make answers."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from services.api import door, event_filter, list_query, lists, problems
from services.api.apply_contract import ApplyView
from services.api.bulk_contract import OPERATION_MODELS, BulkView
from services.api.cursors import LENGTH_MAX
from services.api.dead_letters import GROUPS, GROUPS_MAX
from services.api.explain_contract import ExplanationView
from services.api.forecasts import BUCKET, BUCKET_PATTERN, BUCKETS_MAX
from services.api.list_query import SHAPES
from services.api.moments import AS_OF
from services.api.openapi_examples import ETAG, EXAMPLES, POSITION
from services.api.openapi_links import links
from services.api.operations import OPERATIONS, REF, Operation, ref
from services.api.previews import COUNT
from services.api.principals import LISTED, LISTED_MAX
from services.api.requests import PREVIEWED_MAX, WORD
from services.api.responses import (
    ApiKeyMadeView,
    ApiKeyView,
    BackfillDryRunView,
    BackfillView,
    CalendarView,
    DiffView,
    ErasureView,
    ErrorsView,
    ExecutionView,
    ForecastView,
    JobTypesView,
    JobView,
    MissedView,
    NextView,
    OutputView,
    PreviewView,
    PrincipalsView,
    RedriveView,
    RevisionJobView,
    RevisionView,
    SwitchView,
    TokenView,
)
from services.api.revisions import REVISION_MAX
from services.api.simulation_contract import COUNT as AHEAD
from services.api.simulation_contract import COUNT_MAX as AHEAD_MAX
from services.api.simulation_contract import SimulationView
from shared.domain import calendar
from shared.mail_folder import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from shared.job_types import Known

_BODIES = (*dict.fromkeys(each.body for each in OPERATIONS if each.body is not None), *OPERATION_MODELS)
_VIEWS: tuple[type[BaseModel], ...] = (
    JobView, ExecutionView, MissedView, OutputView, RedriveView, ErrorsView, ApiKeyView, ApiKeyMadeView, TokenView,
    RevisionView, RevisionJobView, DiffView, PrincipalsView, BulkView, ApplyView, JobTypesView, SwitchView,
    BackfillView, BackfillDryRunView, ErasureView,
    PreviewView, NextView, ForecastView, CalendarView, SimulationView, ExplanationView,
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
                    "pointer": {
                        "type": "string",
                        "description": "JSON pointer into the body, ?parameter, or the name of a header",
                    },
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
_ID = {
    "type": "string",
    "format": "uuid",
    "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
}
_TAGS = r'^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$'
_LIMITS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy")
_PLACES: dict[str, Any] = {
    "type": "string",
    "pattern": "^[0-9]{1,4}:[0-9]{1,16}-[0-9]{1,16}(,[0-9]{1,4}:[0-9]{1,16}-[0-9]{1,16})*$",
}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "attempt": {"type": "integer", "minimum": 1},
    "page": {"type": "integer", "minimum": 1, "maximum": lists.PAGE_MAX, "default": 1},
    "per_page": {"type": "integer", "minimum": 1, "maximum": lists.SIZE_MAX},
    "job_type": {"type": "string", "pattern": WORD},
    "job_id": _ID,
    "from": {"type": "string", "format": "date-time", "description": "ended at this time or later"},
    "to": {"type": "string", "format": "date-time", "description": "ended before this time"},
    "limit": {
        "type": "integer",
        "minimum": 1,
        "maximum": lists.SIZE_MAX,
        "description": "items of a slice; goes with cursor, not with page",
    },
    door.POSITION_PARAMETER: {
        **_PLACES,
        "description": "<partition>:<epoch>-<pos>: the answer is no older than this Daybook-Position",
    },
    AS_OF: {
        "type": "string",
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]|^[0-9]{1,4}:[0-9]{1,16}-[0-9]{1,16}",
        "description": "what there was at a time (2026-11-27T03:00:00Z), or after the events at these positions "
        "(Daybook-Position); a list then goes by id, in slices, filtered by owner, job_type and created_at alone",
    },
    "execution_id": _ID,
    "type": {
        "type": "array",
        "items": {"type": "string", "enum": list(event_filter.TYPES)},
        "description": "may be repeated; names such as JobCreated are taken as well",
    },
    "actor": {"type": "string", "description": "who was behind it"},
    "cursor": {"type": "string", "maxLength": LENGTH_MAX, "description": "next_cursor of the slice before"},
    "after": {**_PLACES, "description": "only what follows, in the partitions that it names"},
    "before": {**_PLACES, "description": "only what comes before, in the partitions that it names"},
    "last_event_id": {**_PLACES, "description": "as the header Last-Event-ID, which goes before it"},
    **{name: {"type": "string", "format": "date-time"} for name in event_filter.TIMES},
}
_SWITCHED: dict[str, dict[str, Any]] = {
    "tag": {
        "type": "string",
        "minLength": 1,
        "maxLength": list_query.TAG_MAX,
        "examples": ["night"],
        "description": "the jobs with it; this or `all`",
    },
    "all": {"type": "string", "const": "true", "description": "all jobs; this or `tag`"},
    "cursor": {**_ID, "description": "next_cursor of the answer before"},
}
_SPAN: dict[str, dict[str, Any]] = {
    "from": {"type": "string", "format": "date-time", "description": "default: a day before `to`"},
    "to": {"type": "string", "format": "date-time", "description": "default: now"},
    "limit": {"type": "integer", "minimum": 1, "maximum": LISTED_MAX, "default": LISTED},
}
_NEXT: dict[str, dict[str, Any]] = {
    "from": {"type": "string", "format": "date-time", "description": "only those after this time"},
    "count": {"type": "integer", "minimum": 1, "maximum": PREVIEWED_MAX, "default": COUNT},
}
_EXPLAIN: dict[str, dict[str, Any]] = {
    "at": {
        "type": "string",
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]|^[0-9]{1,4}:[0-9]{1,16}-[0-9]{1,16}",
        "description": "why it ran or did not in the second from this time on (2026-11-27T03:00:00+01:00); of a "
        "position (Daybook-Position), why it was as it was after the event there",
    },
}
_FORECAST: dict[str, dict[str, Any]] = {
    "from": {
        "type": "string",
        "format": "date-time",
        "description": "default: the beginning of the bucket that is now, counted from 1970; whole seconds",
    },
    "to": {"type": "string", "format": "date-time", "description": "default: a day after `from`"},
    "bucket": {
        "type": "string",
        "pattern": BUCKET_PATTERN,
        "default": BUCKET,
        "description": f"90, 90s, 5m, 1h or 1d; at most {BUCKETS_MAX:,} of them",
    },
}
_SIMULATE: dict[str, dict[str, Any]] = {
    "since": {
        "type": "string",
        "format": "date-time",
        "description": "the past begins here, at most 31 days back; default: a week ago, or when the job was made",
    },
    "until": {
        "type": "string",
        "format": "date-time",
        "description": "the future ends here, or the past, if this is over; default: in a day",
    },
    "count": {
        "type": "integer",
        "minimum": 1,
        "maximum": AHEAD_MAX,
        "default": AHEAD,
        "description": "and after so many occurrences",
    },
}
_HEADERS: dict[str, dict[str, Any]] = {
    door.KEY_HEADER: {
        "type": "string",
        "pattern": "^[!#-~][!-~]{0,254}$",
        "description": "1 to 255 visible characters: within 24 hours, the same request again gets the first answer"
        " again, with Idempotency-Replayed: true",
    },
    "If-Match": {
        "type": "string",
        "pattern": _TAGS,
        "description": "the ETag of it, or *: its revision must still be this",
    },
    "Last-Event-ID": {
        **_PLACES,
        "description": "the id sent last: the stream goes on after it, without a gap or a repeat",
    },
    "If-None-Match": {"type": "string", "pattern": _TAGS, "description": "ETags that the client has"},
}
_TOLD: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "type": "string",
        "description": "the correlation id of all that this request brings about",
    },
    "Location": {
        "type": "string",
        "format": "uri-reference",
        "description": "where what it made or changed stands",
    },
    "ETag": {"type": "string", "examples": [ETAG], "description": "revision and state of the job"},
    "Daybook-Position": {
        "type": "string",
        "examples": [POSITION],
        "description": "where what was written stands in the log; left out if there was nothing to write. Of as_of: "
        "after which events it was so",
    },
    "Idempotency-Replayed": {"const": "true", "description": "it is the first answer, again"},
    "Retry-After": {"type": "integer", "minimum": 1, "description": "seconds"},
    "Link": {
        "type": "string",
        "description": "RFC 8288: first, prev, next and last, as far as there are any",
    },
    "RateLimit-Limit": {"type": "integer", "description": "requests at once"},
    "RateLimit-Remaining": {"type": "integer", "description": "of them, now"},
    "RateLimit-Reset": {"type": "integer", "description": "seconds until all of them are there again"},
    "RateLimit-Policy": {
        "type": "string",
        "description": "requests at once; w: seconds in which they come back",
    },
    "WWW-Authenticate": {"type": "string"},
}
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "an API key (dbk_…) or a JSON Web Token"},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "an API key (dbk_…)"},
}
_REVISION = {
    "type": "integer", "minimum": 1, "maximum": REVISION_MAX, "description": "number of a revision",
}  # fmt: skip
_NAMES = re.compile(r"{(\w+)}")
_HEAD = (414, 431)  # a query or headers that are too long, on any path
_AUTH = (401, 403, 429)  # where DAYBOOK_AUTH is on
_LIST_EVENTS: dict[str, dict[str, Any]] = {
    "sort": {"type": "string", "enum": list(event_filter.ORDERS), "default": event_filter.ORDERS[0]},
    "limit": {"type": "integer", "minimum": 1, "maximum": lists.SIZE_MAX},
    "cursor": {**_PLACES, "description": "next_cursor of the answer before"},
}
_OWN = {
    "list_events": _LIST_EVENTS,
    "list_principals": _SPAN,
    "list_next_occurrences": _NEXT,
    "forecast": _FORECAST,
    "explain_job": _EXPLAIN,
    "simulate_job": _SIMULATE,
    "pause_jobs": _SWITCHED,
    "resume_jobs": _SWITCHED,
}
"""Parameters that are something else elsewhere, by operation."""


@cache
def document(version: str, known: Known) -> str:
    """The document as JSON, with the job types that are installed.

    Made once for them: it takes longer than all else that an application needs.
    """
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
            "components": {"schemas": _schemas(known), "securitySchemes": _SCHEMES},
        }
    )


def _schemas(known: Known) -> dict[str, dict[str, Any]]:
    _, bodies = models_json_schema([(model, "validation") for model in _BODIES], ref_template=REF)
    _, views = models_json_schema([(model, "serialization") for model in _VIEWS], ref_template=REF)
    made = {**bodies["$defs"], **views["$defs"], "Problem": _PROBLEM, "Event": _EVENT}
    made["JobPatch"]["properties"] = _mergeable(made["JobBody"]["properties"])
    made |= _typed(made["JobBody"], known)
    return {name: _exemplified(name, schema) for name, schema in made.items()}


def _typed(job: dict[str, Any], known: Known) -> dict[str, dict[str, Any]]:
    """Let the schema of a job say what `job_data` each type takes; the schemas that this needs."""
    models = {name: kind.model for name, kind in sorted(known.types.items()) if kind.model is not None}
    at, told = models_json_schema([(model, "validation") for model in models.values()], ref_template=REF)
    job["properties"]["job_type"] = {
        "enum": sorted(known.types),
        "description": "see GET /job-types; fixed after creation",
    }
    # Not `if` and `then`, which tools make 2^n of.
    job["anyOf"] = [
        {
            "properties": {"job_type": {"const": name}, "job_data": at[model, "validation"]},
            "required": ["job_data"],
        }
        if (model := models.get(name))
        else {"properties": {"job_type": {"const": name}}}
        for name in sorted(known.types)
    ]
    needed: dict[str, dict[str, Any]] = told.get("$defs", {})
    return needed


def _mergeable(properties: dict[str, Any]) -> dict[str, Any]:
    """The properties of a merge patch over what has these: null resets one, an object is merged member by member."""
    told = {}
    for name, schema in properties.items():
        bare = {key: value for key, value in schema.items() if key not in {"default", "$ref"}}
        whole = {"type": "object"} if "$ref" in schema or schema.get("type") == "object" else bare
        told[name] = {"anyOf": [whole, {"type": "null"}]}
    return told


def _exemplified(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"examples": EXAMPLES[name]} if name in EXAMPLES else schema


def _told(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": list(_parameters(operation)),
        "responses": {str(each): _answer(operation, each, to) for each, to in operation.answers.items()},
    }
    refusals = operation.refusals if operation.tag == "system" else (*operation.refusals, 500, 503)
    refusals += _HEAD + (
        (412,) * operation.conditional + (428,) * operation.edits + (408,) * (operation.method != "get")
    )
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
    for name in ("job_id", "run_id", "backfill_id", "key_id"):
        if f"{{{name}}}" in operation.path:
            yield {"name": name, "in": "path", "required": True, "schema": _ID}
    if "{number}" in operation.path:
        yield {
            "name": "number",
            "in": "path",
            "required": True,
            "schema": _REVISION,
        }
    is_calendar = operation.tag == "calendars"
    if "{name}" in operation.path:
        yield {
            "name": "name",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{calendar.NAME if is_calendar else NAME}$"},
        }
    reads = operation.method == "get" and operation.tag != "system"
    for name in (*operation.parameters, *((door.POSITION_PARAMETER,) if reads else ())):
        told = {"name": name, "in": "query", "schema": _schema(operation, name)}
        required = operation.name == "diff_job_revisions" and name != door.POSITION_PARAMETER
        yield told | {"required": True} if required else told
    for name, is_taken in (
        (door.KEY_HEADER, operation.keyed),
        ("If-Match", operation.conditional),
        ("If-None-Match", 304 in operation.answers),  # noqa: PLR2004 - HTTP's number
        ("If-None-Match", operation.name == "put_calendar"),
        ("Last-Event-ID", operation.media == event_filter.STREAMED),
    ):
        if is_taken:
            yield {"name": name, "in": "header", "schema": _HEADERS[name]}
    if operation.method != "get" or reads:
        prefer = {"type": "string", "examples": ["wait=5", "respond-async"]}
        yield {"name": "Prefer", "in": "header", "schema": prefer}


def _schema(operation: Operation, name: str) -> dict[str, Any]:
    if operation.name == "diff_job_revisions" and name in {"from", "to"}:
        return _REVISION
    if name in (told := _OWN.get(operation.name, {})):
        return told[name]
    if operation.name == "list_errors" and name == "limit":
        return {"type": "integer", "minimum": 1, "maximum": GROUPS_MAX, "default": GROUPS}
    if operation.name in SHAPES and name not in _PARAMETERS.keys() - SHAPES[operation.name].filters:
        return SHAPES[operation.name].schema(name)
    return _PARAMETERS[name]


def _answer(operation: Operation, status: int, schema: Any) -> dict[str, Any]:
    words = {
        200: "Done", 201: "Made, and archived", 202: "Written; the archive lags: look at Location later",
        204: "Done", 304: "It is as If-None-Match says that you have it", 503: "It fails: the checks say what",
    }  # fmt: skip
    told: dict[str, Any] = {
        "description": words[status],
        "headers": _headers(*_said(operation, status, schema)),
    }
    if schema is not None:
        told["content"] = {operation.media: {"schema": schema}}
    if operation.json is not None:
        told["content"]["application/json"] = {"schema": operation.json}
    if made := links(schema, _IN_PATHS):
        told["links"] = made
    return told


def _said(operation: Operation, status: int, schema: Any) -> Iterator[str]:
    """Names of the headers of an answer, beside the one that all have."""
    writes = operation.method != "get" and operation.tag != "system"
    if writes or AS_OF in operation.parameters:
        yield "Daybook-Position"
    if status in {201, 202} and schema is not None:
        yield "Location"
    if status == 304 or schema in _TAGGED:  # noqa: PLR2004 - HTTP's number
        yield "ETag"
    if operation.keyed:
        yield "Idempotency-Replayed"
    if "page" in operation.parameters:
        yield "Link"
    if operation.role is not None:
        yield from _LIMITS


def _refusal(status: int) -> dict[str, Any]:
    titles = [title for code, title in problems.KINDS.values() if code == status]
    content = {problems.CONTENT_TYPE: {"schema": ref("Problem")}}
    named = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}.get(status, ())
    return {"description": "; or: ".join(titles), "headers": _headers(*named), "content": content}


def _headers(*names: str) -> dict[str, Any]:
    told = {}
    for name in ("X-Request-ID", *names):
        schema = dict(_TOLD[name])
        described = {"description": said} if (said := schema.pop("description", "")) else {}
        told[name] = {**described, "required": name == "X-Request-ID", "schema": schema}
    return told


_TAGGED = (ref("JobView"), ref("CalendarView"))
_IN_PATHS = {each.name: _NAMES.findall(each.path) for each in OPERATIONS}
