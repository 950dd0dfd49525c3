"""The functions that a computed column can be made with: a closed list, as there is no language to write others in."""

from __future__ import annotations

from typing import Literal

Function = Literal[
    "add",
    "subtract",
    "multiply",
    "divide",
    "modulo",
    "negate",
    "abs",
    "round",
    "floor",
    "ceil",
    "power",
    "sqrt",
    "least",
    "greatest",
    "coalesce",
    "concat",
    "upper",
    "lower",
    "trim",
    "length",
    "replace",
    "substring",
    "date",
    "year",
    "quarter",
    "month",
    "day",
    "weekday",
    "hour",
    "day_start",
    "week_start",
    "month_start",
    "quarter_start",
    "year_start",
    "days_between",
]

_MANY = 16
ARITIES: dict[Function, tuple[int, int]] = dict.fromkeys(Function.__args__, (1, 1)) | {  # type: ignore[attr-defined]
    "add": (2, _MANY),
    "subtract": (2, 2),
    "multiply": (2, _MANY),
    "divide": (2, 2),
    "modulo": (2, 2),
    "round": (1, 2),
    "power": (2, 2),
    "least": (2, _MANY),
    "greatest": (2, _MANY),
    "coalesce": (2, _MANY),
    "concat": (2, _MANY),
    "replace": (3, 3),
    "substring": (2, 3),
    "days_between": (2, 2),
}
"""How many arguments each takes: least and most."""
