"""What is mailed when a run has failed: by a job like any other, one for each tenant, made when it is needed first.

So a mail is retried, recorded and looked at like all other work; whoever wants none deletes or pauses that job.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from shared.domain import ids
from shared.domain.commands import CreateJob
from shared.domain.spec import JobSpec

if TYPE_CHECKING:
    from shared.domain.events import Failure
    from shared.domain.job import Job
    from shared.domain.relay import Relay

NAME = "Failure mails"
SUBJECT_MAX = 200  # characters: a job's name may be as long, and a line of a list shows less
OWNER = "daybook"
_BORN = datetime(2026, 1, 1, tzinfo=UTC)  # stands in the id, which must always be the same
_DESCRIPTION = (
    "Made by Daybook: its executions are the mails that notify_on_failure asks for. "
    "Paused or deleted, it sends none."
)


def job_id(tenant: str, partitions: int) -> str:
    """The job that mails a tenant's failures."""
    partition = int(hashlib.sha256(f"failure mail\x1f{tenant}".encode()).hexdigest()[:8], 16) % partitions
    return ids.derived_id(_BORN, partition, "failure mail", tenant)


def creation(identifier: str, tenant: str) -> CreateJob:
    """The wish to make it."""
    spec = JobSpec(
        name=NAME,
        description=_DESCRIPTION,
        job_type="email_notification",
        job_data={
            "recipients": ["nobody@localhost"],
            "body": "Nothing has failed: this job was run by hand.",
        },
        overlap_policy="allow",
    )
    return CreateJob(job_id=identifier, spec=spec, owner=OWNER, tenant=tenant)


def _message(error: Failure) -> str:
    """What went wrong; of a run with personal data it is sealed, and this isn't where it is opened."""
    from shared.personal import sealing  # noqa: PLC0415 - loads ciphers: only where something has failed

    sealed = sealing.is_sealed_text(error.message)
    return "(personal data: the execution shows it)" if sealed else error.message


def data(relay: Relay, job: Job) -> dict[str, Any]:
    """What the mail is to say about the end of a run of `job`."""
    what = "was started by nobody in time" if relay.outcome == "expired" else "failed"
    lines = [f"Execution {relay.id} of the job {job.spec.name!r} {what}.", ""]
    if relay.error is not None:
        lines += [f"{relay.error.class_}: {_message(relay.error)}", ""]
    lines += [
        f"Job        {job.id}",
        f"Type       {job.spec.job_type}",
        f"Execution  {relay.id}",
        f"Ended      {relay.requested_at.isoformat(timespec='milliseconds')}",
        f"Look       GET /api/v1/executions/{relay.id}",
    ]
    subject = " ".join(f"{job.spec.name}: an execution {what}".split())
    return {
        "recipients": list(relay.mail_to),
        "subject": subject[:SUBJECT_MAX],
        "body": "\n".join(lines) + "\n",
    }
