"""Headers that a job may have sent: their names, their values, and which of them are not the job's."""

from __future__ import annotations

import re

VALUE_MAX = 4_096
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?|")
_OF_THE_CONNECTION = (
    "connection keep-alive proxy-connection te trailer transfer-encoding upgrade expect http2-settings "
    "proxy-authenticate proxy-authorization"
)
_NOT_A_JOBS = {
    **dict.fromkeys(_OF_THE_CONNECTION.split(), "is about the connection, which is not the job's"),
    "host": "follows from url",
    "content-length": "follows from the body",
    "accept-encoding": "is not the job's: answers are read plain or as gzip",
    "idempotency-key": "is always the run's id",
}
CREDENTIALS = frozenset(
    {"authorization", "cookie", "x-api-key", "api-key", "apikey", "x-auth-token", "x-access-token"}
)


def name_fault(name: str) -> str | None:
    """What is wrong with a header's name; a sentence's end."""
    if not _NAME.fullmatch(name):
        return "is no name of a header: letters, digits and -, at most 128"
    return _NOT_A_JOBS.get(name.lower())


def value_fault(value: str) -> str | None:
    """What is wrong with a header's value; never says what it is."""
    if len(value) > VALUE_MAX:
        return f"has a value of {len(value):,} characters; {VALUE_MAX:,} is the limit"
    if not _VALUE.fullmatch(value):
        return "has a value with a line break, a space at its end, or what is not printable ASCII"
    return None
