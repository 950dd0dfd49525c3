"""What can be asked of the API: one row a route, for the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.api import event_filter, list_query
from services.api.answers import BASE
from services.api.apply_contract import ApplyBody, ApplyView
from services.api.bulk_contract import BulkBody, BulkView
from services.api.explain_contract import ExplanationView
from services.api.list_query import LIST_EXECUTIONS, LIST_JOB_EXECUTIONS, LIST_JOBS
from services.api.moments import AS_OF
from services.api.requests import (
    ApiKeyBody,
    BackfillBody,
    CalendarBody,
    CancelBody,
    EraseBody,
    JobBody,
    JobPatch,
    PauseBody,
    PauseManyBody,
    PreviewBody,
    RedriveBody,
    ResumeBody,
    ResumeManyBody,
    RetryBody,
    RevertBody,
    SkipBody,
    TokenBody,
    TriggerBody,
    UnskipBody,
)
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
from services.api.simulation_contract import SimulationView

if TYPE_CHECKING:
    from pydantic import BaseModel

    from shared.domain.roles import Role

REF = "#/components/schemas/{model}"
OBJECT = {"type": "object"}
TEXT = {"type": "string"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One route, as the document tells it.

    Attributes:
        name: its operationId, and the name of its endpoint.
        answers: status → schema of the JSON; None for no body.
        body: the model of what is sent.
        optional: whether the body may be left out.
        parameters: of the query, beside min_position of every read.
        media: type of the content of an answer.
        json: schema of the JSON that an Accept of application/json gets instead, where `media` is something else.
        refusals: statuses of problems; 500 and 503 are everywhere, and 401, 403 and 429 where there is a role.
        keyed: takes an Idempotency-Key.
        conditional: takes an If-Match; 412 if the job is at another revision.
        adds_work: refused by 503 while there is no room for new work (`pressure`).
        edits: and is refused without one by 428, if the setting says so.
        role: the least that may use it, enforced from here (`auth`); None: anybody may.
    """

    method: str
    path: str
    name: str
    summary: str
    answers: dict[int, Any]
    role: Role | None
    body: type[BaseModel] | None = None
    optional: bool = False
    parameters: tuple[str, ...] = ()
    refusals: tuple[int, ...] = ()
    tag: str = "jobs"
    media: str = "application/json"
    json: dict[str, Any] | None = None
    keyed: bool = False
    conditional: bool = False
    edits: bool = False
    adds_work: bool = False


def ref(model: type[BaseModel] | str) -> dict[str, str]:
    """Where the schema of a model stands in the document."""
    return {"$ref": REF.format(model=model if isinstance(model, str) else model.__name__)}


def _list_of(item: dict[str, str] | dict[str, Any]) -> dict[str, Any]:
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


def _slices_of(item: dict[str, str] | dict[str, Any]) -> dict[str, Any]:
    """A page of a list, or with `cursor` or `limit` a slice of it."""
    return {
        "oneOf": [
            _list_of(item),
            {
                "type": "object",
                "required": ["items", "next_cursor"],
                "properties": {
                    "items": {"type": "array", "items": item},
                    "next_cursor": {"type": ["string", "null"], "description": "null: this is the end"},
                },
            },
        ]
    }


def _some_of(item: dict[str, str]) -> dict[str, Any]:
    """An item, or those of its fields that `fields` asks for."""
    return {"anyOf": [item, {"type": "object", "description": "the fields asked for"}]}


JOB, EXECUTION = ref(JobView), ref(ExecutionView)
BACKFILL, CALENDAR, ERASURE = ref(BackfillView), ref(CalendarView), ref(ErasureView)
EVENTS = {
    "type": "object",
    "required": ["items", "next_cursor"],
    "properties": {
        "items": {"type": "array", "items": ref("Event")},
        "next_cursor": {
            "type": ["string", "null"],
            "description": "positions: where the next page begins, with the same filters and sort; null: nowhere",
        },
    },
}
_CAUGHT = {"name": TEXT, "received_at": TEXT, "from": TEXT, "to": TEXT, "cc": TEXT, "subject": TEXT} | {
    "envelope_to": {"type": "array", "items": TEXT, "description": "all who would get it, bcc too"},
    "bytes": {"type": "integer"},
}
_CAUGHT_PART = {"name": TEXT, "content_type": TEXT, "bytes": {"type": "integer"}}
CAUGHT_LIST = {
    "type": "object",
    "required": ["items"],
    "properties": {
        "items": {
            "type": "array",
            "items": {"type": "object", "required": list(_CAUGHT), "properties": _CAUGHT},
        }
    },
}
CAUGHT = {
    "type": "object",
    "required": [*_CAUGHT, "headers", "text", "html", "attachments"],
    "properties": {
        **_CAUGHT,
        "headers": {"type": "array", "items": {"type": "array", "items": TEXT}},
        "text": {"type": ["string", "null"]},
        "html": {"type": ["string", "null"]},
        "attachments": {
            "type": "array",
            "items": {"type": "object", "required": list(_CAUGHT_PART), "properties": _CAUGHT_PART},
        },
    },
}
_CHANGING = (400, 404, 409, 413, 415, 422)
_SWITCHED = ("tag", "all", "cursor", "min_position")
OPERATIONS = (
    Operation(
        method="get", path=f"{BASE}/jobs", name="list_jobs", role="viewer", summary="Jobs, newest first",
        answers={200: _slices_of(_some_of(JOB))}, parameters=(*LIST_JOBS.parameters, AS_OF),
        refusals=(409, 410, 422),
    ),
    Operation(
        method="post", path=f"{BASE}/jobs", name="create_job", role="editor", summary="Define a job",
        answers={201: JOB, 202: JOB}, body=JobBody, refusals=(400, 409, 413, 415, 422), keyed=True,
        adds_work=True,
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/bulk", name="bulk_jobs", role="editor",
        summary="Create, update, pause, resume, delete and trigger up to 1,000 times, each by itself; at most 4 MB",
        answers={200: ref(BulkView), 202: ref(BulkView)}, body=BulkBody, refusals=(400, 413, 415, 422), keyed=True,
        adds_work=True,
    ),
    Operation(
        method="post", path=f"{BASE}/jobs:pause", name="pause_jobs", role="operator",
        summary="Pause all jobs with a tag, or all there are, that are not paused; not those that are made meanwhile",
        answers={200: ref(SwitchView), 202: ref(SwitchView)}, body=PauseManyBody, optional=True,
        parameters=_SWITCHED, refusals=(400, 409, 413, 415, 422), keyed=True,
    ),
    Operation(
        method="post", path=f"{BASE}/jobs:resume", name="resume_jobs", role="operator",
        summary="Resume what pausing all jobs with that tag, or all there were, has paused; nothing paused singly",
        answers={200: ref(SwitchView), 202: ref(SwitchView)}, body=ResumeManyBody, optional=True,
        parameters=_SWITCHED, refusals=(400, 409, 413, 415, 422), keyed=True,
    ),
    Operation(
        method="post", path=f"{BASE}/apply", name="apply_jobs", role="editor",
        summary="Make one's jobs as a file has them, by their names; nothing is changed if one is wrong; at most 4 MB",
        answers={200: ref(ApplyView), 202: ref(ApplyView)}, body=ApplyBody,
        refusals=(400, 409, 413, 415, 422), keyed=True, adds_work=True,
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}", name="get_job", role="viewer", summary="One job",
        answers={200: JOB, 304: None}, parameters=(AS_OF,), refusals=(404, 409, 410, 422),
    ),
    Operation(
        method="put", path=f"{BASE}/jobs/{{job_id}}", name="replace_job", role="editor",
        summary="Replace a job: what is left out takes its default",
        answers={200: JOB, 202: JOB}, body=JobBody, refusals=_CHANGING, conditional=True, edits=True,
    ),
    Operation(
        method="patch", path=f"{BASE}/jobs/{{job_id}}", name="patch_job", role="editor",
        summary="Merge over a job (RFC 7396): null takes a field back to its default",
        answers={200: JOB, 202: JOB}, body=JobPatch, refusals=_CHANGING, conditional=True, edits=True,
    ),
    Operation(
        method="delete", path=f"{BASE}/jobs/{{job_id}}", name="delete_job", role="editor",
        summary="Delete a job; its executions and events stay readable",
        answers={204: None, 202: None}, refusals=(404, 422), conditional=True, edits=True,
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/{{job_id}}/erase", name="erase_job", role="admin",
        summary=(
            "Erase the personal data of a job, also of a deleted one, for ever: it is deleted too. "
            "200 says that the key is destroyed, 202 that it will be"
        ),
        answers={200: ERASURE, 202: ERASURE}, body=EraseBody, refusals=(400, 404, 413, 415, 422), keyed=True,
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/{{job_id}}/pause", name="pause_job", role="operator",
        summary="Stop a job's schedule",
        answers={200: JOB, 202: JOB}, body=PauseBody, optional=True, refusals=_CHANGING, keyed=True,
        conditional=True,
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/{{job_id}}/resume", name="resume_job", role="operator",
        summary="Let it go on",
        answers={200: JOB, 202: JOB}, body=ResumeBody, optional=True, refusals=_CHANGING, keyed=True,
        conditional=True,
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/{{job_id}}/skip", name="skip_occurrence", role="operator",
        summary="Skip one occurrence of a job when its time comes; the schedule stays as it is",
        answers={200: JOB, 202: JOB}, body=SkipBody, refusals=_CHANGING, keyed=True, conditional=True,
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/{{job_id}}/unskip", name="unskip_occurrence", role="operator",
        summary="Run after all what was to be skipped",
        answers={200: JOB, 202: JOB}, body=UnskipBody, refusals=_CHANGING, keyed=True, conditional=True,
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/{{job_id}}/trigger", name="trigger_job", role="operator",
        summary="Run a job now",
        answers={201: EXECUTION, 202: EXECUTION}, body=TriggerBody, optional=True, refusals=_CHANGING,
        keyed=True, conditional=True, adds_work=True,
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/{{job_id}}/backfill", name="backfill_job", tag="backfills",
        role="operator",
        summary="Run occurrences that have gone by: what should have run and did not; 200 says which, in a dry run",
        answers={200: ref(BackfillDryRunView), 201: BACKFILL, 202: BACKFILL}, body=BackfillBody,
        refusals=_CHANGING, keyed=True, adds_work=True,
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}/backfills", name="list_job_backfills", tag="backfills",
        role="viewer", summary="Backfills of a job, newest first", answers={200: _list_of(BACKFILL)},
        parameters=list_query.PAGES, refusals=(404, 409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/backfills/{{backfill_id}}", name="get_backfill", tag="backfills",
        role="viewer", summary="One backfill, and how far it is", answers={200: BACKFILL}, refusals=(404, 409, 422),
    ),
    Operation(
        method="post", path=f"{BASE}/backfills/{{backfill_id}}/cancel", name="cancel_backfill", tag="backfills",
        role="operator", summary="Let a backfill ask for no more executions; those it has asked for go on",
        answers={200: BACKFILL, 202: BACKFILL}, body=CancelBody, optional=True, refusals=_CHANGING, keyed=True,
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}/next", name="list_next_occurrences", role="viewer",
        summary="When a job is to run, and what its rules leave out", answers={200: ref(NextView)},
        parameters=("from", "count"), refusals=(404, 409, 422),
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/{{job_id}}/simulate", name="simulate_job", role="viewer",
        summary="What a job would have run, and would run, if it were changed so (as PATCH); nothing is changed",
        answers={200: ref(SimulationView)}, body=JobPatch, parameters=("since", "until", "count"),
        refusals=(400, 404, 409, 410, 413, 415, 422),
    ),
    Operation(
        method="post", path=f"{BASE}/schedules/preview", name="preview_schedule", tag="schedules", role="viewer",
        summary="When a job of this schedule would run, and what its rules leave out; nothing is made",
        answers={200: ref(PreviewView)}, body=PreviewBody, refusals=(400, 413, 415, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/forecast", name="forecast", tag="schedules", role="viewer",
        summary="How much is to run, and when, of all jobs that aren't paused",
        answers={200: ref(ForecastView)}, parameters=("from", "to", "bucket"), refusals=(409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}/revisions", name="list_job_revisions", role="viewer",
        summary="Who has edited a job, newest first", answers={200: _list_of(ref(RevisionView))},
        parameters=list_query.PAGES, refusals=(404, 409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}/revisions/{{number}}", name="get_job_revision", role="viewer",
        summary="A job as an edit has left it", answers={200: ref(RevisionJobView)}, refusals=(404, 409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}/diff", name="diff_job_revisions", role="viewer",
        summary="What differs between two revisions of a job", answers={200: ref(DiffView)},
        parameters=("from", "to"), refusals=(404, 409, 422),
    ),
    Operation(
        method="post", path=f"{BASE}/jobs/{{job_id}}/revert", name="revert_job", role="editor",
        summary="Make a job as it was at an earlier revision: a new one",
        answers={200: JOB, 202: JOB}, body=RevertBody, refusals=_CHANGING, keyed=True, conditional=True,
        edits=True,
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}/executions", name="list_job_executions", tag="executions",
        role="viewer",
        summary="Executions of a job, newest first", answers={200: _slices_of(_some_of(EXECUTION))},
        parameters=LIST_JOB_EXECUTIONS.parameters, refusals=(404, 409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}/events", name="list_job_events", tag="events",
        role="viewer",
        summary="The story of a job and its executions, newest first",
        answers={200: _slices_of(ref("Event"))}, parameters=(*list_query.PAGES, *list_query.SLICES),
        refusals=(404, 409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/events", name="list_events", tag="events", role="viewer",
        summary="Everything that has happened, newest first unless sorted otherwise",
        answers={200: EVENTS}, parameters=event_filter.LIST, refusals=(409, 410, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/events/stream", name="stream_events", tag="events", role="viewer",
        summary="What happens, as it is archived (Server-Sent Events)", answers={200: {"type": "string"}},
        parameters=event_filter.STREAM, refusals=(409, 410, 422), media=event_filter.STREAMED,
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}/events/stream", name="stream_job_events", tag="events",
        role="viewer", summary="What happens to a job and its executions, as it is archived (Server-Sent Events)",
        answers={200: {"type": "string"}}, parameters=event_filter.STREAM_OF_JOB, refusals=(404, 409, 410, 422),
        media=event_filter.STREAMED,
    ),
    Operation(
        method="get", path=f"{BASE}/executions", name="list_executions", tag="executions", role="viewer",
        summary="Executions of all jobs, newest first", answers={200: _slices_of(_some_of(EXECUTION))},
        parameters=LIST_EXECUTIONS.parameters, refusals=(409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/executions/{{run_id}}", name="get_execution", tag="executions",
        role="viewer",
        summary="One execution", answers={200: EXECUTION}, refusals=(404, 409, 422),
    ),
    Operation(
        method="post", path=f"{BASE}/executions/{{run_id}}/cancel", name="cancel_execution", tag="executions",
        role="operator",
        summary="End an execution: 200 once it has ended, 202 while its handler is being stopped",
        answers={200: EXECUTION, 202: EXECUTION}, body=CancelBody, optional=True, refusals=_CHANGING,
        keyed=True,
    ),
    Operation(
        method="get", path=f"{BASE}/executions/{{run_id}}/output", name="get_execution_output", tag="executions",
        role="viewer",
        summary="What an attempt has logged: the latest, or the one asked for",
        answers={200: ref(OutputView)}, parameters=("attempt",), refusals=(404, 409, 422),
    ),
    Operation(
        method="post", path=f"{BASE}/executions/{{run_id}}/retry", name="retry_execution", tag="executions",
        role="operator",
        summary="Run an execution that failed, was cancelled or expired again, once: 200 gives the retry there is",
        answers={200: EXECUTION, 201: EXECUTION, 202: EXECUTION}, body=RetryBody, optional=True,
        refusals=_CHANGING, keyed=True, adds_work=True,
    ),
    Operation(
        method="post", path=f"{BASE}/executions/redrive", name="redrive_executions", tag="executions",
        role="operator",
        summary="Run again what ended badly and was not retried yet, oldest first",
        answers={200: ref(RedriveView), 202: ref(RedriveView)}, body=RedriveBody,
        refusals=(400, 413, 415, 422), keyed=True, adds_work=True,
    ),
    Operation(
        method="get", path=f"{BASE}/jobs/{{job_id}}/explain", name="explain_job", role="viewer",
        summary="Why a job ran at a time, or did not; without one, why it is as it is, and what comes next",
        answers={200: ref(ExplanationView)}, parameters=("at",), refusals=(404, 409, 410, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/executions/{{run_id}}/explain", name="explain_execution", tag="executions",
        role="viewer", summary="Why an execution came, waited, and ended as it did",
        answers={200: ref(ExplanationView)}, refusals=(404, 409, 410, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/missed", name="list_missed", role="viewer",
        summary="Occurrences that should have been decided and were not, longest first: none while a timer is alive",
        answers={200: _list_of(ref(MissedView))}, parameters=list_query.PAGES, refusals=(409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/stats/errors", name="list_errors", tag="executions", role="viewer",
        summary="Failed executions grouped by class and fingerprint of their errors, the largest group first",
        answers={200: ref(ErrorsView)}, parameters=("from", "to", "job_type", "job_id", "limit"),
        refusals=(409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/stats/principals", name="list_principals", tag="keys", role="admin",
        summary="Who has sent how many requests, and changed how much, within at most 7 days",
        answers={200: ref(PrincipalsView)}, parameters=("from", "to", "limit"), refusals=(409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/calendars", name="list_calendars", tag="calendars", role="viewer",
        summary="Calendars of the tenant, by name", answers={200: _list_of(CALENDAR)}, parameters=list_query.PAGES,
        refusals=(409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/calendars/{{name}}", name="get_calendar", tag="calendars", role="viewer",
        summary="One calendar", answers={200: CALENDAR, 304: None}, refusals=(404, 409, 422),
    ),
    Operation(
        method="put", path=f"{BASE}/calendars/{{name}}", name="put_calendar", tag="calendars", role="editor",
        summary="Make a calendar, or replace it: what is left out takes its default; jobs go by it at their next wake",
        answers={200: CALENDAR, 201: CALENDAR, 202: CALENDAR}, body=CalendarBody,
        refusals=(400, 413, 415, 422), conditional=True, edits=True,
    ),
    Operation(
        method="delete", path=f"{BASE}/calendars/{{name}}", name="delete_calendar", tag="calendars", role="editor",
        summary="Delete a calendar that no job names", answers={204: None, 202: None}, refusals=(404, 409, 422),
        conditional=True, edits=True,
    ),
    Operation(
        method="get", path=f"{BASE}/job-types", name="list_job_types", role="viewer", summary="What a job can be",
        answers={200: ref(JobTypesView)}, refusals=(409, 422),
    ),
    Operation(
        method="get", path=f"{BASE}/api-keys", name="list_api_keys", tag="keys", role="admin",
        summary="API keys of the tenant, newest first, those that were revoked too",
        answers={200: _list_of(ref(ApiKeyView))}, parameters=list_query.PAGES, refusals=(409, 422),
    ),
    Operation(
        method="post", path=f"{BASE}/api-keys", name="create_api_key", tag="keys", role="admin",
        summary="Give out an API key; it is shown this once",
        answers={201: ref(ApiKeyMadeView), 202: ref(ApiKeyMadeView)}, body=ApiKeyBody,
        refusals=(400, 413, 415, 422),
    ),
    Operation(
        method="delete", path=f"{BASE}/api-keys/{{key_id}}", name="revoke_api_key", tag="keys", role="admin",
        summary="Revoke an API key: it opens nothing from the next request on",
        answers={204: None, 202: None}, refusals=(404, 422),
    ),
    Operation(
        method="post", path=f"{BASE}/tokens", name="create_token", tag="keys", role="viewer",
        summary="A token of 15 minutes for the API key that is sent",
        answers={200: ref(TokenView)}, body=TokenBody, optional=True, refusals=(400, 413, 415, 422),
    ),
    Operation(
        method="get", path="/health", name="health", tag="system", role=None, summary="Whether the whole system works",
        answers={200: OBJECT, 503: OBJECT},
    ),
    Operation(
        method="get", path="/livez", name="livez", tag="system", role=None, summary="Whether this process lives",
        answers={200: OBJECT, 503: OBJECT},
    ),
    Operation(
        method="get", path="/readyz", name="readyz", tag="system", role=None, summary="Whether this process can work",
        answers={200: OBJECT, 503: OBJECT},
    ),
    Operation(
        method="get", path="/metrics", name="metrics", tag="system", role="viewer",
        summary="What this process counts, for Prometheus; DAYBOOK_METRICS_OPEN=on opens it to all",
        answers={200: TEXT}, media="text/plain",
    ),
    Operation(
        method="get", path="/dev/mail", name="list_dev_mail", tag="system", role="viewer",
        summary="What jobs have mailed, where `daybook up` catches it, newest first: a page, or JSON if asked for",
        answers={200: TEXT}, media="text/html", json=CAUGHT_LIST, refusals=(404,),
    ),
    Operation(
        method="get", path="/dev/mail/{name}", name="get_dev_mail", tag="system", role="viewer",
        summary="A mail that was caught: a page, or JSON if asked for",
        answers={200: TEXT}, media="text/html", json=CAUGHT, refusals=(404,),
    ),
    Operation(
        method="get", path="/openapi.json", name="openapi", tag="system", role=None, summary="This document",
        answers={200: OBJECT},
    ),
    Operation(
        method="get", path="/docs/", name="docs", tag="system", role=None, summary="This document, for people",
        answers={200: TEXT}, media="text/html",
    ),
)  # fmt: skip
