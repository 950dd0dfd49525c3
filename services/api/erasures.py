"""Erasing the personal data of a job: the key that opens it is destroyed, and the job ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from services.api import answers, door, views
from services.api.idempotency import Idempotency, key_of_request
from services.api.principal import present
from services.api.requests import EraseBody
from services.api.writes import Writes
from shared import logs
from shared.domain import ids
from shared.domain.commands import EraseJob

if TYPE_CHECKING:
    from quart import Quart, Response

    from services.api.answers import Reply
    from services.api.deps import Deps
    from services.api.writes import Written
    from shared.domain.job import Job
    from shared.eventlog.envelope import Context
    from shared.eventlog.unit import Once


class Erasures:
    """The route `POST /jobs/{id}/erase`."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._write = Writes(decider=deps.decider, archive=deps.archive)
        self._once = Idempotency(deps)
        self._log = logs.get("daybook.api")

    def mount(self, app: Quart) -> None:
        """Add the route."""
        path = f"{answers.BASE}/jobs/<job_id>/erase"
        app.add_url_rule(path, "erase_job", self.erase, methods=["POST"])

    async def erase(self, job_id: str) -> Response:
        """POST /jobs/{id}/erase, of deleted jobs too: 200 once the key is destroyed, which archiving the event does."""
        job_id = door.job_id(job_id, partitions=self._deps.log.partitions)
        body = door.body(EraseBody, heeds=(door.KEY_HEADER,))
        command = EraseJob(by=present().id, reason=body.reason)
        wait_s = door.wait_s(self._deps.settings.wait_seconds)

        async def write(context: Context, once: tuple[Once, ...]) -> Written:
            done = await self._write(f"job:{job_id}", command, context, wait_s=wait_s, once=once)
            self._deps.metrics.count_occurrences(done.decided.changes, self._deps.log.now())
            self._deps.metrics.count_ends(done.decided.ended)
            return done

        async def tell(done: Written) -> Reply:
            if done.decided.last is not None:
                self._log.info("personal data erased", job_id=job_id)
            view = views.erasure_of_state(cast("Job", done.decided.after.state))
            return answers.reply(view, location=f"{answers.job_path(job_id)}/events")

        return await self._once(key_of_request(body), ids.partition_of(job_id), f"job:{job_id}", write, tell)
