"""The parameters of `data_processing`, operation by operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from shared.job_types.data_conditions import Value, Where  # noqa: TC001 - pydantic reads it at run time
from shared.job_types.data_functions import ARITIES, Function
from shared.job_types.data_rules import Rule  # noqa: TC001 - pydantic reads it at run time
from shared.job_types.dataset import Column, Dataset, Type
from shared.job_types.job_type import Strict

if TYPE_CHECKING:
    from collections.abc import Iterable

Columns = Annotated[list[Column], Field(min_length=1, max_length=500)]
Rows = Annotated[int, Field(ge=1, le=10_000_000_000)]
AggregationType = Literal[
    "sum", "avg", "min", "max", "count", "count_distinct", "median", "stddev", "variance"
]


class Order(Strict):
    """By which column of the outcome; empty cells come last."""

    column: Column
    descending: bool = False


class Reading(Strict):
    """What all operations have.

    Attributes:
        record_count: at most so many rows of each dataset are read, the first.
        where: conditions that rows must all fulfil.
    """

    record_count: Rows | None = None
    where: Where = Field(default_factory=list)


class Ordered(Reading):
    """What all operations have whose outcome is rows.

    Attributes:
        order_by: of the outcome; the first counts most.
        limit: at most so many rows of it.
    """

    order_by: list[Order] = Field(default_factory=list, max_length=16)
    limit: Rows | None = None


class Measure(Strict):
    """One column of an aggregation's outcome.

    Attributes:
        column: what is aggregated.
        name: of the outcome's column, by default `<aggregation_type>_<column>`.
    """

    column: Column
    aggregation_type: AggregationType
    name: Column | None = None


class AggregateParameters(Ordered):
    """How rows are brought together.

    Attributes:
        columns: what is aggregated; by default all columns of numbers that aren't grouped by.
        aggregation_type: of all of them; stddev and variance are those of a sample; empty cells don't count.
        aggregations: instead of both: each with a type of its own.
        group_by: one row of the outcome for each combination of their values; none: one row in all.
    """

    columns: Columns | None = None
    group_by: list[Column] = Field(default_factory=list, max_length=16)
    aggregation_type: AggregationType = "sum"
    aggregations: list[Measure] | None = Field(default=None, min_length=1, max_length=200)

    @model_validator(mode="after")
    def _one_way(self) -> AggregateParameters:
        _check_once("group_by", self.group_by)
        _check_once("columns", self.columns or ())
        if self.aggregations is not None and self.model_fields_set & {"columns", "aggregation_type"}:
            raise ValueError("write either aggregations, or columns and aggregation_type")
        return self


class FilterParameters(Ordered):
    """Which rows and columns are kept.

    Attributes:
        columns: in this order; by default all.
        distinct: equal rows are one.
    """

    columns: Columns | None = None
    distinct: bool = False

    @model_validator(mode="after")
    def _no_twins(self) -> FilterParameters:
        _check_once("columns", self.columns or ())
        return self


class Argument(Strict):
    """Of a function: a column, or a value that is the same in each row."""

    column: Column | None = None
    value: Value = None

    @model_validator(mode="after")
    def _either(self) -> Argument:
        if (self.column is None) != ("value" in self.model_fields_set):
            raise ValueError("write either a column or a value")
        return self


class Computed(Strict):
    """A new column.

    Attributes:
        name: its own.
        function: of its arguments, row by row.
        arguments: columns as they are after `cast`, by the names they had before `rename`; computed ones not.
    """

    name: Column
    function: Function
    arguments: list[Argument] = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def _as_many_as_it_takes(self) -> Computed:
        least, most = ARITIES[self.function]
        if not least <= len(self.arguments) <= most:
            number = str(least) if least == most else f"{least} to {most}"
            raise ValueError(f"{self.function} takes {number} arguments, not {len(self.arguments)}")
        return self


class TransformParameters(Ordered):
    """How rows are changed: those that fulfil `where` are cast, computed from, renamed; then columns are picked.

    Attributes:
        cast: the type that columns are brought to.
        on_cast_error: a cell that can't be brought to it fails the run, or is emptied.
        computed: new columns, behind those there are.
        rename: old name → new name.
        columns: of the outcome, by their new names; by default all.
    """

    cast: dict[Column, Type] = Field(default_factory=dict, max_length=500)
    on_cast_error: Literal["fail", "null"] = "fail"
    computed: list[Computed] = Field(default_factory=list, max_length=100)
    rename: dict[Column, Column] = Field(default_factory=dict, max_length=500)
    columns: Columns | None = None

    @model_validator(mode="after")
    def _no_twins(self) -> TransformParameters:
        _check_once("columns", self.columns or ())
        _check_once("rename and computed", [*self.rename.values(), *(each.name for each in self.computed)])
        return self


class JoinParameters(Ordered):
    """How the rows of two datasets meet. `where`, `order_by` and `columns` speak of the outcome.

    Attributes:
        other: the second dataset, written `with`.
        on: columns that are equal in both.
        right_on: their names in the second, where they differ, in the same order.
        how: `semi` and `anti` keep rows of the first that have, or haven't, one in the second.
        suffix: of the second's columns whose names the first has too.
    """

    other: Dataset = Field(alias="with")
    on: Columns
    right_on: Columns | None = None
    how: Literal["inner", "left", "right", "full", "semi", "anti"] = "inner"
    columns: Columns | None = None
    suffix: str = Field(default="_right", pattern=r"^[A-Za-z0-9_]{1,32}$")

    @model_validator(mode="after")
    def _in_pairs(self) -> JoinParameters:
        if self.right_on is not None and len(self.right_on) != len(self.on):
            raise ValueError("on and right_on must be equally long")
        _check_once("columns", self.columns or ())
        return self


class SqlParameters(Strict):
    """A query of the client's own, where the operator allows it.

    Attributes:
        query: a single SELECT over the view `dataset`, in duckdb's dialect; it reads nothing else.
    """

    query: str = Field(min_length=1, max_length=20_000, pattern=r"^[^\x00]*$")
    record_count: Rows | None = None


class ValidateParameters(Reading):
    """What must be true of the rows that fulfil `where`.

    Attributes:
        fail_on_violation: a violated rule fails the run, which is then given up; else the result says what it is.
    """

    rules: list[Rule] = Field(min_length=1, max_length=50)
    fail_on_violation: bool = False


def _check_once(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name.casefold() in seen:
            raise ValueError(f"{what}: {name[:80]!r} stands there twice (capitals don't count)")
        seen.add(name.casefold())
