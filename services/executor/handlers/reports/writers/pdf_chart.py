"""A bar chart as a drawing in a PDF."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reportlab.graphics.shapes import Drawing, Group, Line, Rect, String
from reportlab.lib.colors import HexColor

from services.executor.handlers.reports.bars import COLOURS, bars_of
from services.executor.handlers.reports.shown import clean

if TYPE_CHECKING:
    from services.executor.handlers.reports.bars import Bars
    from services.executor.handlers.reports.report import Chart

HEIGHT = 220.0  # points
LABELS_MAX = 12
LABEL_LENGTH_MAX = 16
_LEFT, _BOTTOM, _TOP = 74.0, 52.0, 36.0
_GREY, _GRID = HexColor("#5c6b73"), HexColor("#dde4e7")


def drawing(chart: Chart, width: float, *, font: str) -> Drawing:
    """The chart, `width` points wide; with a legend if it has several series."""
    drawn = Drawing(width, HEIGHT)
    drawn.add(String(0, HEIGHT - 10, clean(chart.title), fontName=font, fontSize=9))
    if len(chart.series) > 1:
        drawn.add(_legend(chart, font))
    drawn.add(_bars(chart, width - _LEFT, HEIGHT - _BOTTOM - _TOP, font))
    return drawn


def _bars(chart: Chart, width: float, height: float, font: str) -> Group:
    """Bars between two lines, with what the lines stand for, and names below."""
    bars = bars_of(chart, width, height, labels_max=LABELS_MAX)
    group = Group()
    group.translate(_LEFT, _BOTTOM)
    for y in (0.0, height):
        group.add(Line(0, y, width, y, strokeColor=_GRID, strokeWidth=0.4))
    for y, says in ((height, bars.top), (0.0, bars.bottom)):
        group.add(String(-5, y - 3, says, fontName=font, fontSize=7, fillColor=_GREY, textAnchor="end"))
    for bar in bars.bars:
        bottom = height - bar.y - bar.height  # it counts from the top, a page from below
        group.add(
            Rect(bar.x, bottom, bar.width, bar.height, fillColor=HexColor(bar.colour), strokeColor=None)
        )
    zero = height - bars.zero
    group.add(Line(0, zero, width, zero, strokeColor=_GREY, strokeWidth=0.6))
    _label(group, bars, font)
    return group


def _label(group: Group, bars: Bars, font: str) -> None:
    """Names under the bars, aslant: they are often longer than a bar is wide."""
    for x, name in bars.labels:
        turned = Group(
            String(0, 0, clean(name)[:LABEL_LENGTH_MAX], fontName=font, fontSize=7, textAnchor="end")
        )
        turned.translate(x + 3, -10)
        turned.rotate(30)
        group.add(turned)


def _legend(chart: Chart, font: str) -> Group:
    legend = Group()
    for at, (name, _) in enumerate(chart.series):
        x = _LEFT + 100 * at
        colour = HexColor(COLOURS[at % len(COLOURS)])
        legend.add(Rect(x, HEIGHT - 26, 7, 7, fillColor=colour, strokeColor=None))
        legend.add(String(x + 11, HEIGHT - 26, clean(name)[:LABEL_LENGTH_MAX], fontName=font, fontSize=7))
    return legend
