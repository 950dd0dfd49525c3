"""A report as JSON: numbers are numbers, days and times ISO 8601, what isn't there null."""

from __future__ import annotations

import json
import math
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from services.executor.handlers.reports.writers import Rendered

if TYPE_CHECKING:
    from services.executor.handlers.reports.report import Report, Section, Value


def render(report: Report) -> Rendered:
    """{"title", "subtitle", "period", "scheduled_for", "totals": {name: value}, "sections"} as UTF-8.

    A section is {"title", "columns": [{"name", "kind"}], "rows": [[value…]…]}.
    """
    value = {
        "title": report.title,
        "subtitle": report.subtitle,
        "period": report.period.as_json(),
        "scheduled_for": report.scheduled_for.isoformat(),
        "totals": {figure.name: plain(figure.value) for figure in report.totals},
        "sections": [_section(section) for section in report.sections],
    }
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1)
    return Rendered(content=text.encode(errors="replace") + b"\n")


def plain(value: Value) -> Any:
    """`value` as JSON has it; a decimal as the nearest float, unless it is whole."""
    match value:
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case float() if not math.isfinite(value):
            return None
        case datetime() | date():
            return value.isoformat()
        case _:
            return value


def _section(section: Section) -> dict[str, Any]:
    table = section.table
    return {
        "title": section.title,
        "columns": [{"name": column.name, "kind": column.kind} for column in table.columns],
        "rows": [[plain(value) for value in row] for row in table.rows],
    }
