"""`http_request`: asks a web server for something, or tells it something."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, PlainSerializer, PlainValidator, model_validator

from shared.job_types.http_headers import CREDENTIALS, name_fault, value_fault
from shared.job_types.job_type import Fault, JobType, Strict
from shared.job_types.secrets import HOW, KEY, Revealed, Secret, SecretRef, is_reference
from shared.job_types.web_address import leads_inward, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.job_types.catalog import Catalog

STORED_MAX = 4_096  # bytes of an answer that a result has room for
REDIRECTS_MAX = 5
RETRY_AFTER_MAX_S = 3_600
TIMEOUT_S = 30.0
SIGNATURE_HEADER = "webhook-signature"
SIGNED_HEADERS = ("webhook-id", "webhook-timestamp")
_STATUS_CLASS = re.compile(r"[2-5]xx")
_NO_SIGNATURE = frozenset({*SIGNED_HEADERS, "authorization", "accept", "content-type", "user-agent"})
_BODILESS = ("GET", "HEAD")


def _url(url: str) -> str:
    parse(url)
    return url


def _text_or_secret(value: Any) -> str | SecretRef:
    if isinstance(value, str | SecretRef):  # a Revealed is a str
        return value
    if is_reference(value):
        return SecretRef.model_validate(value)
    raise ValueError(f"is neither text nor a secret; for a secret {HOW}")


def _query_value(value: Any) -> Any:
    return [_one_value(each) for each in value] if isinstance(value, list) else _one_value(value)


def _one_value(value: Any) -> str | int | float | SecretRef:
    return value if isinstance(value, bool | int | float) else _text_or_secret(value)


def _status(value: Any) -> int | str:
    if isinstance(value, int) and not isinstance(value, bool) and 200 <= value <= 599:  # noqa: PLR2004 - what a status may be
        return value
    if isinstance(value, str) and _STATUS_CLASS.fullmatch(value):
        return value
    raise ValueError("is neither a status from 200 to 599 nor one of 2xx, 3xx, 4xx, 5xx")


def _written(value: Any) -> Any:
    if isinstance(value, list):
        return [_written(each) for each in value]
    return {KEY: value.name} if isinstance(value, SecretRef) else value


TextOrSecret = Annotated[
    Any,
    PlainValidator(_text_or_secret, json_schema_input_type=str | SecretRef),
    PlainSerializer(_written),
]
_One = str | int | float | bool | SecretRef
QueryValue = Annotated[
    Any,
    PlainValidator(_query_value, json_schema_input_type=_One | list[_One]),
    PlainSerializer(_written),
]
Status = Annotated[Any, PlainValidator(_status, json_schema_input_type=int | str)]


class Basic(Strict):
    """A user's name and password (RFC 7617)."""

    username: str = Field(min_length=1, max_length=200, pattern=r"^[^:\x00-\x1f\x7f]+$")
    password: Secret


class Auth(Strict):
    """Who asks: one of the two. It becomes the header Authorization."""

    bearer: Secret | None = None
    basic: Basic | None = None

    @model_validator(mode="after")
    def _one(self) -> Auth:
        if (self.bearer is None) == (self.basic is None):
            raise ValueError("takes one of bearer and basic")
        return self


class Signing(Strict):
    """A signature as of Standard Webhooks 1.0.0, so that the server can tell that it is you, and that it is now.

    Sent are `webhook-id` (the run's id), `webhook-timestamp` (seconds since 1970) and the signature: `v1,` and in
    base64 HMAC-SHA256 of these bytes: the id, a full stop, the timestamp, a full stop, the body as it is sent.

    Attributes:
        key: its bytes in base64 after `whsec_`; a key without that prefix is taken as it is, in UTF-8.
        header: in which the signature stands.
    """

    key: Secret
    algorithm: Literal["sha256"] = "sha256"
    header: str = Field(default=SIGNATURE_HEADER, max_length=128)


class HttpRequest(Strict):
    """What to ask for, and which answer is a good one.

    Attributes:
        url: http or https, at most 2,048 characters, without user and password; it leads to a public address, or into
            DAYBOOK_HTTP_NETWORKS.
        headers: their values are text or secrets. Host, Content-Length, Idempotency-Key and those of the
            connection are not the job's.
        query: is put after what stands in url; a list gives its name several times.
        json: any JSON, sent as application/json; secrets may stand anywhere in it.
        body: text, sent as text/plain unless a header says otherwise; not beside json.
        expected_statuses: numbers or classes; the run succeeds with one of them.
        timeout_seconds: for the whole exchange, redirects included; the job's own timeout_seconds stays above it.
        follow_redirects: up to 5, each checked like url. Of the headers only accept, accept-language,
            content-type, user-agent and idempotency-key go to another server, and no body that holds a secret.
        store_response: how many bytes of the answer's text stand in the result.
    """

    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "GET"
    url: Annotated[str, Field(min_length=1), AfterValidator(_url)]
    headers: dict[str, TextOrSecret] = Field(default_factory=dict, max_length=50)
    query: dict[str, QueryValue] = Field(default_factory=dict, max_length=100)
    json_: Any = Field(default=None, alias="json")
    body: TextOrSecret = ""
    auth: Auth | None = None
    signing: Signing | None = None
    expected_statuses: list[Status] = Field(default=["2xx"], min_length=1, max_length=20)
    timeout_seconds: float = Field(default=TIMEOUT_S, ge=0.1, le=3_600)
    follow_redirects: bool = False
    store_response: int = Field(default=STORED_MAX, ge=0, le=STORED_MAX)

    @model_validator(mode="after")
    def _one_body(self) -> HttpRequest:
        if self.has_json and "body" in self.model_fields_set:
            raise ValueError("takes one of json and body")
        if self.method in _BODILESS and (self.has_json or self.body):
            raise ValueError(f"asks by {self.method}, which takes no body: name another method")
        return self

    @property
    def has_json(self) -> bool:
        """Whether a JSON value is to be sent; null is one."""
        return "json_" in self.model_fields_set

    def expects(self, status: int) -> bool:
        """Whether an answer of this status is a good one."""
        return status in self.expected_statuses or f"{status // 100}xx" in self.expected_statuses


class HttpResult(BaseModel):
    """What was answered.

    Attributes:
        url: that answered, without its query.
        headers: a few of them, by lower-case name.
        body: its JSON if it is that and all of it is stored; else text; null if it is neither, or none was to be.
        truncated: body is not all of it.
        bytes: of the answer that were read, as they came.
        redirects: how many were followed.
        seconds: from the first byte sent to the last one read.
    """

    status: int
    url: str
    headers: dict[str, str]
    body: Any
    truncated: bool
    bytes: int
    redirects: int
    seconds: float


def check(request: HttpRequest, catalog: Catalog) -> Iterable[Fault]:
    """What is wrong with a request here; the executor looks again, when it knows the secrets' values."""
    if leads_inward(parse(request.url), catalog.http_networks):
        yield Fault(
            pointer="#/job_data/url",
            detail="leads to an address that is not public; the operator allows networks by DAYBOOK_HTTP_NETWORKS",
        )
    taken = _taken(request)
    seen: set[str] = set()
    for name, value in request.headers.items():
        pointer = "#/job_data/headers/" + name.replace("~", "~0").replace("/", "~1")
        for detail in _header_faults(name, value, taken | seen):
            yield Fault(pointer=pointer, detail=detail)
        seen.add(name.lower())
    if request.signing is not None:
        for detail in _signature_faults(request.signing.header):
            yield Fault(pointer="#/job_data/signing/header", detail=detail)


def _signature_faults(name: str) -> Iterable[str]:
    if fault := name_fault(name):
        yield fault
    if name.lower() in _NO_SIGNATURE:
        yield "is a header with a meaning of its own"


def _taken(request: HttpRequest) -> set[str]:
    """The headers that follow from other fields."""
    taken = set() if request.auth is None else {"authorization"}
    return taken if request.signing is None else taken | {*SIGNED_HEADERS, request.signing.header.lower()}


def _header_faults(name: str, value: str | SecretRef, taken: set[str]) -> Iterable[str]:
    if fault := name_fault(name):
        yield fault
    if name.lower() in taken:
        yield "stands there twice: upper and lower case are one name, and auth and signing set theirs"
    if isinstance(value, SecretRef):
        return
    if name.lower() in CREDENTIALS and not isinstance(value, Revealed):
        yield f"says who you are, which never stands here itself: use auth, or {HOW}"
    if fault := value_fault(value):
        yield fault


HTTP_REQUEST = JobType(
    name="http_request",
    description=(
        "Sends one HTTP request, with the run's id as Idempotency-Key, and keeps the answer's status, some headers and "
        "up to 4 KB of its text. Only public addresses are asked, and DAYBOOK_HTTP_NETWORKS; TLS is always checked."
    ),
    model=HttpRequest,
    check=check,
    result=HttpResult,
    retried=(
        "408, 425, 429 and 5xx that are not expected (429 and 503 after their Retry-After, at most an hour): "
        "NotNow, TooManyRequests, ServerError; a name that isn't found (NameNotFound), a server that isn't reached "
        "(NotConnected), hangs up or speaks no HTTP (BrokenAnswer), or takes too long (TimeoutError)"
    ),
    given_up=(
        "any other status that is not expected (UnexpectedStatus); an address that is not public (NotPublic); a "
        "certificate that is not trusted (UntrustedCertificate); a redirect to plain http, with a secret in the body "
        "to another server, to no good URL, or the sixth (RedirectRefused); a secret that its header or signature "
        "can't take (UnfitRequest); SecretMissing"
    ),
)
