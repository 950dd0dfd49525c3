"""`daybook jobs backfill` and `daybook backfills`: over the REST API."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from services.cli.failures import NO, STATUSES
from services.cli.job_fields import Data, Every, fields_of
from services.cli.session import path_of, talks
from services.cli.show import Column, listed, say, single

if TYPE_CHECKING:
    from services.cli.session import Session

WHICH = ("missing", "failed", "all")
EVERY_S = 0.5
COLUMNS = (
    Column("ID", lambda backfill: backfill["id"]),
    Column("STATUS", lambda backfill: backfill["status"]),
    Column("WHICH", lambda backfill: backfill["which"]),
    Column("FROM", lambda backfill: backfill["from"]),
    Column("TO", lambda backfill: backfill["to"]),
    Column("DONE", lambda backfill: f"{backfill['succeeded'] + backfill['failed']}/{backfill['total']}"),
    Column("FAILED", lambda backfill: backfill["failed"]),
    Column("BY", lambda backfill: backfill["by"]),
)


class When(click.ParamType[str]):
    """A time with its offset, or how long ago: 90m, 12h, 7d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As click asks for it; what is no span the API judges."""
        if not re.fullmatch(r"[0-9]{1,9}[smhd]", value):
            return str(value)
        from shared.clock import SystemClock  # noqa: PLC0415

        span = timedelta(seconds=Every().convert(value, param, ctx))
        try:
            return (SystemClock().now() - span).isoformat(timespec="milliseconds")
        except OverflowError:
            self.fail(f"{value!r} ago there were no dates", param, ctx)


@click.command(epilog=STATUSES)
@click.argument("job_id", metavar="ID")
@click.option(
    "--from", "from", type=When(), required=True, help="Inclusive: a time with its offset, or 7d ago."
)
@click.option("--to", type=When(), help="Exclusive, likewise; now, if left out.")
@click.option(
    "--which",
    type=click.Choice(WHICH),
    help="Those without an execution (default), whose last failed, or all.",
)
@click.option("--dry-run", is_flag=True, help="Only say which those are.")
@click.option("--parallel", "max_parallel", type=int, help="So many executions at a time; 1, if left out.")
@click.option("--data", "job_data", type=Data(), help="Laid over the job's, key by key.")
@click.option("--priority", type=int)
@click.option("--reason", help="Why; it is shown with the backfill.")
@click.option("--wait", is_flag=True, help="Tell how far it is, until it is over.")
@talks
def backfill(session: Session, *, job_id: str, dry_run: bool, wait: bool, **options: Any) -> None:
    """Run occurrences of the job ID that have gone by, oldest first: what should have run and did not."""
    body = fields_of(options) | ({"dry_run": True} if dry_run else {})
    made = session.client.post(path_of("jobs", job_id, "/backfill"), body).json()
    if wait and not dry_run:
        say(f"Backfill {made['id']}.")
        _follow(session, made["id"])
        return
    single(made, session.output)
    if dry_run and made["total"]:
        click.get_current_context().exit(NO)


@click.group(epilog=STATUSES)
def backfills() -> None:
    """Backfills: list, look at, follow, cancel. `daybook jobs backfill` asks for one."""


@backfills.command("list", epilog=STATUSES)
@click.argument("job_id", metavar="JOB")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@talks
def list_backfills(session: Session, *, job_id: str, limit: int) -> None:
    """Show backfills of the job JOB, newest first."""
    found = session.client.get(path_of("jobs", job_id, "/backfills"), per_page=min(limit, 200)).json()
    listed(found["items"], session.output, COLUMNS)


@backfills.command(epilog=STATUSES)
@click.argument("backfill_id", metavar="ID")
@talks
def get(session: Session, *, backfill_id: str) -> None:
    """Show the backfill ID."""
    single(session.client.get(path_of("backfills", backfill_id)).json(), session.output)


@backfills.command(epilog=STATUSES)
@click.argument("backfill_id", metavar="ID")
@talks
def tail(session: Session, *, backfill_id: str) -> None:
    """Tell how far the backfill ID is, until it is over."""
    _follow(session, backfill_id)


@backfills.command(epilog=STATUSES)
@click.argument("backfill_id", metavar="ID")
@click.option("--reason", default="", help="Why; it is shown with the backfill.")
@talks
def cancel(session: Session, *, backfill_id: str, reason: str) -> None:
    """Let the backfill ID ask for no more executions; those it has asked for go on."""
    body = {"reason": reason} if reason else None
    single(session.client.post(path_of("backfills", backfill_id, "/cancel"), body).json(), session.output)


def _follow(session: Session, backfill_id: str) -> None:
    """Tell what changes until it is over; ends the command with NO unless all of it has succeeded."""
    told = ""
    while True:
        found = session.client.get(path_of("backfills", backfill_id)).json()
        if (line := _line(found)) != told:
            told = line
            say(line)
        if found["status"] != "running" and not found["running"]:
            break
        time.sleep(EVERY_S)
    single(found, session.output)
    if found["status"] != "completed" or found["failed"]:
        click.get_current_context().exit(NO)


def _line(found: dict[str, Any]) -> str:
    done = found["succeeded"] + found["failed"]
    parts = [f"{found['status']}: {done} of {found['total']} done", f"{found['running']} running"]
    if found["failed"]:
        parts.append(f"{found['failed']} failed")
    return ", ".join(parts)
