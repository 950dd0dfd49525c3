"""`daybook explain`: why a job ran, or did not, over the REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from services.cli.failures import STATUSES
from services.cli.session import path_of, talks
from services.cli.show import document, printable, styled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from services.cli.session import Session

DIM = "bright_black"
PLACES = 3  # of events, at the end of a line


@click.command(epilog=STATUSES)
@click.argument("job", metavar="[JOB]", required=False)
@click.option("--run", metavar="ID", help="This execution, instead of a job.")
@click.option(
    "--at",
    metavar="TIME|POSITION",
    help="Why it ran or did not at this time: 2026-11-27T03:00:00+01:00; or why it was as it was after the event at "
    "0:1763900000000-17.",
)
@talks
def explain(session: Session, *, job: str | None, run: str | None, at: str | None) -> None:
    """Say why the job with the id JOB ran at a time, or did not; without --at, why it is as it is now.

    It is told from the archived events alone; the positions at the end of a line are theirs.

    \b
    Why was there no report at three?
      daybook explain 01a20ad0-3484-8003-875b-32a60b7402cd --at 2026-11-27T03:00:00+01:00
    What has become of this execution?
      daybook explain --run 01a20af1-9b80-8003-b1d4-0d6f2c9a7e15
    """  # noqa: D301 - click's mark
    if (job is None) == (run is None):
        raise click.UsageError("Say the id of a job, or --run and that of an execution.")
    if run is not None and at is not None:
        raise click.UsageError("--at goes with a job: an execution has one time.")
    path = (
        path_of("executions", run, "/explain") if run is not None else path_of("jobs", job or "", "/explain")
    )
    told = session.client.get(path, at=at).json()
    if session.output != "table":
        document(told, session.output)
        return
    click.echo(printable(told["summary"]))
    for line in _lines(told):
        click.echo(line)


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    width = max((len(each["code"]) for each in told["findings"]), default=0)
    for each in told["findings"]:
        places = [event["position"] for event in each["events"]]
        more = f", {len(places) - PLACES} more" if len(places) > PLACES else ""
        ending = f"  {styled(', '.join(places[:PLACES]) + more, DIM)}" if places else ""
        yield f"  {each['code']:<{width}}  {printable(each['sentence'])}{ending}"
