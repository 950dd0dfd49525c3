"""Pausing and resuming: one job, those with a tag, or all."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from services.cli.session import path_of
from services.cli.show import say, single

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.cli.session import Session

CATCH_UP = click.Choice(("skip", "latest", "all"))
_DONE = {"pause": "Paused", "resume": "Resumed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """The jobs that are meant: one of the first three is given."""

    job_id: str | None
    tag: str | None
    everything: bool
    dry_run: bool


def several(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the argument and options that say which jobs are meant, as `which`."""

    @click.argument("job_id", metavar="[ID]", required=False)
    @click.option("--tag", help="All jobs with it.")
    @click.option("--all", "everything", is_flag=True, help="All jobs.")
    @click.option("--dry-run", is_flag=True, help="Only say how many, with --tag or --all.")
    @functools.wraps(command)
    def choosing(
        *args: Any, job_id: str | None, tag: str | None, everything: bool, dry_run: bool, **options: Any
    ) -> None:
        if sum((job_id is not None, tag is not None, everything)) != 1:
            raise click.UsageError("Say one of ID, --tag and --all.")
        if dry_run and job_id is not None:
            raise click.UsageError("--dry-run goes with --tag or --all.")
        which = Which(job_id=job_id, tag=tag, everything=everything, dry_run=dry_run)
        command(*args, which=which, **options)

    return choosing


def stopped_or_let_go(session: Session, verb: str, which: Which, body: dict[str, Any]) -> None:
    """Pause or resume them, and show the job, or how many that were."""
    if which.job_id is not None:
        path = path_of("jobs", which.job_id, f"/{verb}")
        single(session.client.post(path, body or None).json(), session.output)
        return
    said = _all_of(session, verb, which, body | {"dry_run": which.dry_run})
    single(said, session.output)
    one = said["changed"] == 1
    word = f"Would have {_DONE[verb].lower()}" if which.dry_run else _DONE[verb]
    say(f"{word} {said['changed']} job{'' if one else 's'}; {said['unchanged']} stayed as they were.")


def _all_of(session: Session, verb: str, which: Which, body: dict[str, Any]) -> dict[str, Any]:
    """The answers, summed, to as many requests as it takes."""
    asked = {"all": "true"} if which.tag is None else {"tag": which.tag}
    said: dict[str, Any] = session.client.post(f"/jobs:{verb}", body, **asked).json()
    while cursor := said["next_cursor"]:
        more = session.client.post(f"/jobs:{verb}", body, **asked, cursor=cursor).json()
        said = more | {name: said[name] + more[name] for name in ("changed", "unchanged")}
    return said
