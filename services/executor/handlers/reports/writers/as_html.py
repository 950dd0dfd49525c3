"""A report as one page that needs nothing else: styles and charts are in it, no script, no font, no link out."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined

from services.executor.handlers.reports import bars
from services.executor.handlers.reports.report import NUMERIC
from services.executor.handlers.reports.shown import clean, shown
from services.executor.handlers.reports.writers import Rendered

if TYPE_CHECKING:
    from jinja2 import Template

    from services.executor.handlers.reports.report import Report


def render(report: Report) -> Rendered:
    """The page, as UTF-8. Whatever stands in the data is text in it: all is escaped."""
    text = _template().render(report=report)
    return Rendered(content=text.encode(errors="replace"))


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_cleaned
    )
    environment.filters["shown"] = shown
    environment.globals["bars_of"] = bars.bars_of
    environment.globals["is_numeric"] = NUMERIC.__contains__
    page = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    return environment.from_string(page)


def _cleaned(value: object) -> object:
    return clean(value) if type(value) is str else value
