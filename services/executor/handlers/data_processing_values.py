"""Names and values of `data_processing` in SQL: names are the dataset's own, quoted; values are bound."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from services.executor.datasets import sentence
from shared.handlers import GiveUp

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from duckdb import DuckDBPyConnection

    from services.executor.datasets import Table
    from shared.job_types.data_conditions import Condition

_NUMBER = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|BIGNUM|DECIMAL\(\d+,\d+\))")
_AS_TEXT = re.compile(r"(DATE|UUID|TIME|TIMESTAMP(_S|_MS|_NS)?|(TIME|TIMESTAMP) WITH TIME ZONE)")
_COMPARED = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_TEXT = {
    "contains": "contains",
    "starts_with": "starts_with",
    "ends_with": "suffix",
    "matches": "regexp_matches",
}


class BadParameters(GiveUp):
    """What is asked for doesn't fit the columns of the dataset."""


def is_number(kind: str) -> bool:
    """Whether a type of duckdb's is one of numbers."""
    return _NUMBER.fullmatch(kind) is not None


@dataclass(frozen=True, slots=True)
class Bindings:
    """The parameters of one statement, by their names in it."""

    connection: DuckDBPyConnection
    values: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: Any) -> str:
        """`value` as it is written in SQL: `$p1`."""
        name = f"p{len(self.values) + 1}"
        self.values[name] = value
        return f"${name}"

    def compared(self, value: Any, table: Table, column: str) -> str:
        """`value` as one of the type of `column`.

        Raises:
            BadParameters: it is none.
            UnknownColumn: there is no such column.
        """
        table.column(column)
        kind = table.columns[column]
        wanted, fits = _wanted(kind, value)
        if not fits:
            raise BadParameters(f"{str(value)[:80]!r} doesn't compare with {column} ({kind[:80]}): {wanted}")
        if _AS_TEXT.fullmatch(kind):
            self._check_cast(value, column, kind)
            return f"CAST({self.bind(value)} AS {kind})"
        return self.bind(value)

    def pattern(self, text: str) -> str:
        """A regular expression.

        Raises:
            BadParameters: it is none.
        """
        import duckdb  # noqa: PLC0415 - of the extra `data`

        try:
            self.connection.execute("SELECT regexp_matches('', $1)", [text])
        except duckdb.InvalidInputException as error:
            raise BadParameters(f"{text[:80]!r} is no regular expression: {sentence(error, {})}") from error
        return self.bind(text)

    def _check_cast(self, value: str, column: str, kind: str) -> None:
        row = self.connection.execute(f"SELECT TRY_CAST($1 AS {kind}) IS NULL", [value]).fetchone()
        if row is None or row[0]:
            raise BadParameters(f"{value[:80]!r} doesn't compare with {column}: it is no {kind}")


def where(conditions: Iterable[Condition], table: Table, bindings: Bindings) -> str:
    """The conditions as a clause ` WHERE …`; "" if there are none.

    Raises:
        BadParameters, UnknownColumn: they don't fit the table.
    """
    written = [_condition(each, table, bindings) for each in conditions]
    return f" WHERE {' AND '.join(written)}" if written else ""


def _condition(condition: Condition, table: Table, bindings: Bindings) -> str:
    def each(inner: Iterable[Condition], word: str) -> str:
        return f"({word.join(_condition(one, table, bindings) for one in inner)})"

    if condition.all is not None:
        return each(condition.all, " AND ")
    if condition.any is not None:
        return each(condition.any, " OR ")
    if condition.not_ is not None:
        return f"(NOT {_condition(condition.not_, table, bindings)})"
    return _comparison(condition, table, bindings)


def _comparison(condition: Condition, table: Table, bindings: Bindings) -> str:
    name, value = condition.column or "", condition.value
    column = table.column(name)
    match condition.op:
        case "is_null":
            return f"{column} IS NULL"
        case "is_not_null":
            return f"{column} IS NOT NULL"
        case "between":
            low, high = (bindings.compared(each, table, name) for each in value)
            return f"({column} BETWEEN {low} AND {high})"
        case "in" | "not_in":
            listed = ", ".join(bindings.compared(each, table, name) for each in value)
            return f"({column} {'IN' if condition.op == 'in' else 'NOT IN'} ({listed}))"
        case "matches":
            _check_text(table, name, "matches")
            return f"regexp_matches({column}, {bindings.pattern(value)})"
        case "contains" | "starts_with" | "ends_with":
            _check_text(table, name, condition.op)
            return f"{_TEXT[condition.op]}({column}, {bindings.bind(value)})"
        case op:
            return f"{column} {_COMPARED[str(op)]} {bindings.compared(value, table, name)}"


def _check_text(table: Table, column: str, op: str) -> None:
    if table.columns[column] != "VARCHAR":
        raise BadParameters(f"{op} is for text; {column} is {table.columns[column][:80]}")


def _wanted(kind: str, value: Any) -> tuple[str, bool]:
    """What a value of this type is written as, and whether this one is."""
    if is_number(kind):
        return "write a number", isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "BOOLEAN":
        return "write true or false", isinstance(value, bool)
    if kind == "VARCHAR" or _AS_TEXT.fullmatch(kind):
        return "write a string", isinstance(value, str)
    return "values of this type aren't compared", False


def check_names(names: Iterable[str], columns: Mapping[str, object]) -> None:
    """Refuse a name that a column has already; capitals don't count.

    Raises:
        BadParameters: says which.
    """
    taken = {each.casefold() for each in columns}
    for name in names:
        if name.casefold() in taken:
            raise BadParameters(f"there is a column {name[:80]!r} already (capitals don't count)")
        taken.add(name.casefold())
