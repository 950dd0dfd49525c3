"""`daybook schedules` and `daybook forecast`: what is to come, over the REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from services.cli.failures import STATUSES
from services.cli.files import one_job_in
from services.cli.job_fields import fields_of, schedule_options
from services.cli.session import talks
from services.cli.show import Column, document, listed, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.cli.session import Session

OCCURRENCES = (
    Column("SCHEDULED FOR", lambda each: each["scheduled_for"]),
    Column("LOCAL TIME", lambda each: each["local_time"]),
    Column("FIRES AT", lambda each: each["fires_at"]),
    Column("RULE", lambda each: each["rule"]),
)
BUCKETS = (
    Column("FROM", lambda each: each["from"]),
    Column("OCCURRENCES", lambda each: each["occurrences"]),
    Column("WORK (S)", lambda each: each["work_seconds"]),
    Column("CONCURRENCY", lambda each: each["concurrency"]),
)
_RULES = {
    "gap_skip": "the clock is put forward and leaves it out",
    "overlap_first": "the clock is put back, and the first of the two counts",
    "overlap_last": "the clock is put back, and the last of the two counts",
    "exclude": "its date is excluded",
    "calendar": "it is excluded",
}


def looks_ahead(command: Callable[..., None]) -> Callable[..., None]:
    """Options of commands that show occurrences."""
    for option, name, told in (
        ("--count", "count", {"type": click.IntRange(1, 1_000), "help": "At most so many; 10."}),
        ("--from", "from", {"metavar": "TIME", "help": "Only those after this time, with its offset; now."}),
    ):
        command = click.option(option, name, **told)(command)
    return command


def occurrences(told: dict[str, Any], output: str) -> None:
    """Show occurrences, and beside them what was left out."""
    if output != "table":
        document(told, output)
        return
    listed(told["occurrences"], output, OCCURRENCES)
    for each in told["dropped"]:
        why = _RULES.get(each["reason"], each["reason"])
        say(f"Not at {each['local_time']}: {why}{' by ' + each['by'] if each['by'] else ''}.")


@click.group(epilog=STATUSES)
def schedules() -> None:
    """Schedules: see what one comes to before there is a job."""


@schedules.command(epilog=STATUSES)
@click.option(
    "-f", "--file", "name_of_file", help="A schedule in YAML or JSON, - for stdin; options go over it."
)
@click.option("--job", "job_id", metavar="ID", help="H draws what it draws for this job.")
@looks_ahead
@schedule_options
@talks
def preview(session: Session, *, name_of_file: str | None, **options: Any) -> None:
    """Show when a job of a schedule would run. Nothing is made."""
    body = (one_job_in(name_of_file) if name_of_file else {}) | fields_of(options)
    if not body:
        raise click.UsageError("Say what schedule: --cron, --every or --at, or -f FILE.")
    told = session.client.ask("/schedules/preview", body).json()
    occurrences(told, session.output)


@click.command(epilog=STATUSES)
@click.option("--from", "from", metavar="TIME", help="Begin then; with the present bucket, if left out.")
@click.option("--to", metavar="TIME", help="End before then; after a day, if left out.")
@click.option("--bucket", metavar="TIME", help="90, 90s, 5m, 1h or 1d; 1h.")
@talks
def forecast(session: Session, **query: Any) -> None:
    """Show how much is to run, and when, of all jobs that aren't paused."""
    told = session.client.get("/forecast", **query).json()
    if session.output != "table":
        document(told, session.output)
        return
    listed(told["buckets"], session.output, BUCKETS)
    if told["unmeasured_jobs"]:
        never = (
            f"{told['unmeasured_jobs']} of {told['jobs']} jobs, and all others of their types, have never run"
        )
        say(f"{never}: they count as no work.")
