"""`daybook erase`: the personal data of a job, for ever, over the REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from services.cli.failures import STATUSES, UNREACHABLE, Failed
from services.cli.session import path_of, talks
from services.cli.show import say, single

if TYPE_CHECKING:
    from services.cli.session import Session

WAIT_S = 30  # for the archive, at most; the API waits no longer
_ACCEPTED = 202


@click.command(epilog=STATUSES)
@click.option("--job", "job_id", metavar="ID", required=True, help="The job, which may be deleted already.")
@click.option("--reason", required=True, help="Why. It is recorded for ever: name nobody in it.")
@click.option("-y", "--yes", is_flag=True, help="Don't ask.")
@talks
def erase(session: Session, *, job_id: str, reason: str, yes: bool) -> None:
    """Erase the personal data of a job, for ever.

    The key that opens it is destroyed, so that nothing of it can be read again: in events, archive, executions, cold
    copies. The job is deleted with it; what has happened, and when, stays readable. SECURITY.md says what an erasure
    doesn't reach. It ends with 0 once the key is destroyed.

    \b
    What somebody has asked for:
      daybook erase --job ID --reason "Art. 17 GDPR, ticket 4711"
    """  # noqa: D301 - click's mark
    if not yes:
        click.confirm(
            f"Destroy the personal data of {job_id}, and delete the job? Nobody can take it back",
            abort=True,
            err=True,
        )
    done = session.client.post(path_of("jobs", job_id, "/erase"), {"reason": reason}, prefer=f"wait={WAIT_S}")
    if done.status_code == _ACCEPTED:
        raise Failed(
            f"The erasure of {job_id} is written, and its key is not destroyed yet, as nothing is archived at present: "
            "look at the projector and Postgres, then say this again.",
            UNREACHABLE,
        )
    single(done.json(), session.output)
    say(f"The personal data of {job_id} is erased.")
