"""A report's last table as CSV (RFC 4180, UTF-8): one header, then rows; nothing that a spreadsheet would run.

Spreadsheets take a field that begins with `=`, `+`, `-`, `@`, a tab or a carriage return for a formula, quoted or not.
Text that begins so gets an apostrophe before it, column names too; numbers are numbers and keep their sign.
"""

from __future__ import annotations

import csv
import io
from datetime import date, datetime
from typing import TYPE_CHECKING

from services.executor.handlers.reports.writers import Rendered

if TYPE_CHECKING:
    from services.executor.handlers.reports.report import Report, Value

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def render(report: Report) -> Rendered:
    """The table as text; what isn't there is an empty field."""
    table = report.sections[-1].table
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([harmless(column.name) for column in table.columns])
    writer.writerows([_field(value) for value in row] for row in table.rows)
    return Rendered(content=text.getvalue().encode(errors="replace"))


def harmless(text: str) -> str:
    """`text`, or with an apostrophe before it if a spreadsheet would take it for a formula.

    What stands before such a character and is not seen doesn't save it: spreadsheets trim.
    """
    return f"'{text}" if text.lstrip(" \n\ufeff\u00a0").startswith(FORMULA_STARTS) else text


def _field(value: Value) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime() | date():
            return value.isoformat()
        case str():
            return harmless(value)
        case _:
            return f"{value}"
