"""Rows as they stand in a run's result: small, and plain JSON."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from services.executor.datasets import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from duckdb import DuckDBPyConnection

ROWS_MAX = 100
SIZE_MAX = 10_000  # bytes of JSON; a result has 16 KB, and names of columns beside these
NAMES_SIZE_MAX = 4_000
TEXT_MAX = 200  # characters of one cell
DIGITS_MAX = 15  # a double keeps so many
_PLAIN = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|BOOLEAN|VARCHAR|DECIMAL\(\d+,\d+\))")


def shown(
    connection: DuckDBPyConnection, text: str, values: Mapping[str, Any], *, rows_max: int = ROWS_MAX
) -> tuple[list[dict[str, Any]], bool]:
    """The first rows of a query, each as an object, and whether something of them was left out.

    Numbers are numbers but for those that JSON or a double can't hold, which are strings; so is what is no number.
    """
    kinds = columns_of(connection, text, values)
    listed = ", ".join(
        quoted(name) if _PLAIN.fullmatch(kind) else f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}"
        for name, kind in kinds.items()
    )
    fetched = connection.execute(f"SELECT {listed} FROM ({text}) LIMIT {rows_max}", dict(values)).fetchall()
    return _fitting([dict(zip(kinds, map(_plain, row), strict=True)) for row in fetched])


def columns_of(connection: DuckDBPyConnection, text: str, values: Mapping[str, Any]) -> dict[str, str]:
    """The types of a query's columns by name; binds it, computes nothing."""
    found = connection.execute(f"SELECT * FROM ({text}) LIMIT 0", dict(values)).description or []
    return {column[0]: str(column[1]) for column in found}


def names(columns: Iterable[str]) -> tuple[list[str], bool]:
    """As many names as a result has room for, and whether some were left out."""
    kept: list[str] = []
    room = NAMES_SIZE_MAX
    for name in columns:
        room -= _size(name) + 1
        if room < 0:
            return kept, True
        kept.append(name)
    return kept, False


def _fitting(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
    room = SIZE_MAX
    for place, row in enumerate(rows):
        room -= _size(row)
        if room < 0:
            return rows[:place], True
    return rows, False


def _plain(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case Decimal():
            return _number(value)
        case str() if len(value) > TEXT_MAX:
            return value[:TEXT_MAX] + "…"
        case _:
            return value


def _number(value: Decimal) -> int | float | str:
    if value == value.to_integral_value():
        return int(value)
    return float(value) if len(value.as_tuple().digits) <= DIGITS_MAX else str(value)


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass"))
