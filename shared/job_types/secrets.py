"""Secrets in `job_data`: a reference stands there, `{"$secret": "NAME"}`, and the value never does.

The executor puts a `Revealed` in the place of each reference just before it calls the handler; a model must take both.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "$secret"
NAME = r"^[A-Za-z0-9_.-]{1,64}$"
MASK = "***"
HOW = 'write {"$secret": "NAME"}, NAME of 1 to 64 letters, digits, dots, dashes or underscores'


class SecretRef(BaseModel):
    """The name of a secret, as it stands in `job_data` or in the file of sources."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str = Field(alias="$secret", pattern=NAME)


class Revealed(str):
    """A secret's value, in the executor. It is a string like others, but for its repr."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


def _secret(value: Any) -> SecretRef | Revealed:
    if isinstance(value, SecretRef | Revealed):
        return value
    if not is_reference(value):
        raise ValueError(f"is a secret, which never stands here itself: {HOW}")
    return SecretRef.model_validate(value)


def _shown(value: SecretRef | Revealed) -> Any:
    return {KEY: value.name} if isinstance(value, SecretRef) else MASK


Secret = Annotated[
    SecretRef | Revealed,
    PlainValidator(_secret, json_schema_input_type=SecretRef),
    PlainSerializer(_shown),
]
"""The type of a model's field that holds a secret. JSON strings are refused there."""


def is_reference(value: Any) -> bool:
    """Whether it is `{"$secret": "NAME"}`, and nothing more."""
    if not isinstance(value, dict) or value.keys() != {KEY}:
        return False
    name = value[KEY]
    return isinstance(name, str) and re.fullmatch(NAME, name) is not None


def misspelt(value: Any) -> Iterator[tuple[str | int, ...]]:
    """Where in a JSON value the key `$secret` stands without making a reference."""
    return (where for where, each in _keyed(value) if not is_reference(each))


def has_references(value: Any) -> bool:
    """Whether the key `$secret` stands anywhere in a JSON value."""
    return next(_keyed(value), None) is not None


def _keyed(value: Any) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """The objects with the key `$secret` in a JSON value, and the way to each."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        where, each = waiting.pop()
        if isinstance(each, dict):
            if KEY in each:
                yield where, each
            waiting += [((*where, key), inner) for key, inner in each.items()]
        elif isinstance(each, list):
            waiting += [((*where, place), inner) for place, inner in enumerate(each)]
