"""How a command that talks to the API may fail, and the status that it ends with.

0 done · 1 refused by the API · 2 wrong usage · 3 the API can't be reached, or can't answer · 4 there is no such thing ·
5 done, and the answer is no: a dry run has found something to do, or the execution that was followed ended badly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import httpx

REFUSED, USAGE, UNREACHABLE, MISSING, NO = 1, 2, 3, 4, 5
STATUSES = (
    "Ends with 0 if it is done, 1 if the API refuses it, 2 if it is used wrongly, 3 if the API can't be reached or "
    "can't answer, 4 if there is no such thing, 5 if the answer is no (a dry run finds something to do, or the "
    "execution that was followed ended badly)."
)
_NOT_FOUND, _FAULT_THERE = 404, 500


class Failed(click.ClickException):
    """The command ends with a sentence on stderr, and `exit_code`."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click reads it of the instance


class Refused(Failed):
    """The API has answered with a problem.

    Attributes:
        status: HTTP's.
        errors: what is wrong where.
    """

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        self.status = status
        self.errors: list[dict[str, str]] = list(document.get("errors") or [])
        self.title = str(document.get("title") or f"The API answered {status}")
        self.detail = str(document.get("detail") or "")
        code = UNREACHABLE if status >= _FAULT_THERE else REFUSED
        super().__init__(self.title, MISSING if status == _NOT_FOUND else code)

    def format_message(self) -> str:
        """Title and detail; where there are errors, a line for each instead of the detail, which lists them."""
        if not self.errors:
            return f"{self.title}. {self.detail}".strip()
        lines = [f"  {each['pointer']}: {each['detail']}" for each in self.errors]
        return "\n".join([f"{self.title}.", *lines])


def refused(response: httpx.Response) -> Refused:
    """The problem in an answer; or, if whoever answered isn't Daybook, what can be said of it."""
    try:
        document = response.json()
    except ValueError:
        document = None
    if not isinstance(document, dict) or "title" not in document:
        text = response.text.strip()[:200]
        document = {"title": f"{response.url} answered {response.status_code}", "detail": text}
    return Refused(response.status_code, document)
