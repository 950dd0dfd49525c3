"""The HTTP request as values: everything a client sends is parsed here, or refused."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic_core import PydanticCustomError
from quart import g, request

from services.api.json_body import parsed
from services.api.preconditions import IF_MATCH
from services.api.principal import present, wall
from services.api.problems import Fault, Problem, invalid
from services.api.requests import WORD, Body, read, time_of
from shared.domain import ids
from shared.eventlog.envelope import Context
from shared.eventlog.position import BadPosition, Position, parse_places

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

Model = TypeVar("Model", bound=Body)

WAIT_MAX_S = 30.0
POSITION_HEADER = "Daybook-Position"
POSITION_PARAMETER = "min_position"
KEY_HEADER = "Idempotency-Key"
CONDITIONS = (KEY_HEADER, IF_MATCH)  # never passed over: whoever sends one relies on it
LATER_PARAMETERS = frozenset({"dry_run"})
_CORRELATION_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_WAIT = re.compile(r'wait\s*=\s*"?(\d{1,9})"?', re.IGNORECASE)
_JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"


def heads() -> dict[str, list[str]]:
    """The values of each header of the present request, by its name in lower case.

    Nearly all that are looked for aren't there, and Quart's own are searched from end to end for each.
    """
    found: dict[str, list[str]] = {}
    for name, value in request.scope["headers"]:
        found.setdefault(name.decode("latin1"), []).append(value.decode("latin1"))
    return found


def sent(name: str) -> list[str]:
    """What the present request has under a header's name."""
    values: list[str] = g.heads.get(name.lower(), [])
    return values


def first(name: str) -> str | None:
    """The same, of a header that has one value, or whose further ones mean nothing."""
    return next(iter(sent(name)), None)


def correlation_id(otherwise: str) -> str:
    """The client's `X-Request-ID` if it is sane, else `otherwise`."""
    given = first("X-Request-ID") or ""
    return given if _CORRELATION_ID.fullmatch(given) else otherwise


def context() -> Context:
    """On whose behalf the present request is."""
    trace = first("traceparent") or ""
    return Context(
        actor=present().id,
        corr=g.correlation_id,
        trace=trace if _TRACEPARENT.fullmatch(trace) else "",
        tenant=wall(),
    )


def body(
    model: type[Model],
    *,
    optional: bool = False,
    heeds: Collection[str] = (),
    asks: Collection[str] = (),
) -> Model:
    """The body of the present request, which is to change something.

    Args:
        model: of the body.
        optional: none at all stands for an empty object.
        heeds: those of CONDITIONS that mean something here.
        asks: the query parameters that do.

    Raises:
        Problem: 400, 413, 415 or 422.
    """
    no_conditions_but(*heeds)
    parameters(*asks)
    if not g.body and optional and not request.content_type:
        return read(model, {})
    return read(model, _tree(_JSON))


def merge_patch(*, heeds: Collection[str] = (IF_MATCH,), asks: Collection[str] = ()) -> dict[str, Any]:
    """The object in the body of the present request that is to be merged over what there is (RFC 7396).

    Args:
        heeds: those of CONDITIONS that mean something here.
        asks: the query parameters that do.

    Raises:
        Problem: 400, 413, 415 or 422.
    """
    no_conditions_but(*heeds)
    parameters(*asks)
    tree = _tree(MERGE_PATCH, _JSON)
    if not isinstance(tree, dict):
        raise invalid(Fault(pointer="#", detail="is not an object"))
    return tree


def _tree(*types: str) -> Any:
    """The JSON in the body, which is of one of these types."""
    if request.mimetype not in types or request.mimetype_params.get("charset", "utf-8").lower() != "utf-8":
        raise Problem("unsupported-media-type", f"Send the body as Content-Type: {types[0]}.")
    if any(each.lower() != "identity" for each in sent("content-encoding")):
        raise Problem("unsupported-media-type", "Send the body without Content-Encoding.")
    return parsed(g.body)


def no_conditions_but(*heeded: str) -> None:
    """Refuse those of CONDITIONS that would be passed over here.

    Raises:
        Problem: 422.
    """
    for name in CONDITIONS:
        if sent(name) and name not in heeded:
            raise invalid(Fault(pointer=name, detail="means nothing on this route: leave this header out"))


def no_parameters() -> None:
    """Refuse all query parameters.

    Raises:
        Problem: 422.
    """
    parameters()


def parameters(*names: str, several: Collection[str] = ()) -> dict[str, str]:
    """The query parameters of the present request, of `several` the first value; else as `values`.

    Raises:
        Problem: 422.
    """
    return {name: given[0] for name, given in values(*names, several=several).items()}


def values(*names: str, several: Collection[str] = ()) -> dict[str, list[str]]:
    """The query parameters of the present request, each one of `names`, and once unless it is one of `several`.

    Raises:
        Problem: 422.
    """
    if not request.query_string:
        return {}
    faults: list[Fault] = []
    given: Mapping[str, list[str]] = request.args.to_dict(flat=False)
    for name, found in given.items():
        if name not in names:
            later = name in LATER_PARAMETERS
            said = "is not available yet" if later else f"is not a parameter here; there are {_listed(names)}"
            faults.append(Fault(pointer=f"?{name[:80]}", detail=said))
        elif len(found) > 1 and name not in several:
            faults.append(Fault(pointer=f"?{name}", detail="stands twice"))
    if faults:
        raise invalid(*faults)
    return dict(given)


def whole(given: Mapping[str, str], name: str, default: int, *, most: int, beyond: str) -> int:
    """The parameter `name` as a whole number from 1 to `most`; `beyond` says what to do about a larger one.

    Raises:
        Problem: 422.
    """
    text = given.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise invalid(Fault(pointer=f"?{name}", detail=f"is a whole number from 1 to {most}"))
    if int(text) > most:
        raise invalid(Fault(pointer=f"?{name}", detail=f"is at most {most}; {beyond}"))
    return int(text)


def one_of(given: Mapping[str, str], name: str, words: tuple[str, ...]) -> str | None:
    """The parameter `name`, which is one of `words`; None if it isn't given.

    Raises:
        Problem: 422.
    """
    text = given.get(name)
    if text is not None and text not in words:
        raise invalid(Fault(pointer=f"?{name}", detail=f"is one of {', '.join(words)}"))
    return text


def word(given: Mapping[str, str], name: str) -> str | None:
    """The parameter `name`, a short text; None if it isn't given.

    Raises:
        Problem: 422.
    """
    text = given.get(name)
    if text is not None and not re.fullmatch(WORD, text):
        raise invalid(
            Fault(pointer=f"?{name}", detail="is 1 to 200 letters, digits, dots, dashes or underscores")
        )
    return text


def moment(given: Mapping[str, str], name: str) -> datetime | None:
    """The parameter `name`, a time with its offset; None if it isn't given.

    Raises:
        Problem: 422.
    """
    try:
        return time_of(given.get(name))
    except PydanticCustomError as error:
        raise invalid(Fault(pointer=f"?{name}", detail=error.message())) from None


def id_in(given: Mapping[str, str], name: str, *, partitions: int) -> str | None:
    """The parameter `name`, an id; None if it isn't given.

    Raises:
        Problem: 422.
    """
    text = given.get(name)
    if text is not None and not _is_id(text, partitions):
        raise invalid(Fault(pointer=f"?{name}", detail="is no id of this system"))
    return text


def job_id(text: str, *, partitions: int) -> str:
    """The id of a job in the path.

    Raises:
        Problem: 404.
    """
    return _id(text, partitions, "job")


def run_id(text: str, *, partitions: int) -> str:
    """The id of an execution in the path.

    Raises:
        Problem: 404.
    """
    return _id(text, partitions, "execution")


def backfill_id(text: str, *, partitions: int) -> str:
    """The id of a backfill in the path.

    Raises:
        Problem: 404.
    """
    return _id(text, partitions, "backfill")


def key_id(text: str, *, partitions: int) -> str:
    """The id of an API key in the path.

    Raises:
        Problem: 404.
    """
    return _id(text, partitions, "API key")


def wait_s(default: float) -> float:
    """How long the client wants to wait for the archive, from `Prefer` (RFC 7240)."""
    preferences = ",".join(sent("prefer"))
    for preference in preferences.split(","):
        if match := _WAIT.fullmatch(preference.strip()):
            return min(float(match[1]), WAIT_MAX_S)
    asks = any(each.strip().lower() == "respond-async" for each in preferences.split(","))
    return 0 if asks else default


def places(given: Mapping[str, str], *, partitions: int) -> dict[int, Position]:
    """The positions that the answer must not be older than, from header and parameter.

    Raises:
        Problem: 422.
    """
    wanted: dict[int, Position] = {}
    for text in (first(POSITION_HEADER), given.get(POSITION_PARAMETER)):
        if text is None:
            continue
        try:
            asked = parse_places(text, partitions=partitions)
        except BadPosition as error:
            raise invalid(Fault(pointer=f"?{POSITION_PARAMETER}", detail=str(error))) from None
        for partition, position in asked.items():
            wanted[partition] = max(position, wanted.get(partition, position))
    return wanted


def _id(text: str, partitions: int, what: str) -> str:
    if not _is_id(text, partitions):
        raise no_such(what)
    return text


def _is_id(text: str, partitions: int) -> bool:
    try:
        return ids.partition_of(ids.parse(text)) < partitions
    except ids.BadId:
        return False


def no_such(what: str) -> Problem:
    """The 404 of a job, an execution, a backfill, an API key."""
    return Problem("not-found", f"There is no {what} with this id; look it up in the list.")


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "none"
