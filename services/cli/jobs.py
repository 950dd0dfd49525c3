"""`daybook jobs`: over the REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from services.cli import editing, following
from services.cli.backfills import backfill
from services.cli.failures import STATUSES
from services.cli.files import one_job_in
from services.cli.job_fields import Data, assigned, fields_of, job_options
from services.cli.schedules import looks_ahead, occurrences
from services.cli.session import path_of, talks
from services.cli.show import Column, listed, say, single
from services.cli.switching import CATCH_UP, several, stopped_or_let_go

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.cli.session import Session
    from services.cli.switching import Which

JOB_STATUSES = ("pending", "paused", "running", "failed", "completed")


def _schedule(job: Mapping[str, Any]) -> str:
    if job["cron_expression"]:
        zone = "" if job["timezone"] == "UTC" else f" {job['timezone']}"
        several = job["cron_expression"]
        return f"{several if isinstance(several, str) else ' | '.join(several)}{zone}"
    if job["interval_seconds"]:
        return f"every {job['interval_seconds']} s"
    return f"at {job['run_at']}" if job["run_at"] else "by hand"


COLUMNS = (
    Column("ID", lambda job: job["id"]),
    Column("NAME", lambda job: job["name"]),
    Column("TYPE", lambda job: job["job_type"]),
    Column("STATUS", lambda job: job["status"]),
    Column("SCHEDULE", _schedule),
    Column("NEXT RUN", lambda job: job["next_run_time"]),
    Column("OWNER", lambda job: job["owner"]),
)


as_of_option = click.option(
    "--as-of",
    metavar="TIME|POSITION",
    help="As it was then: 2026-11-27T03:00:00+01:00, or after the event at 0:1763900000000-17.",
)


@click.group(epilog=STATUSES)
def jobs() -> None:
    """Jobs: list, make, change, pause, run."""


jobs.add_command(backfill)


@jobs.command("list", epilog=STATUSES)
@click.option("--status", type=click.Choice(JOB_STATUSES))
@click.option("--type", "job_type", help="Of this job type only.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--all", "everything", is_flag=True, help="All there are.")
@as_of_option
@talks
def list_jobs(session: Session, *, limit: int, everything: bool, **asked: str | None) -> None:
    """Show jobs, newest first.

    \b
    What there was last night, deleted jobs too:
      daybook jobs list --all --as-of 2026-11-27T03:00:00+01:00
    """  # noqa: D301 - click's mark
    items = session.client.items("/jobs", limit=None if everything else limit, **asked)
    listed(items, session.output, COLUMNS)


@jobs.command(epilog=STATUSES)
@click.argument("job_id", metavar="ID")
@as_of_option
@talks
def get(session: Session, *, job_id: str, as_of: str | None) -> None:
    """Show the job ID.

    \b
    As it was before somebody changed it:
      daybook jobs get ID --as-of 2026-11-27T03:00:00+01:00
    """  # noqa: D301 - click's mark
    single(session.client.get(path_of("jobs", job_id), as_of=as_of).json(), session.output)


@jobs.command("next", epilog=STATUSES)
@click.argument("job_id", metavar="ID")
@looks_ahead
@talks
def next_of(session: Session, *, job_id: str, **query: Any) -> None:
    """Show when the job ID is to run; of a paused one, when it would."""
    told = session.client.get(path_of("jobs", job_id, "/next"), **query).json()
    occurrences(told, session.output)
    if told["paused"]:
        say(f"It is paused by {told['paused']['by']}: none of these runs before it is resumed.")


@jobs.command(epilog=STATUSES)
@click.option("-f", "--file", "name_of_file", help="A job in YAML or JSON, - for stdin; options go over it.")
@job_options
@talks
def create(session: Session, *, name_of_file: str | None, **options: Any) -> None:
    """Make a job, from options, from a file, or both."""
    body = (one_job_in(name_of_file) if name_of_file else {}) | fields_of(options)
    if not body:
        raise click.UsageError("Say what job: --name and --type at least, or -f FILE.")
    job = session.client.post("/jobs", body).json()
    single(job, session.output)
    say(f"Made {job['name']}.")


@jobs.command(epilog=STATUSES)
@click.argument("job_id", metavar="ID")
@click.option(
    "--set", "pairs", multiple=True, metavar="FIELD=VALUE", help="Such as priority=7, job_data.path=/tmp."
)
@click.option("-f", "--file", "name_of_file", help="The job as it is to be, in YAML or JSON.")
@talks
def edit(session: Session, *, job_id: str, pairs: tuple[str, ...], name_of_file: str | None) -> None:
    """Change the job ID: in $EDITOR, by --set, or from a file.

    If somebody else has changed it meanwhile, nothing is overwritten, and what you have written is kept.
    """
    if pairs and name_of_file:
        raise click.UsageError("Say one of --set and -f.")
    found = session.client.get(path_of("jobs", job_id))
    wanted = assigned(pairs) if pairs else None
    done = editing.edited(session, found, patch=wanted, name_of_file=name_of_file)
    single(done, session.output)


@jobs.command(epilog=STATUSES)
@several
@click.option("--reason", help="Why; it is shown with the job.")
@click.option("--until", help="It goes on by itself at this time: 2027-01-31T09:00:00+01:00.")
@click.option("--catch-up", type=CATCH_UP, help="What its end makes of what fell due meanwhile.")
@talks
def pause(session: Session, *, which: Which, **options: Any) -> None:
    """Stop the schedule of the job ID, or of all jobs with a tag, or of all.

    The end of the latter is `resume` with the same tag, or --all: it lets go on what they have paused, and nothing that
    was paused singly.
    """
    stopped_or_let_go(session, "pause", which, fields_of(options))


@jobs.command(epilog=STATUSES)
@several
@click.option("--catch-up", type=CATCH_UP, help="What becomes of what fell due meanwhile.")
@talks
def resume(session: Session, *, which: Which, **options: Any) -> None:
    """Let the job ID go on, or what pausing jobs with a tag, or all, has paused."""
    stopped_or_let_go(session, "resume", which, fields_of(options))


@jobs.command(epilog=STATUSES)
@click.argument("job_id", metavar="ID")
@click.argument("scheduled_for", metavar="TIME")
@click.option("--reason", default="", help="Why; it is shown with the job.")
@talks
def skip(session: Session, *, job_id: str, scheduled_for: str, reason: str) -> None:
    """Don't run the job ID at TIME, at which it is scheduled: 2027-01-31T09:00:00+01:00, before jitter."""
    body = {"scheduled_for": scheduled_for} | ({"reason": reason} if reason else {})
    single(session.client.post(path_of("jobs", job_id, "/skip"), body).json(), session.output)


@jobs.command(epilog=STATUSES)
@click.argument("job_id", metavar="ID")
@click.argument("scheduled_for", metavar="TIME")
@talks
def unskip(session: Session, *, job_id: str, scheduled_for: str) -> None:
    """Run the job ID at TIME after all."""
    body = {"scheduled_for": scheduled_for}
    single(session.client.post(path_of("jobs", job_id, "/unskip"), body).json(), session.output)


@jobs.command(epilog=STATUSES)
@click.argument("job_id", metavar="ID")
@click.option("--data", "job_data", type=Data(), help="Laid over the job's, key by key.")
@click.option("--priority", type=int)
@click.option(
    "--overlap", "overlap_policy", help="Beside an active one: skip, queue_one, queue_all, replace or allow."
)
@click.option("--follow", is_flag=True, help="Wait for its end; see `daybook runs tail`.")
@talks
def trigger(session: Session, *, job_id: str, follow: bool, **options: Any) -> None:
    """Run the job ID now."""
    run = session.client.post(path_of("jobs", job_id, "/trigger"), fields_of(options) or None).json()
    if follow:
        say(f"Execution {run['id']}.")
        following.follow(session, run["id"])
    else:
        single(run, session.output)


@jobs.command(epilog=STATUSES)
@click.argument("job_id", metavar="ID")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@talks
def delete(session: Session, *, job_id: str, yes: bool) -> None:
    """Delete the job ID; its executions and events stay."""
    if not yes:
        name = session.client.get(path_of("jobs", job_id)).json()["name"]
        click.confirm(f"Delete {name!r}?", abort=True, err=True)
    session.client.send("DELETE", path_of("jobs", job_id))
    say(f"{job_id} is deleted.")
