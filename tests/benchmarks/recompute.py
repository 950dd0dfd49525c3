"""Compute all figures of a `make bench` again, from the raw rows in its JSON, and print the same table.

    .venv/bin/python tests/benchmarks/recompute.py .daybook-bench/<UTC time>.json

Exit status as of the run itself; 1 also if a figure differs from the one that was written beside the rows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[2]))  # run as a script: `tests` isn't installed

from tests.benchmarks import report, table


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--strict", is_flag=True, help="A figure below its floor makes the exit status 1.")
def main(file: Path, *, strict: bool) -> None:
    """Print the table of FILE, computed anew from its raw rows."""
    try:
        document = report.read(file)
    except report.BadDocumentError as error:
        raise click.ClickException(str(error)) from error
    table.show(document)
    computed = {name: result.figures for name, result in report.results(document).items()}
    if computed != report.stored(document):
        raise click.ClickException("these figures are not those that were written beside the rows")
    sys.exit(report.status(document, strict=strict))


if __name__ == "__main__":
    main()
