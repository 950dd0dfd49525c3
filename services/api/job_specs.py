"""What a request makes of a job: its specification, merged where only a part was sent, and how many it may make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from services.api import views
from services.api.json_patch import merged
from services.api.personal import Personal
from services.api.principal import DEPLOYMENT, runs_the_deployment
from services.api.problems import Problem
from services.api.requests import JobBody, read
from services.api.specs import merged_data, spec_of, spec_with
from shared import job_types
from shared.domain.job import Job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.api.deps import Deps
    from services.api.principal import Principal
    from shared.domain.spec import JobSpec
    from shared.eventlog.snapshot import Snapshot
    from shared.job_types import Known


class JobSpecs:
    """Makes specifications of bodies.

    All raise Problem: 422 with everything that is wrong, 403 for what isn't theirs to say.
    """

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._personal = Personal(deps)

    async def of(self, body: JobBody, job_id: str, tenant: str) -> JobSpec:
        """The whole specification of a job, as it is written."""
        return await self.sealed(self.checked(body), job_id, tenant)

    async def sealed(self, spec: JobSpec, job_id: str, tenant: str) -> JobSpec:
        """A specification that was checked, as it is written."""
        data = await self._personal.sealed(spec.job_type, spec.job_data, job_id, tenant)
        return spec if data is spec.job_data else replace(spec, job_data=data)

    async def sealed_again(self, spec: JobSpec, job: Job) -> JobSpec:
        """The same, of a job that is there: by the key of its data, never by a new one while that is lost."""
        await self.opened(job.spec, job.id)
        return await self.sealed(spec, job.id, job.tenant)

    def checked(self, body: JobBody) -> JobSpec:
        """The whole specification, as its client wrote it."""
        spec = spec_of(body, known=self._deps.known, catalog=self._deps.catalog)
        refuse_unless_theirs(spec.job_type, spec.job_data, known=self._deps.known)
        return spec

    async def patched(self, job: Job, patch: Mapping[str, Any]) -> JobSpec:
        """That of the job with `patch` merged over it."""
        body = _patched(await self.opened(job.spec, job.id), patch)
        return await self.of(body, job.id, job.tenant)

    def supposed(self, spec: JobSpec, patch: Mapping[str, Any]) -> JobSpec:
        """The specification with `patch`, which says nothing of its data, merged over it: not to be carried out."""
        body = _patched(replace(spec, job_data={}), patch)
        return spec_with(spec.job_data, body, catalog=self._deps.catalog)

    async def opened(self, spec: JobSpec, job_id: str) -> JobSpec:
        """A specification that was written, as its client wrote it."""
        data = await self._personal.opened(spec.job_data, job_id)
        return spec if data is spec.job_data else replace(spec, job_data=data)

    async def triggered(self, held: Snapshot | None, over: dict[str, Any] | None) -> dict[str, Any] | None:
        """The data of a triggered run; None for the job's own, and if there is no job: the domain refuses."""
        if over is None or held is None or not isinstance(held.state, Job):
            return None
        job = held.state
        return await self.laid_over(job.spec.job_type, job.spec.job_data, over, job.id, job.tenant)

    async def laid_over(
        self, job_type: str, data: dict[str, Any], over: Mapping[str, Any], job_id: str, tenant: str | None
    ) -> dict[str, Any]:
        """The data of a job or of a run of it, with `over` laid over it, key by key, as it is written.

        For `tenant` see `Personal.sealed`.
        """
        deps = self._deps
        plain = await self._personal.opened(data, job_id)
        mixed = merged_data(job_type, plain, over, known=deps.known, catalog=deps.catalog)
        refuse_unless_theirs(job_type, mixed, known=deps.known)
        return await self._personal.sealed(job_type, mixed, job_id, tenant)


def _patched(spec: JobSpec, patch: Mapping[str, Any]) -> JobBody:
    tree = merged(views.body_of_spec(spec), patch)
    strange = {name: None for name in patch if name not in JobBody.model_fields}
    return read(JobBody, tree | strange)  # of what is strange, null would have been taken away unseen


def refuse_unless_theirs(job_type: str, data: dict[str, Any], *, known: Known) -> None:
    """What is about the deployment as a whole is for its own admins to say.

    Raises:
        Problem: 403.
    """
    if job_types.is_the_deployments(job_type, data, known=known) and not runs_the_deployment():
        whose = f"only an admin of the tenant {DEPLOYMENT} may make it"
        raise Problem("forbidden", f"Such a {job_type} is about what all tenants have: {whose}.")


class Quota:
    """How many jobs a principal may have.

    By the read model: of many made at one moment, or while it doesn't answer, a few jobs may be too many.
    """

    def __init__(self, deps: Deps) -> None:
        self._most = deps.settings.max_jobs_per_user
        self._ledger = deps.ledger

    async def left(self, principal: Principal) -> int | None:
        """How many more it may make; None for any number."""
        if principal.kind == "anonymous":
            return None
        asked = self._ledger.jobs_of(principal.id, principal.tenant, most=self._most)
        return self._most - (await self._ledger.glance(asked) or 0)

    def full(self, principal: Principal) -> Problem:
        """What a principal without room is told."""
        return Problem(
            "quota", f"{principal.id} may have {self._most} jobs, which is the limit: delete some."
        )
