"""How large a body may be: by what its path takes."""

from __future__ import annotations

from typing import Any

from quart import Request
from quart.wrappers.request import Body

BODY_MAX = 256 * 1024
MANY_MAX = 4 * 1024 * 1024  # 1,000 jobs of 4 KB; what takes them parses that in about 100 ms
TAKES_MANY = frozenset({"/api/v1/jobs/bulk", "/api/v1/apply"})


def body_max(path: str) -> int:
    """The most bytes that a request to this path may have."""
    return MANY_MAX if path.rstrip("/") in TAKES_MANY else BODY_MAX


class SizedBody(Body):
    """A body that says whether it is there."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing more is awaited of it."""
        return self._complete.is_set()


class SizedRequest(Request):
    """A request whose body is bounded by what its path takes."""

    body_class = SizedBody
    body: SizedBody
    blueprints: list[str] = []  # noqa: RUF012 - there are none; Quart asks thrice a request

    def __init__(self, method: str, scheme: str, path: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(method, scheme, path, *args, **kwargs | {"max_content_length": body_max(path)})
