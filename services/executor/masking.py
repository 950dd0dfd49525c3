"""What takes revealed secrets out of all that a run says: its lines, progress, errors and results.

A value is hidden as it is, and in the spellings in which libraries tend to repeat it: in a URL, in JSON, as a repr; of
an address also its password alone, of a text of several lines each line. Short values stand for themselves: to
replace each `abc` would hide nothing and spoil the rest.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from services.executor.outcome import Raised, Returned
from shared import logs
from shared.domain.events import Failure
from shared.job_types.secrets import MASK, Revealed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.executor.outcome import Outcome

HIDDEN_MIN = 4  # characters
LINE_MIN = 8  # of one line among several


class Mask:
    """The secrets of one call."""

    def __init__(self) -> None:
        self._hidden: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def hide(self, value: str) -> None:
        """Replace this value from now on."""
        new = frozenset(_spellings(str(value))) - self._hidden
        if not new:
            return
        self._hidden |= new
        longest_first = sorted(self._hidden, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        logs.hide(new)

    def text(self, text: str) -> str:
        """`text` without them."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def json(self, value: Any) -> Any:
        """A JSON value without them: in its strings, its keys, and where a number is one."""
        if self._pattern is None:
            return value
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(key): self.json(inner) for key, inner in value.items()}
            case list():
                return [self.json(inner) for inner in value]
            case int() | float() if not isinstance(value, bool):
                return MASK if json.dumps(value) in self._hidden else value
            case _:
                return value

    def outcome(self, outcome: Outcome) -> Outcome:
        """What became of the call, without them."""
        if self._pattern is None:
            return outcome
        match outcome:
            case Returned(result=result):
                return Returned(result=self.json(result))
            case Raised(error=error):
                failure = Failure(class_=self.text(error.class_), message=self.text(error.message))
                return replace(outcome, error=failure, names=tuple(map(self.text, outcome.names)))

    def found_in(self, job_data: Any) -> None:
        """Hide what has been revealed in `job_data`."""
        match job_data:
            case Revealed():
                self.hide(job_data)
            case dict():
                for inner in job_data.values():
                    self.found_in(inner)
            case list():
                for inner in job_data:
                    self.found_in(inner)


def _spellings(value: str) -> Iterator[str]:
    lines = value.splitlines()
    parts = [value, *(line for line in lines if len(lines) > 1 and len(line) >= LINE_MIN), *_passwords(value)]
    for part in parts:
        if len(part) >= HIDDEN_MIN:
            yield part
            yield quote(part, safe="")
            yield quote(part)
            yield quote_plus(part)
            yield json.dumps(part)[1:-1]
            yield json.dumps(part, ensure_ascii=False)[1:-1]
            yield repr(part)[1:-1]


def _passwords(value: str) -> list[str]:
    """Of an address, its password."""
    try:
        password = urlsplit(value).password if "://" in value else None
    except ValueError:
        return []
    return [] if password is None else [password, unquote(password)]
