"""What takes revealed secrets out of all that a run says: its lines, progress, errors and results.

A value is hidden as it is, and in the spellings in which libraries tend to repeat it: in a URL, in JSON, as a repr; of
an address also its password alone, of a text of several lines each line. Short values stand for themselves: to
replace each `abc` would hide nothing and spoil the rest.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from services.executor.outcome import Raised, Returned
from shared import logs
from shared.domain.events import Failure
from shared.job_types.secrets import MASK, Revealed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.executor.outcome import Outcome

HIDDEN_MIN = 4  # characters
LINE_MIN = 8  # of one line among several
PASSWORD_MIN = 12  # of the deployment's own passwords: `postgres` is what a database is called, too


class Mask:
    """The secrets of one call."""

    def __init__(self) -> None:
        self._hidden: frozenset[str] = frozenset()
        self._own: re.Pattern[str] | None = None
        self._standing: re.Pattern[str] | None = None

    def stand_by(self, standing: re.Pattern[str] | None) -> None:
        """Replace what this finds, too: the deployment's own passwords (see `standing`)."""
        self._standing = standing

    def hide(self, value: str) -> None:
        """Replace this value from now on."""
        self._hide(_spellings(str(value)))

    def hide_password(self, address: str) -> None:
        """Replace the password of an address from now on; a short one only where an address shows it."""
        self._hide(_of_address(address))

    def _hide(self, values: Iterable[str]) -> None:
        new = frozenset(values) - self._hidden
        if new:
            self._hidden |= new
            self._own = _finding(self._hidden)
            logs.hide(new)

    def text(self, text: str) -> str:
        """`text` without them."""
        for pattern in (self._own, self._standing):
            if pattern is not None:
                text = pattern.sub(MASK, text)
        return text

    def json(self, value: Any) -> Any:
        """A JSON value without them: in its strings, its keys, and where a number is one."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return self._object(value)
            case list():
                return [self.json(inner) for inner in value]
            case int() | float() if not isinstance(value, bool):
                return MASK if json.dumps(value) in self._hidden else value
            case _:
                return value

    def _object(self, value: dict[str, Any]) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for key, inner in value.items():
            name = self.text(key)
            shown[f"{name} {len(shown) + 1}" if name in shown else name] = self.json(inner)
        return shown

    def outcome(self, outcome: Outcome) -> Outcome:
        """What became of the call, without them."""
        if self._own is None and self._standing is None:
            return outcome
        match outcome:
            case Returned(result=result):
                return Returned(result=self.json(result))
            case Raised(error=error):
                # Its names stay: the retry policy goes by them, and they are recorded nowhere.
                failure = Failure(class_=self.text(error.class_), message=self.text(error.message))
                return replace(outcome, error=failure)

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


@lru_cache(maxsize=16)
def standing(addresses: tuple[str, ...], values: tuple[str, ...]) -> re.Pattern[str] | None:
    """What finds the passwords of these addresses, and these values; made once for all runs."""
    hidden = {each for address in addresses for each in _of_address(address)}
    hidden |= {each for value in values for each in _spellings(value)}
    return _finding(hidden) if hidden else None


def _finding(values: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(values, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)))


def _of_address(address: str) -> Iterator[str]:
    for password in _passwords(address):
        yield f":{password}@"
        if len(password) >= PASSWORD_MIN:
            yield from _spellings(password)


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
