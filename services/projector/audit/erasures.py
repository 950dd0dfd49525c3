"""Erasures: who was erased is deleted, once, and no key of theirs is kept anywhere; all others have theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.projector.audit.lines import Invariant
from shared.domain.events import PersonalDataErased
from shared.domain.job import Status
from shared.personal.sealing import has_sealed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import asyncpg

    from services.projector.audit.fold import Fold
    from services.projector.audit.lines import Findings
    from shared.domain.events import Change
    from shared.domain.job import Job


def check(findings: Findings, job: Job, change: Change, place: str) -> None:
    """Look at an event; `job` is as it was before."""
    if isinstance(change.event, PersonalDataErased):
        findings.expect(
            Invariant.ERASURES,
            job.status is Status.DELETED and job.erased is None,
            f"{place} erases job {job.id}, which is {'erased already' if job.erased else job.status}",
        )


def erased(fold: Fold) -> list[str]:
    """The ids of all jobs that are erased."""
    return [job_id for job_id, entry in fold.jobs.items() if entry.job is not None and entry.job.erased]


def check_rows(findings: Findings, fold: Fold, records: Iterable[asyncpg.Record]) -> None:
    """Look at rows of book.personal_keys: those of erased jobs hold no key, all others one, and none is missing."""
    found = set()
    for record in records:
        job_id = record["job"]
        found.add(job_id)
        entry = fold.jobs.get(job_id)
        if not fold.knows(f"job:{job_id}") or (entry is not None and entry.job is None):
            findings.unchecked(Invariant.ERASURES)
            continue
        is_erased = entry is not None and entry.job is not None and entry.job.erased is not None
        what = "was erased, and its key is kept" if is_erased else "has lost its key, and no event erased it"
        findings.expect(
            Invariant.ERASURES, record["has_key"] != is_erased, f"job {job_id} {what} in book.personal_keys"
        )
    for job_id, entry in fold.jobs.items():
        if job_id not in found and entry.job is not None and has_sealed(entry.job.spec.job_data):
            findings.wrong(
                Invariant.ERASURES, f"data of job {job_id} is sealed, and book.personal_keys has no key of it"
            )


def check_copies(findings: Findings, erased: Collection[str], copied: Collection[str]) -> None:
    """Look at erased jobs in Redis."""
    findings.checked(Invariant.ERASURES, len(erased))
    for job_id in copied:
        findings.wrong(Invariant.ERASURES, f"job {job_id} was erased, and a copy of its key is kept in Redis")
