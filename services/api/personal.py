"""Personal data at the API's door: sealed before anything is decided, opened for who edits it, and in answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from quart import request
from quart.wrappers.response import DataBody

from services.api import door
from services.api.ledger import ANSWER_S
from services.api.principal import wall
from services.api.problems import Fault, Problem, invalid, unavailable
from shared.domain.job import Job
from shared.faults import is_broken
from shared.personal.marks import has_personal, sealed_data
from shared.personal.sealing import (
    ERASED,
    ERASED_KEY,
    JOB_DATA,
    KEY,
    NotOpened,
    Place,
    has_sealed,
    jobs_of,
    opened,
    opened_at,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from quart import Response

    from services.api.deps import Deps

SEALED_MAX = 96 * 1024  # bytes of compact JSON: with the 140 KB of a backfill's times still an event
AS_WRITTEN = frozenset({"list_events", "list_job_events"})  # these tell the record, in which it stands sealed
_HINT = KEY.encode()
_CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Personal:
    """Seals and opens; what no type has marked costs nothing."""

    def __init__(self, deps: Deps) -> None:
        self._known = deps.known
        self._keys = deps.personal
        self._log = deps.log

    async def sealed(
        self, job_type: str, data: dict[str, Any], job_id: str, tenant: str | None
    ) -> dict[str, Any]:
        """Data that fits its type, as it is written of a job.

        Args:
            job_type: known.
            data: plain; what is sealed in it already stays.
            job_id: of the job.
            tenant: of the job; None: as the job says, if its first key is to be made.

        Raises:
            Problem: 422 if it is too large then; 503 if the job has no key yet and none can be made, or its key isn't
                to be had; 404 if the job was erased.
        """
        model = self._known.types[job_type].model
        if not has_personal(model, data):
            return data
        async with _answered("The key of this job's personal data can't be had, so nothing was written."):
            key = await self._key(job_id, tenant)
        if key == ERASED:
            raise door.no_such("job")
        written = sealed_data(model, data, key, job_id)
        if len(json.dumps(written, ensure_ascii=False, separators=(",", ":")).encode()) > SEALED_MAX:
            said = f"is larger than {SEALED_MAX // 1024} KB once each personal value in it is sealed: write fewer"
            raise invalid(Fault(pointer=f"#/{JOB_DATA}", detail=said))
        return written

    async def _key(self, job_id: str, tenant: str | None) -> bytes:
        if tenant is None:
            found = await self._keys.of([job_id])
            if job_id in found:
                return found[job_id]
            job = (await self._log.load(f"job:{job_id}"))[f"job:{job_id}"].state
            if not isinstance(job, Job):
                raise door.no_such("job")
            tenant = job.tenant
        return (await self._keys.given([job_id], tenant=tenant))[job_id]

    async def opened(self, data: dict[str, Any], job_id: str) -> dict[str, Any]:
        """A job's data as its client wrote it, to be changed and checked.

        Raises:
            Problem: 409 if its key is gone, 503 if that can't be had.
        """
        if not has_sealed(data):
            return data
        async with _answered("The key of this job's personal data can't be had."):
            key = (await self._keys.of([job_id])).get(job_id, ERASED)
        try:
            plain: dict[str, Any] = opened_at(data, key, Place(job_id, JOB_DATA))
        except NotOpened:
            raise Problem(
                "illegal-transition",
                "The key of the job's personal data is gone, so nothing can be merged or compared with it: have it "
                "brought back (`daybook personal-keys import`), or send the whole (PUT), which makes a new one.",
            ) from None
        return plain

    async def shown(self, response: Response) -> Response:
        """The answer with what is sealed in it opened, for who may see it; one look-up for all of it.

        Raises:
            Problem: 503 if the keys can't be had. What was changed is changed, and told as it is written.
        """
        if request.endpoint in AS_WRITTEN or not isinstance(response.response, DataBody):
            return response
        text = await response.get_data(as_text=False)
        if _HINT not in text or not (response.mimetype or "").endswith("json"):
            return response
        told = json.loads(text)
        if not (jobs := sorted(jobs_of(told))):
            return response
        try:
            async with _answered("The keys of the personal data in this answer can't be had."):
                keys = await self._keys.of(jobs, tenant=wall())
        except Problem:
            if request.method in _CHANGING:
                return response
            raise
        response.set_data(json.dumps(opened(told, keys)))
        return response


@contextlib.asynccontextmanager
async def _answered(otherwise: str) -> AsyncIterator[None]:
    """A question to the stores, which is answered within a while, or `otherwise` is.

    Raises:
        Problem: 503.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            yield
    except Exception as error:
        if not is_broken(error):
            raise
        raise unavailable(otherwise) from None


def reserved(data: Mapping[str, Any]) -> Iterator[Fault]:
    """What a client can't write in `job_data`, wherever it stands: only we say that something is sealed, or erased."""
    waiting: list[tuple[str, Any]] = [(f"#/{JOB_DATA}", data)]
    while waiting:
        pointer, value = waiting.pop()
        if isinstance(value, dict):
            for name in (KEY, ERASED_KEY):
                if name in value:
                    said = f"has the key {name}, which is Daybook's own: write the value itself"
                    yield Fault(pointer=pointer, detail=said)
            waiting += [(f"{pointer}/{_escaped(name)}", inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{pointer}/{at}", inner) for at, inner in enumerate(value)]


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
