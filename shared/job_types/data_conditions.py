"""Which rows are meant: conditions as data, never as text of a language."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from shared.job_types.dataset import Column  # noqa: TC001 - pydantic reads it at run time
from shared.job_types.job_type import Strict

if TYPE_CHECKING:
    from collections.abc import Iterator

Scalar = str | bool | int | float
Op = Literal[
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "in",
    "not_in",
    "between",
    "contains",
    "starts_with",
    "ends_with",
    "matches",
    "is_null",
    "is_not_null",
]
DEPTH_MAX = 5
CONDITIONS_MAX = 100
VALUES_MAX = 1_000
TEXT_MAX = 4_096
INTEGER_MAX = 2**63 - 1
_ALONE = frozenset({"is_null", "is_not_null"})
_TEXT = frozenset({"contains", "starts_with", "ends_with", "matches"})


def scalar(value: Any) -> Any:
    """`value`, if it can stand in a row.

    Raises:
        ValueError: a sentence that says what can.
    """
    match value:
        case bool():
            return value
        case str() if len(value) <= TEXT_MAX and "\x00" not in value:
            return value
        case int() if abs(value) <= INTEGER_MAX:
            return value
        case float() if math.isfinite(value):
            return value
    raise ValueError(
        f"write a string of at most {TEXT_MAX:,} characters, a number of at most 64 bits, true or false"
    )


def _scalars(value: Any) -> Any:
    if not isinstance(value, list):
        return scalar(value)
    if not 1 <= len(value) <= VALUES_MAX:
        raise ValueError(f"write 1 to {VALUES_MAX:,} values")
    return [scalar(each) for each in value]


_SCALARS: list[dict[str, Any]] = [{"type": each} for each in ("string", "number", "boolean")]
Value = Annotated[Any, AfterValidator(scalar), WithJsonSchema({"anyOf": _SCALARS})]
Values = Annotated[
    Any,
    AfterValidator(_scalars),
    WithJsonSchema({"anyOf": [*_SCALARS, {"type": "array", "items": {"anyOf": _SCALARS}}]}),
]


# A schema that holds itself is more than many readers of OpenAPI can follow.
_Inner = Annotated[
    "Condition", WithJsonSchema({"type": "object", "description": "a condition, as the one around it"})
]


class Condition(Strict):
    """One of two: `column`, `op` and a `value`; or conditions joined by `all`, `any` or `not`.

    A value is compared as one of the column's own type: dates and times are written as strings. An empty cell
    fulfils nothing but `is_null`, and what `not` makes of that is nothing either.

    Attributes:
        op: `in`, `not_in` and `between` (both ends included) take a list; `matches` a regular expression (RE2)
            that is found anywhere in the text; `is_null` and `is_not_null` no value.
    """

    column: Column | None = None
    op: Op | None = None
    value: Values = None
    all: list[_Inner] | None = Field(default=None, min_length=1, max_length=CONDITIONS_MAX)
    any: list[_Inner] | None = Field(default=None, min_length=1, max_length=CONDITIONS_MAX)
    not_: _Inner | None = Field(default=None, alias="not")

    @model_validator(mode="after")
    def _one_form(self) -> Condition:
        joined = [each for each in (self.all, self.any, self.not_) if each is not None]
        compares = self.column is not None or self.op is not None or "value" in self.model_fields_set
        if len(joined) + compares != 1:
            raise ValueError("write either column, op and value, or one of all, any and not")
        if compares:
            self._check_comparison()
        return self

    def _check_comparison(self) -> None:
        if self.column is None or self.op is None:
            raise ValueError("a comparison needs a column and an op")
        if ("value" in self.model_fields_set) == (self.op in _ALONE):
            raise ValueError(f"{self.op} takes {'no' if self.op in _ALONE else 'a'} value")
        if isinstance(self.value, list) != (self.op in {"in", "not_in", "between"}):
            raise ValueError(
                f"{self.op} takes {'one value' if isinstance(self.value, list) else 'a list of values'}"
            )
        if self.op == "between" and len(self.value) != 2:  # noqa: PLR2004 - from and to
            raise ValueError("between takes two values, the lower first")
        if self.op in _TEXT and not isinstance(self.value, str):
            raise ValueError(f"{self.op} takes a string")

    @property
    def inner(self) -> Iterator[Condition]:
        """The conditions that it joins."""
        yield from self.all or ()
        yield from self.any or ()
        if self.not_ is not None:
            yield self.not_


def _bounded(conditions: list[Condition]) -> list[Condition]:
    level, count = conditions, 0
    for _ in range(DEPTH_MAX):
        count += len(level)
        if count > CONDITIONS_MAX:
            raise ValueError(f"has more than {CONDITIONS_MAX} conditions")
        level = [inner for each in level for inner in each.inner]
    if level:
        raise ValueError(f"has conditions more than {DEPTH_MAX} levels deep")
    return conditions


Where = Annotated[list[Condition], Field(max_length=CONDITIONS_MAX), AfterValidator(_bounded)]
"""Conditions that all hold."""
