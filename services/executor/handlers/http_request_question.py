"""What `http_request` asks: a job's data as a request, and the request that a redirect leads to."""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urljoin

from services.executor.web import Question, UnfitRequest
from services.executor.webhook_signature import BadKey, signature
from shared.handlers import GiveUp
from shared.job_types.http_headers import value_fault
from shared.job_types.secrets import Revealed
from shared.job_types.web_address import BadUrl, WebAddress, parse, with_query

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.executor.masking import Mask
    from services.executor.web import Answer
    from shared.job_types.http_request import Auth, HttpRequest, Signing

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
_SEE_OTHER = 303
_GO_ALONG = frozenset(
    {"accept", "accept-encoding", "accept-language", "content-type", "idempotency-key", "user-agent"}
)
_NO_URL = re.compile(r"[\x00-\x20\x7f\\]")  # urljoin would drop some of them


class RedirectRefused(GiveUp):
    """The answer leads on to where the request must not go."""


def question_of(request: HttpRequest, run_id: str, mask: Mask) -> Question:
    """The first request.

    Args:
        request: with its secrets revealed, and checked.
        run_id: becomes the Idempotency-Key, and the signed message's id.
        mask: is told what the request says of secrets in spellings of its own.

    Raises:
        UnfitRequest: a secret's value, or the whole, can't be sent.
    """
    content = _content(request)
    headers = {"accept": "*/*", "accept-encoding": "gzip", "user-agent": "Daybook", "idempotency-key": run_id}
    if content:
        headers["content-type"] = "application/json" if request.has_json else "text/plain; charset=utf-8"
    headers |= {name.lower(): value for name, value in request.headers.items()}
    if request.auth is not None:
        headers["authorization"] = _authorization(request.auth, mask)
    if request.signing is not None:
        headers |= _signed(request.signing, run_id, content or b"")
    for name, value in headers.items():
        if fault := value_fault(value):  # of what has been put together here: the model's are checked
            raise UnfitRequest(f"the header {name} {fault}")
    return Question(method=request.method, address=_address(request), headers=headers, content=content)


def redirected(question: Question, answer: Answer, request: HttpRequest) -> Question:
    """The request that the answer's Location asks for (RFC 9110, 15.4).

    Raises:
        RedirectRefused: see there.
    """
    address = _location(question.address, answer.headers.get("location", ""))
    if question.address.scheme == "https" and address.scheme == "http":
        raise RedirectRefused(f"{question.address.shown} leads on to plain http, {address.shown}")
    onward = replace(question, address=address)
    if question.method != "HEAD" and answer.status not in _KEEP_METHOD:
        onward = _as_get(onward, answer.status, request.signing)
    if question.address.same_origin(address):
        return onward
    if onward.content and _holds_secrets(request.json_ if request.has_json else request.body):
        raise RedirectRefused(
            f"{question.address.shown} leads on to {address.shown}, another server: the body holds a secret"
        )
    return replace(onward, headers=_for_others(onward.headers))


def _as_get(question: Question, status: int, signing: Signing | None) -> Question:
    """The method that browsers go on with: GET for what is elsewhere, and instead of POST; signed anew."""
    if status != _SEE_OTHER and question.method != "POST":
        return question
    headers = {name: value for name, value in question.headers.items() if name != "content-type"}
    if signing is not None and signing.header.lower() in headers:
        headers |= _signed(signing, headers["webhook-id"], b"")
    return replace(question, method="GET", content=None, headers=headers)


def _for_others(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name in _GO_ALONG and not isinstance(value, Revealed)
    }


def _location(base: WebAddress, location: str) -> WebAddress:
    if not location or _NO_URL.search(location):
        raise RedirectRefused(f"{base.shown} leads on to nowhere that can be read")
    try:
        return parse(urljoin(f"{base.scheme}://{base.authority}{base.target}", location))
    except ValueError as error:
        what = error if isinstance(error, BadUrl) else "can't be read"
        raise RedirectRefused(f"{base.shown} leads on to a URL that {what}") from None


def _address(request: HttpRequest) -> WebAddress:
    address = parse(request.url)
    if not request.query:
        return address
    pairs = [
        (name, _queried(value))
        for name, given in request.query.items()
        for value in (given if isinstance(given, list) else [given])
    ]
    try:
        return with_query(address, urlencode(pairs))
    except BadUrl as error:
        raise UnfitRequest(f"the URL with its query {error}") from None


def _queried(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool | int | float) else str(value)


def _content(request: HttpRequest) -> bytes | None:
    if request.has_json:
        return json.dumps(request.json_, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return str(request.body).encode() if request.body or request.method in {"POST", "PUT", "PATCH"} else None


def _authorization(auth: Auth, mask: Mask) -> str:
    if auth.basic is None:
        return f"Bearer {auth.bearer}"
    both = base64.b64encode(f"{auth.basic.username}:{auth.basic.password}".encode()).decode()
    mask.hide(both)
    return f"Basic {both}"


def _signed(signing: Signing, run_id: str, body: bytes) -> dict[str, str]:
    now = int(time.time())
    try:
        value = signature(str(signing.key), message_id=run_id, timestamp=now, body=body)
    except BadKey as error:
        raise UnfitRequest(str(error)) from None
    return {"webhook-id": run_id, "webhook-timestamp": str(now), signing.header.lower(): value}


def _holds_secrets(value: Any) -> bool:
    match value:
        case Revealed():
            return True
        case dict():
            return any(map(_holds_secrets, value.values()))
        case list():
            return any(map(_holds_secrets, value))
        case _:
            return False
