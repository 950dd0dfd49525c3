"""`make bench`: measure Daybook on this machine; a table on stdout, raw rows as JSON.

    make bench                           all benches, about ten minutes
    make bench ARGS="executor api"       some of them
    make bench ARGS="--scale 0.05"       a twentieth of the work, to try the benches themselves

Each bench has a system of its own, with real servers, and settings at their defaults where its title names none.
Close everything else: the figures are for a machine that does nothing beside. Exit status 1 says that a bench broke,
that work was lost or done twice, or, with --strict, that a figure is below its floor.
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script: `tests` isn't installed

from tests.benchmarks import figures, machine, report, table, yardstick
from tests.benchmarks.benches import BENCHES
from tests.benchmarks.sizes import Sizes

if TYPE_CHECKING:
    from tests.benchmarks.report import Document

OUTPUT = Path(".daybook-bench")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(list(BENCHES)))
@click.option("--scale", type=click.FloatRange(0.001, 1), default=1.0, help="So much of the work; 1 is all.")
@click.option("--output", type=click.Path(path_type=Path), help=f"The JSON; else {OUTPUT}/<UTC time>.json.")
@click.option("--strict", is_flag=True, help="A figure below its floor makes the exit status 1.")
def main(names: tuple[str, ...], *, scale: float, output: Path | None, strict: bool) -> None:
    """Measure Daybook on this machine: the benches NAMES, all if none is named."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    now = datetime.fromtimestamp(time.time(), UTC)
    document: Document = {
        "format": report.FORMAT,
        "machine": machine.facts(now),
        "command": " ".join(["tests/benchmarks/run.py", *sys.argv[1:]]),
        "scale": scale,
        "benches": {},
    }
    try:
        for name in [each for each in BENCHES if not names or each in names]:
            document["benches"][name] = _measured(name, Sizes(scale=scale), document["machine"])
    except KeyboardInterrupt:
        click.echo("Broken off: what was measured so far is shown.", err=True)
        sys.exit(_ended(document, output or _default(now), strict=strict) or 130)
    sys.exit(_ended(document, output or _default(now), strict=strict))


def _measured(name: str, sizes: Sizes, facts: dict[str, Any]) -> dict[str, Any]:
    """One bench's part of the document; facts about servers go into `facts`."""
    bench = BENCHES[name]
    click.echo(f"[{name}] {bench.what}", err=True)
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix=f"daybook-bench-{name}-"))
    try:
        before = yardstick.taken(directory)
        measured = bench.measure(directory, sizes)
        after = yardstick.taken(directory)
    except Exception as error:  # noqa: BLE001 - the others are still worth running; this one is told as broken
        click.echo(traceback.format_exc(), err=True)
        return {"what": bench.what, "broken": f"{type(error).__name__}: {error}"}
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    facts.update(measured.servers)
    click.echo(f"[{name}] {time.monotonic() - began:.0f} s", err=True)
    result = figures.of(name, measured.raw)
    return {
        "what": bench.what,
        "raw": measured.raw,
        "cpu": measured.cpu,
        "yardstick": {"before": before, "after": after},
        "figures": result.figures,
    }


def _ended(document: Document, output: Path, *, strict: bool) -> int:
    report.write(document, output)
    table.show(document)
    click.echo(f"Raw rows: {output}. The same table again: tests/benchmarks/recompute.py {output}", err=True)
    return report.status(document, strict=strict)


def _default(now: datetime) -> Path:
    return OUTPUT / f"{now:%Y%m%dT%H%M%SZ}.json"


def _as_interrupt(_signum: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
