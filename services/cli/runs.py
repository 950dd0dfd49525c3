"""`daybook runs`: executions, over the REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from services.cli import following
from services.cli.failures import STATUSES
from services.cli.job_fields import Data, fields_of
from services.cli.session import path_of, talks
from services.cli.show import Column, document, listed, single

if TYPE_CHECKING:
    from services.cli.session import Session

RUN_STATUSES = ("held", "queued", "running", "retrying", "succeeded", "failed", "cancelled", "expired")
COLUMNS = (
    Column("ID", lambda run: run["id"]),
    Column("JOB", lambda run: run["job_name"]),
    Column("STATUS", lambda run: run["status"]),
    Column("TRIGGER", lambda run: run["trigger"]),
    Column("SCHEDULED", lambda run: run["scheduled_for"]),
    Column("ATTEMPT", lambda run: f"{run['attempt']}/{run['max_attempts']}"),
    Column("SECONDS", lambda run: run["duration_seconds"]),
    Column("ERROR", lambda run: run["error"] and run["error"]["class"]),
)


@click.group(epilog=STATUSES)
def runs() -> None:
    """Executions: list, look at, follow, cancel, retry."""


@runs.command("list", epilog=STATUSES)
@click.option("--job", "job_id", metavar="ID", help="Of this job only.")
@click.option("--status", type=click.Choice(RUN_STATUSES))
@click.option("--type", "job_type", help="Of this job type only.")
@click.option("--error-class", help="That failed of this only.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--all", "everything", is_flag=True, help="All there are.")
@talks
def list_runs(session: Session, *, limit: int, everything: bool, **filters: Any) -> None:
    """Show executions, newest first."""
    items = session.client.items("/executions", limit=None if everything else limit, **filters)
    listed(items, session.output, COLUMNS)


@runs.command(epilog=STATUSES)
@click.argument("run_id", metavar="ID")
@talks
def get(session: Session, *, run_id: str) -> None:
    """Show the execution ID."""
    single(session.client.get(path_of("executions", run_id)).json(), session.output)


@runs.command(epilog=STATUSES)
@click.argument("run_id", metavar="ID")
@click.option("--attempt", type=click.IntRange(1), help="The latest that has logged something, if left out.")
@talks
def output(session: Session, *, run_id: str, attempt: int | None) -> None:
    """Print what an attempt of the execution ID has logged."""
    found = session.client.get(path_of("executions", run_id, "/output"), attempt=attempt).json()
    if session.output != "table":
        document(found, session.output)
    elif found["text"]:
        following.write_output(found["text"])


@runs.command(epilog=STATUSES)
@click.argument("run_id", metavar="ID")
@click.option("--reason", default="", help="Why; it is shown with the execution.")
@talks
def cancel(session: Session, *, run_id: str, reason: str) -> None:
    """End the execution ID."""
    body = {"reason": reason} if reason else None
    single(session.client.post(path_of("executions", run_id, "/cancel"), body).json(), session.output)


@runs.command(epilog=STATUSES)
@click.argument("run_id", metavar="ID")
@click.option("--data", "job_data", type=Data(), help="Laid over the execution's, key by key.")
@click.option("--priority", type=int)
@click.option(
    "--overlap", "overlap_policy", help="Beside an active one: skip, queue_one, queue_all, replace or allow."
)
@click.option("--follow", is_flag=True, help="Wait for its end; see `daybook runs tail`.")
@talks
def retry(session: Session, *, run_id: str, follow: bool, **options: Any) -> None:
    """Run the execution ID, which has ended badly, again."""
    again = session.client.post(path_of("executions", run_id, "/retry"), fields_of(options) or None).json()
    if follow:
        following.follow(session, again["id"])
    else:
        single(again, session.output)


@runs.command(epilog=STATUSES)
@click.argument("run_id", metavar="ID")
@talks
def tail(session: Session, *, run_id: str) -> None:
    """Follow the execution ID to its end: progress on stderr, what its attempts have logged on stdout."""
    following.follow(session, run_id)
