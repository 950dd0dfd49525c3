"""What a client may ask of a list: filters, order, part and fields, read from the query of a request."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from services.api import door
from services.api.list_sql import JOBS, RUNS, Choice, Range
from services.api.principal import wall
from services.api.problems import Fault, invalid
from services.api.requests import FINGERPRINT, WORD
from services.api.responses import ExecutionView, JobStatus, JobView, RunStatus, RunTrigger
from shared.domain.roles import SUBJECT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import BaseModel

    from services.api.list_sql import Source

    Given = Mapping[str, list[str]]

PAGES = ("page", "per_page")
SLICES = ("cursor", "limit")
OPERATORS = ("gte", "gt", "lte", "lt")
JOB_STATUSES: tuple[str, ...] = get_args(JobStatus)
RUN_STATUSES: tuple[str, ...] = get_args(RunStatus)
RUN_TRIGGERS: tuple[str, ...] = get_args(RunTrigger)
TAGS_MAX = 20
TAG_MAX = 50
WORDS_MAX = 200
_ENDED = frozenset({"succeeded", "failed", "cancelled", "expired"})
_BEFORE = {"type": "string", "format": "date-time"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A kind of list.

    Attributes:
        name: of the operation: a cursor is good for no other.
        source: what it is of.
        view: an item; `fields` names its fields.
        filters: parameter → schema, for the document.
        read: the values of the filters, by the names that `source` has for them.
        sort: unless asked otherwise.
    """

    name: str
    source: Source
    view: type[BaseModel]
    filters: Mapping[str, dict[str, Any]]
    read: Callable[[Given, int], dict[str, Any]]
    sort: str

    @property
    def ranges(self) -> dict[str, tuple[str, str]]:
        """Parameter → time and operator."""
        return {f"{time}[{each}]": (time, each) for time in self.source.times for each in OPERATORS}

    @property
    def parameters(self) -> tuple[str, ...]:
        """All parameters, but for min_position."""
        return (*PAGES, *SLICES, *self.filters, *self.ranges, "sort", "fields")

    def schema(self, name: str) -> dict[str, Any]:
        """The JSON schema of one of `parameters` that not all lists have."""
        if name in self.filters:
            return self.filters[name]
        if name in self.ranges:
            return _BEFORE
        if name == "sort":
            said = "by this field; - before it: downwards; null is later than any time"
            words = [sign + order for order in self.source.orders for sign in ("", "-")]
            return {"type": "string", "enum": words, "default": self.sort, "description": said}
        said = "only these fields of each item, separated by commas"
        return {"type": "string", "description": said, "examples": ["id,status"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What of a list is wanted.

    Attributes:
        choice: filters and order.
        fields: of each item; None: all.
        what_for: the list with its filters, its order and whoever may see it, as one text.
    """

    choice: Choice
    fields: frozenset[str] | None
    what_for: str


def wanted(shape: Shape, given: Given, *, partitions: int, scope: str = "") -> Wanted:
    """What the query asks for; `scope` is what the path says of it.

    Raises:
        Problem: 422.
    """
    equal = shape.read(given, partitions)
    ranges = tuple(_ranges(shape, given))
    order, descending = _sort(shape, given)
    told = [
        shape.name,
        scope,
        wall(),
        sorted((name, value) for name, value in equal.items()),
        sorted((each.name, each.operator, each.at.isoformat()) for each in ranges),
        [order, descending],
    ]
    return Wanted(
        choice=Choice(equal=equal, ranges=ranges, order=order, descending=descending),
        fields=_fields(shape, given),
        what_for=hashlib.sha256(json.dumps(told).encode()).hexdigest(),
    )


def _ranges(shape: Shape, given: Given) -> list[Range]:
    found = []
    for parameter, (time, operator) in shape.ranges.items():
        at = door.moment(_single(given), parameter)
        if at is not None:
            found.append(Range(time, operator, at))
    return found


def _sort(shape: Shape, given: Given) -> tuple[str, bool]:
    text = _single(given).get("sort", shape.sort)
    name = text.removeprefix("-")
    if name not in shape.source.orders:
        words = ", ".join(shape.source.orders)
        raise invalid(Fault(pointer="?sort", detail=f"is one of {words}; with - before it, downwards"))
    return name, text.startswith("-")


def _fields(shape: Shape, given: Given) -> frozenset[str] | None:
    text = _single(given).get("fields")
    if text is None:
        return None
    names = text.split(",")
    strange = [name for name in names if name not in shape.view.model_fields]
    if strange:
        raise invalid(Fault(pointer="?fields", detail=f"{strange[0][:80]!r} is not a field of an item"))
    return frozenset(names)


def _job_filters(given: Given, _: int) -> dict[str, Any]:
    single = _single(given)
    facets = [f"tag:{tag}" for tag in _tags(given)]
    for name, prefix in (("job_type", "type"), ("queue", "queue")):
        value = door.word(single, name)
        if value is not None:
            facets.append(f"{prefix}:{value}")
    return _told(
        {
            "status": door.one_of(single, "status", JOB_STATUSES),
            "owner": _matching(single, "owner", SUBJECT, "is 1 to 200 visible characters"),
            "facets": sorted(facets) or None,
            "q": _matching(single, "q", rf"[^\0]{{1,{WORDS_MAX}}}", f"is 1 to {WORDS_MAX} characters"),
        }
    )


def _run_filters(given: Given, partitions: int) -> dict[str, Any]:
    single = _single(given)
    status = door.one_of(single, "status", RUN_STATUSES)
    return _told(
        {
            "job_id": door.id_in(single, "job_id", partitions=partitions),
            "status": status,
            "ended": None
            if status is None
            else status in _ENDED,  # what follows, as an index knows only this
            "trigger": door.one_of(single, "trigger", RUN_TRIGGERS),
            "backfill": door.id_in(single, "backfill", partitions=partitions),
            **{name: door.word(single, name) for name in ("job_type", "queue", "error_class")},
            "error_fingerprint": _matching(
                single, "error_fingerprint", FINGERPRINT, "is 12 hexadecimal digits, see GET /stats/errors"
            ),
        }
    )


def _tags(given: Given) -> list[str]:
    tags = given.get("tag", [])
    for tag in tags:
        if not 1 <= len(tag) <= TAG_MAX or "\0" in tag:
            raise invalid(Fault(pointer="?tag", detail=f"is 1 to {TAG_MAX} characters"))
    if len(tags) > TAGS_MAX:
        raise invalid(Fault(pointer="?tag", detail=f"stands at most {TAGS_MAX} times: no job has more"))
    return tags


def _matching(single: Mapping[str, str], name: str, pattern: str, said: str) -> str | None:
    text = single.get(name)
    if text is not None and not re.fullmatch(pattern, text, re.DOTALL):
        raise invalid(Fault(pointer=f"?{name}", detail=said))
    return text


def _single(given: Given) -> dict[str, str]:
    return {name: values[0] for name, values in given.items()}


def _told(filters: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in filters.items() if value is not None}


_TEXT = {"type": "string", "pattern": WORD}
_RUN_FILTERS: dict[str, dict[str, Any]] = {
    "status": {"type": "string", "enum": list(RUN_STATUSES)},
    "job_type": _TEXT,
    "queue": _TEXT,
    "trigger": {"type": "string", "enum": list(RUN_TRIGGERS)},
    "backfill": {"type": "string", "format": "uuid", "description": "that this backfill has asked for"},
    "error_class": _TEXT,
    "error_fingerprint": {"type": "string", "pattern": FINGERPRINT, "description": "see GET /stats/errors"},
}
LIST_JOBS = Shape(
    name="list_jobs",
    source=JOBS,
    view=JobView,
    filters={
        "status": {"type": "string", "enum": list(JOB_STATUSES)},
        "job_type": _TEXT,
        "tag": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": TAG_MAX},
            "maxItems": TAGS_MAX,
            "description": "may stand several times: jobs that have all of them",
        },
        "queue": _TEXT,
        "owner": {"type": "string", "pattern": f"^{SUBJECT}$"},
        "q": {
            "type": "string",
            "minLength": 1,
            "maxLength": WORDS_MAX,
            "description": 'words of name and description: all of them, "a phrase", this or that, -not this',
        },
    },
    read=_job_filters,
    sort="-created_at",
)
LIST_JOB_EXECUTIONS = Shape(
    name="list_job_executions",
    source=RUNS,
    view=ExecutionView,
    filters={name: _RUN_FILTERS[name] for name in _RUN_FILTERS if name != "job_type"},  # all are of the job's
    read=_run_filters,
    sort="-id",
)
LIST_EXECUTIONS = Shape(
    name="list_executions",
    source=RUNS,
    view=ExecutionView,
    filters=_RUN_FILTERS | {"job_id": {"type": "string", "format": "uuid"}},
    read=_run_filters,
    sort="-id",
)
SHAPES = {shape.name: shape for shape in (LIST_JOBS, LIST_JOB_EXECUTIONS, LIST_EXECUTIONS)}
