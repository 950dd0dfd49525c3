"""Who may follow on whom: jobs that are there, of the same tenant, and never in a ring.

Jobs of a chain stand in several partitions, so this is looked at before the edit is decided, not guarded: two edits at
one moment may close a ring that neither saw. Such a ring ends after `relay.DEPTH_MAX` runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api.json_body import pointer
from services.api.principal import wall
from services.api.problems import Fault
from shared.domain import ids
from shared.domain.job import Job, Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.domain.spec import Chain, JobSpec
    from shared.eventlog.log import EventLog

JOBS_MAX = 1_000  # looked at for a ring; who follows after so many isn't known to be none, so it is refused


class Chains:
    """Looks at chains; `log` has the jobs."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def faults(self, job_id: str, spec: JobSpec, tenant: str) -> list[Fault]:
        """What is wrong with the followers that `spec` gives the job; those it has already are not asked for again.

        Args:
            job_id: of the job, which may be about to be made.
            spec: as it is to be.
            tenant: of whoever asks.
        """
        chain = spec.chain
        if chain is None or not chain.followers:
            return []
        job = (await self._jobs([job_id])).get(job_id)
        if (
            job is not None and job.tenant != tenant
        ):  # for whom there is a wall, it isn't there, as deciding will say
            job, tenant = (job, job.tenant) if wall() is None else (None, tenant)
        before = None if job is None else job.spec.chain
        if before == chain:
            return []
        followers = await self._jobs(chain.followers)
        known = set() if before is None else set(before.followers)
        faults = [
            Fault(pointer=where, detail=f"there is no job {each}")
            for each, where in _named(chain)
            if each not in known and (each not in followers or followers[each].tenant != tenant)
        ]
        return faults or await self._ring(job_id, chain, followers)

    async def _ring(self, job_id: str, chain: Chain, followers: dict[str, Job]) -> list[Fault]:
        """The followers by whom the job would follow on itself."""
        came_by = {each: each for each in chain.followers}  # by which of its own followers a job is reached
        ahead = followers
        while ahead and job_id not in came_by:
            fresh = {
                each: came_by[job.id]
                for job in ahead.values()
                if job.spec.chain is not None
                for each in job.spec.chain.followers
                if each not in came_by
            }
            came_by |= fresh
            if len(came_by) > JOBS_MAX:
                said = f"more than {JOBS_MAX:,} jobs follow on one another: make the chain shorter"
                return [Fault(pointer=where, detail=said) for _, where in _named(chain)][:1]
            ahead = await self._jobs(fresh)
        if job_id not in came_by:
            return []
        said = "by way of it the job would follow on itself, for ever"
        return [Fault(pointer=where, detail=said) for each, where in _named(chain) if each == came_by[job_id]]

    async def _jobs(self, job_ids: Iterable[str]) -> dict[str, Job]:
        """Those of the jobs that are there."""
        refs = [f"job:{each}" for each in job_ids if ids.partition_of(each) < self._log.partitions]
        if not refs:
            return {}
        states = [held.state for held in (await self._log.load(*refs)).values()]
        return {
            state.id: state
            for state in states
            if isinstance(state, Job) and state.status is not Status.DELETED
        }


def _named(chain: Chain) -> list[tuple[str, str]]:
    """Each follower, and where it is named."""
    return [
        (each, pointer(field, index))
        for field in ("on_success", "on_failure")
        for index, each in enumerate(getattr(chain, field))
    ]
