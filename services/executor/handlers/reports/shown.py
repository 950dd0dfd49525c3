"""How values look to people: the same in a PDF and on a page, with no locale but one."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.executor.handlers.reports.report import Kind, Value

NONE = "\u2013"  # an en dash
_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def shown(value: Value, kind: Kind) -> str:
    """`value` in words: thousands apart, ratios as per cent, milliseconds as seconds."""
    match value, kind:
        case None, _:
            return NONE
        case ((int() | float() | Decimal()), "ratio"):
            return f"{value:.1%}"
        case ((int() | float() | Decimal()), "milliseconds"):
            return f"{value / 1000:,.3f} s"
        case bool(), _:
            return "yes" if value else "no"
        case float(), "integer":  # in a chart, whose numbers are all floats
            return f"{value:,.0f}"
        case int(), _:
            return f"{value:,}"
        case ((float() | Decimal()), _):
            return f"{value:,.2f}"
        case datetime(), _:
            return value.isoformat(sep=" ", timespec="seconds")
        case date(), _:
            return value.isoformat()
        case _:
            return clean(str(value))


def clean(text: str) -> str:
    """`text` without the characters that neither XML nor a page can hold; U+FFFD in their place."""
    return _UNSEEN.sub("\ufffd", text)
