"""The geometry of a bar chart: numbers in, rectangles out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.executor.handlers.reports.shown import shown

if TYPE_CHECKING:
    from services.executor.handlers.reports.report import Chart

COLOURS = ("#2f6f8f", "#c8553d", "#7a9e3f", "#8a6bb1", "#c9a227", "#5c6b73")
SHARE = 0.8  # of a category's room that its bars take
ROOMS_MIN = 5  # for categories: a single bar isn't a wall


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A rectangle, from the left and the top, in the chart's own units; `says` what it stands for."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """All of a chart: bars, the zero line's height, and a label for some of the categories."""

    bars: tuple[Bar, ...]
    zero: float
    labels: tuple[tuple[float, str], ...]
    top: str
    bottom: str


def bars_of(chart: Chart, width: float, height: float, *, labels_max: int = 12) -> Bars:
    """The chart in `width` by `height` units; zero is always in it."""
    numbers = [number for _, series in chart.series for number in series]
    most, least = max([0.0, *numbers]), min([0.0, *numbers])
    room = width / max(ROOMS_MIN, len(chart.categories))
    each = room * SHARE / max(1, len(chart.series))
    scale = height / ((most - least) or 1.0)
    zero = most * scale
    made = [
        Bar(
            x=at * room + room * (1 - SHARE) / 2 + which * each,
            y=zero - max(number, 0) * scale,
            width=each,
            height=abs(number) * scale,
            colour=COLOURS[which % len(COLOURS)],
            says=f"{category}, {name}: {shown(number, chart.kind)}",
        )
        for which, (name, series) in enumerate(chart.series)
        for at, (category, number) in enumerate(zip(chart.categories, series, strict=True))
    ]
    every = -(-len(chart.categories) // labels_max)
    labels = [
        (at * room + room / 2, category) for at, category in enumerate(chart.categories) if at % every == 0
    ]
    return Bars(
        bars=tuple(made),
        zero=zero,
        labels=tuple(labels),
        top=shown(most, chart.kind),
        bottom=shown(least, chart.kind),
    )
