"""Answers on the wire: JSON with the headers that API.md gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel
from quart import Response

from services.api.door import POSITION_HEADER

if TYPE_CHECKING:
    from services.api.writes import Written

BASE = "/api/v1"


def answer(content: BaseModel | str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer with a JSON body: a view, or a text that is JSON already."""
    text = content.model_dump_json(by_alias=True) if isinstance(content, BaseModel) else content
    return Response(text, status, headers or {}, content_type="application/json")


def empty(status: int, headers: dict[str, str] | None = None) -> Response:
    """An answer that is its status."""
    return Response("", status, headers or {})


def written(
    what: Written, view: BaseModel, *, location: str, done: int = 200, etag: str | None = None
) -> Response:
    """The answer to a write: `done` if the archive has it, else 202 and where to look."""
    headers = {POSITION_HEADER: what.place}
    if etag is not None:
        headers["ETag"] = etag
    if done == 201 or not what.archived:  # noqa: PLR2004 - HTTP's number
        headers["Location"] = location
    return answer(view, done if what.archived else 202, headers)


def job_path(job_id: str) -> str:
    """Where a job stands."""
    return f"{BASE}/jobs/{job_id}"


def execution_path(run_id: str) -> str:
    """Where an execution stands."""
    return f"{BASE}/executions/{run_id}"
