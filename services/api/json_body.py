"""JSON at the door: pydantic's own parser, and what it would let through that no store could keep."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from services.api.problems import Fault, Problem, invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS_MAX = 100
NUMBER_MAX = 1.7976931348623157e308  # beyond a double, JSON readers disagree
FAULTS_MAX = 20
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def parsed(body: bytes) -> Any:
    """The value that `body` is the JSON of.

    Raises:
        Problem: 400 if it isn't JSON (NaN, lone surrogates, a key that stands twice), 422 if it is but has
            NUL in a text, more than 100 levels or a number beyond a double.
    """
    try:
        tree = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem("malformed-json", f"Send a JSON document in UTF-8: {error}.") from None
    _KEYS.decode(body.decode())
    if faults := [fault for fault, _ in zip(_faults(tree, "#", 0), range(FAULTS_MAX), strict=False)]:
        raise invalid(*faults)
    return tree


def pointer(*path: str | int) -> str:
    """The JSON pointer of a path, as a fragment."""
    return "#" + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Problem("malformed-json", f"The key {twice[:80]!r} stands twice in one object: leave one out.")


_KEYS = json.JSONDecoder(object_pairs_hook=_unique, parse_int=str, parse_float=str)  # to see each key


def _faults(value: Any, where: str, level: int) -> Iterator[Fault]:
    if level > LEVELS_MAX:
        yield Fault(pointer=where, detail=f"is nested more than {LEVELS_MAX} levels deep")
        return
    match value:
        case str() if _UNSTORABLE.search(value):
            yield Fault(pointer=where, detail="holds a NUL character; leave it out")
        case bool():
            return
        case int() | float() if not -NUMBER_MAX <= value <= NUMBER_MAX:
            yield Fault(pointer=where, detail="is a number beyond the range of a double")
        case dict():
            yield from _faults_of_object(value, where, level)
        case list():
            for index, item in enumerate(value):
                yield from _faults(item, f"{where}/{index}", level + 1)


def _faults_of_object(value: dict[str, Any], where: str, level: int) -> Iterator[Fault]:
    for key, item in value.items():
        inside = where + pointer(key)[1:]
        if _UNSTORABLE.search(key):
            yield Fault(pointer=where, detail="has a key with a NUL character; leave it out")
        yield from _faults(item, inside, level + 1)
