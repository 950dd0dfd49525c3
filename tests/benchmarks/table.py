"""A document as tables for people."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from . import figures, report
from .cpu import BENCH
from .floors import LINES

if TYPE_CHECKING:
    from .floors import Line
    from .report import Document

WIDTH = 132  # where no terminal says another
ROLES = ("api", "timer", "executor", "projector", "valkey", "postgres", BENCH)


def show(document: Document) -> None:
    """Print the figures, then the CPU seconds, then what went wrong."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    machine = document["machine"]
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), style="dim")
    if not report.is_judged(document):
        console.print(f"Scale {document['scale']:g}: too little work to judge; floors hold for scale 1.")
    console.print(_figures(document))
    console.print(_cpu(document))
    for name, sentence in _wrong(document):
        console.print(f"{name}: {sentence}", style="red", markup=False)


def _figures(document: Document) -> Table:
    table = Table("bench", "what", "figure", title="What was measured")
    for title in ("measured", "floor", "goal", ""):
        table.add_column(title, justify="right")
    found = report.results(document)
    for name, bench in document["benches"].items():
        if name not in found:
            table.add_row(name, bench["what"], "", "", "", "", "[red]broke")
            table.add_section()
            continue
        for first, (key, line) in zip(_firsts(name, bench), LINES[name].items(), strict=False):
            table.add_row(*first, *_row(document, line, found[name].figures[key]))
        table.add_section()
    return table


def _firsts(name: str, bench: dict[str, Any]) -> list[tuple[str, str]]:
    return [(name, bench["what"])] + [("", "")] * len(LINES[name])


def _row(document: Document, line: Line, value: figures.Value) -> tuple[str, ...]:
    verdict = ""
    if line.floor is not None and report.is_judged(document):
        verdict = "[green]ok" if line.holds(value) else "[yellow]below"
    return line.label, line.shown(value), line.bound(line.floor), line.bound(line.goal), verdict


def _cpu(document: Document) -> Table:
    table = Table(
        "bench", title="CPU seconds (user + system) within the measured window; how quick the machine was"
    )
    for title in ("window s", *ROLES, "Python ms", "fsync ms"):
        table.add_column(title, justify="right")
    for name, bench in document["benches"].items():
        if "cpu" not in bench:
            continue
        spent = figures.cpu_seconds(bench["cpu"])
        cells = [f"{spent[role]:.2f}" if role in spent else "-" for role in ROLES]
        table.add_row(name, f"{bench['cpu']['window_us'] / 1e6:.2f}", *cells, *_paces(bench["yardstick"]))
    return table


def _paces(yardstick: dict[str, Any]) -> list[str]:
    """Of a piece of Python (median) and of an append (p99), before and after the bench."""
    before, after = figures.pace(yardstick["before"]), figures.pace(yardstick["after"])
    return [f"{was:.1f} → {now:.1f}" for was, now in zip(before, after, strict=True)]


def _wrong(document: Document) -> list[tuple[str, str]]:
    broken = [(name, bench["broken"]) for name, bench in document["benches"].items() if "broken" in bench]
    faults = [(name, fault) for name, result in report.results(document).items() for fault in result.faults]
    return broken + faults
