"""Answers on the wire: JSON with the headers that API.md gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel
from quart import Response

from services.api.door import POSITION_HEADER

if TYPE_CHECKING:
    from services.api.writes import Written

BASE = "/api/v1"
_ACCEPTED = 202


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a write is answered with.

    Attributes:
        text: JSON.
        location: where to look for what it made or changed.
        done: the status once the archive has it; until then it is 202.
        etag: of the job, if the text is one.
    """

    text: str
    location: str
    done: int = 200
    etag: str | None = None

    def response(self, place: str, *, archived: bool) -> Response:
        """The answer; `place` is where it is written, as `Daybook-Position` carries it."""
        status = self.done if archived else _ACCEPTED
        headers = {POSITION_HEADER: place} if place else {}
        if self.etag is not None:
            headers["ETag"] = self.etag
        if self.done == 201 or status == _ACCEPTED:  # noqa: PLR2004 - HTTP's number
            headers["Location"] = self.location
        return answer(self.text, status, headers)


def answer(content: BaseModel | str, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer with a JSON body: a view, or a text that is JSON already."""
    text = content.model_dump_json(by_alias=True) if isinstance(content, BaseModel) else content
    return Response(text, status, headers or {}, content_type="application/json")


def unchanged(etag: str) -> Response:
    """304: the client has it. What describes a content is left out, as none is sent."""
    response = Response("", 304, {"ETag": etag})
    for name in ("Content-Type", "Content-Length"):
        response.headers.pop(name, None)
    return response


def empty(status: int, headers: dict[str, str] | None = None) -> Response:
    """An answer that is its status."""
    return Response("", status, headers or {})


def reply(view: BaseModel, *, location: str, done: int = 200, etag: str | None = None) -> Reply:
    """The reply that shows `view`."""
    return Reply(text=view.model_dump_json(by_alias=True), location=location, done=done, etag=etag)


def written(what: Written, told: Reply) -> Response:
    """The answer to a write: as told if the archive has it, else 202 and where to look."""
    return told.response(what.place, archived=what.archived)


def job_path(job_id: str) -> str:
    """Where a job stands."""
    return f"{BASE}/jobs/{job_id}"


def execution_path(run_id: str) -> str:
    """Where an execution stands."""
    return f"{BASE}/executions/{run_id}"


def backfill_path(backfill_id: str) -> str:
    """Where a backfill stands."""
    return f"{BASE}/backfills/{backfill_id}"
