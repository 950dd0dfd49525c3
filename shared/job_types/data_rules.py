"""What `data_processing` can hold a dataset to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.job_types.data_conditions import VALUES_MAX, Value
from shared.job_types.dataset import Column  # noqa: TC001 - pydantic reads it at run time
from shared.job_types.job_type import Strict

Kind = Literal["not_null", "unique", "range", "pattern", "allowed", "row_count"]

_TAKES: dict[Kind, tuple[set[str], set[str]]] = {  # what it needs, and what it may have beside that
    "not_null": ({"column"}, set()),
    "unique": ({"columns"}, set()),
    "range": ({"column"}, {"min", "max"}),
    "pattern": ({"column", "pattern"}, set()),
    "allowed": ({"column", "values"}, set()),
    "row_count": (set(), {"min", "max"}),
}


class Rule(Strict):
    """One rule. Empty cells violate `not_null` only; `unique` leaves out rows with an empty cell.

    Attributes:
        rule: `not_null` (column), `unique` (columns, together), `range` (column, min, max: both included),
            `pattern` (column; the whole text matches a regular expression, RE2), `allowed` (column, values),
            `row_count` (min, max).
    """

    rule: Kind
    column: Column | None = None
    columns: Annotated[list[Column], Field(min_length=1, max_length=16)] | None = None
    min: Value = None
    max: Value = None
    pattern: str | None = Field(default=None, min_length=1, max_length=500)
    values: Annotated[list[Value], Field(min_length=1, max_length=VALUES_MAX)] | None = None

    @model_validator(mode="after")
    def _has_what_it_takes(self) -> Rule:
        needs, may = _TAKES[self.rule]
        given = self.model_fields_set - {"rule"}
        if not needs <= given or not given <= needs | may or (may and not given & may):
            raise ValueError(f"{self.rule} takes {_listed(needs, may)}")
        if self.rule == "row_count" and not all(_counts(each) for each in (self.min, self.max)):
            raise ValueError("row_count takes whole numbers from 0 on")
        return self


def _counts(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


def _listed(needs: set[str], may: set[str]) -> str:
    return " and ".join(sorted(needs) + ([" or ".join(sorted(may)) + " or both"] if may else []))
