"""How large a body may be, by what its path takes."""

from __future__ import annotations

from typing import Any

from quart import Request

BODY_MAX = 256 * 1024
MANY_MAX = 4 * 1024 * 1024  # 1,000 jobs of 4 KB; what takes them parses that in about 100 ms
TAKES_MANY = frozenset({"/api/v1/jobs/bulk", "/api/v1/apply"})


def body_max(path: str) -> int:
    """The most bytes that the body of a request to this path may have."""
    return MANY_MAX if path.rstrip("/") in TAKES_MANY else BODY_MAX


class SizedRequest(Request):
    """A request whose body is bounded by what its path takes."""

    def __init__(self, method: str, scheme: str, path: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(method, scheme, path, *args, **kwargs | {"max_content_length": body_max(path)})
