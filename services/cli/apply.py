"""`daybook apply`: jobs as files have them, by their names."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import click

from services.cli.failures import NO, STATUSES, Refused
from services.cli.files import jobs_in
from services.cli.session import talks
from services.cli.show import document, printable, say, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.cli.files import Written
    from services.cli.session import Session

_LOOKS = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}
_POINTER = re.compile(r"#/jobs/([0-9]+)(.*)")


@click.command(epilog=STATUSES)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    required=True,
    help="YAML or JSON, - for stdin; several times for several.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done; ends with 5 if there is something.")
@click.option("--prune", is_flag=True, help="Delete what you have applied before and no file has any more.")
@talks
def apply(session: Session, *, files: tuple[str, ...], dry_run: bool, prune: bool) -> None:
    """Make your jobs as these files have them: by their names, all together.

    A document of a file is a job, a list of jobs, or an object with `jobs`. Nothing is changed if one of them is wrong.
    """
    written = jobs_in(files)
    if not written:
        raise click.UsageError("There is no job in these files.")
    body = {"jobs": [each.job for each in written], "dry_run": dry_run, "prune": prune}
    try:
        answer = session.client.post("/apply", body).json()
    except Refused as problem:
        _say_where(problem, written)
        raise
    if session.output == "table":
        _tell(answer)
    else:
        document(answer, session.output)
    if dry_run and len(answer["items"]) > answer["unchanged"]:
        click.get_current_context().exit(NO)


def _say_where(problem: Refused, written: Sequence[Written]) -> None:
    """Tell pointers into the request as places in the files."""
    for each in problem.errors:
        match = _POINTER.fullmatch(each["pointer"])
        if match and int(match[1]) < len(written):
            job, where = written[int(match[1])]
            named = f" ({job['name']})" if isinstance(job.get("name"), str) else ""
            each["pointer"] = f"{where}{named}{match[2] and ': ' + match[2]}"


def _tell(answer: dict[str, Any]) -> None:
    for item in answer["items"]:
        if item["action"] not in _LOOKS:
            continue
        mark, colour = _LOOKS[item["action"]]
        click.echo(styled(f"{mark} {item['action']} {printable(item['name'])}  {item['id']}", colour))
        for change in item["changes"]:
            for side, sign, tone in (("from", "-", "red"), ("to", "+", "green")):
                if side in change:
                    value = json.dumps(change[side], ensure_ascii=False)
                    click.echo(styled(printable(f"    {sign} {change['pointer']}: {value}"), tone))
    counts = [f"{answer[name]} {name}" for name in ("created", "updated", "unchanged", "deleted")]
    say(("Would be: " if answer["dry_run"] else "") + ", ".join(counts) + ".")
