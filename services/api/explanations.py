"""Explanations: why a job or an execution is what it is, for people at three in the morning."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from services.api import answers, door, reads
from services.api.archived import Fate
from services.api.explain_contract import shown
from services.api.explaining.absence import asked_of
from services.api.explaining.explainer import Explainer
from services.api.explaining.reading import LOOKED_AT, Reading
from services.api.explaining.undecided import COUNTED, Buried
from services.api.moments import gone, is_places, moment_of, of_the_past
from services.api.previews import bounded, seen_now
from services.api.principal import wall
from services.api.problems import Fault, Problem, invalid, unavailable
from shared.domain import calendars, ids
from shared.domain.job import Job
from shared.domain.preview import TooFar
from shared.eventlog import opening
from shared.readmodel import archive
from shared.readmodel.cuts import cut_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from quart import Quart, Response

    from services.api.deps import Deps
    from services.api.explaining.finding import Explanation
    from shared.domain.calendars import Seen

AT = "at"


class Explanations:
    """The routes that say why."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        base = answers.BASE
        app.add_url_rule(f"{base}/jobs/<job_id>/explain", "explain_job", self.job, methods=["GET"])
        app.add_url_rule(
            f"{base}/executions/<run_id>/explain", "explain_execution", self.execution, methods=["GET"]
        )

    async def job(self, job_id: str) -> Response:
        """GET /jobs/{id}/explain; a deleted job's reasons stay."""
        job_id = door.job_id(job_id, partitions=self._deps.log.partitions)
        given = await reads.query(self._deps, AT)
        if not await self._deps.ledger.job_exists(job_id):
            raise door.no_such("job")
        text = given.get(AT)
        if text is None or is_places(text):
            told = await self._standing(job_id, text)
        else:
            at = door.moment(given, AT)
            assert at is not None  # noqa: S101 - it was given
            told = await self._at(job_id, at)
        if told is None:
            raise Problem("not-found", "There was no such job then: it was made later.")
        return answers.answer(shown(told, job_id=job_id))

    async def execution(self, run_id: str) -> Response:
        """GET /executions/{id}/explain."""
        run_id = door.run_id(run_id, partitions=self._deps.log.partitions)
        await reads.query(self._deps)
        row = await self._deps.ledger.run(run_id)
        if row is None:
            raise door.no_such("execution")
        async with self._explaining(run_id, {}) as explain:
            told = await explain.of_run(run_id)
        if told is None:
            raise Problem(
                "history-gone", "What happened to this execution has been dropped from the archive."
            )
        return answers.answer(shown(told, job_id=str(row["job_id"]), run_id=run_id))

    async def _at(self, job_id: str, at: datetime) -> Explanation:
        asked = asked_of(at)
        bounded(asked.at, f"?{AT}")
        horizon = (await self._deps.ledger.past_horizon(asked.at)).get(ids.partition_of(job_id))
        if horizon is not None and horizon.cut_at is not None and asked.at < horizon.cut_at:
            raise gone(horizon.cut_at)
        async with self._explaining(job_id, await self._calendars(job_id)) as explain:
            if explain.until < asked.at <= self._deps.log.now():
                raise unavailable("The archive has not come to that time yet: what was then isn't known.")
            try:
                return await explain.of_job_at(job_id, asked)
            except TooFar:
                far = f"lies more than {COUNTED:,} occurrences ahead that max_runs counts: ask for a nearer time"
                raise invalid(Fault(pointer=f"?{AT}", detail=far)) from None
            except Buried:
                buried = f"was decided, but more than {LOOKED_AT:,} events of the job later: look for it in its events"
                raise invalid(Fault(pointer=f"?{AT}", detail=buried)) from None

    async def _standing(self, job_id: str, text: str | None) -> Explanation | None:
        """As it is now, or was after the event at a position."""
        partition = ids.partition_of(job_id)
        moment = None if text is None else await moment_of(self._deps, text, partition=partition, name=AT)
        async with self._explaining(job_id, await self._calendars(job_id)) as explain:
            return await explain.of_job(job_id, None if moment is None else moment.span(partition).upto)

    @asynccontextmanager
    async def _explaining(self, identifier: str, seen: Mapping[str, Seen]) -> AsyncIterator[Explainer]:
        """An explainer of the partition of a job or run, with all that the log has now if that can be had."""
        deps, partition = self._deps, ids.partition_of(identifier)
        level_at = await self._level_at(partition)
        with of_the_past(AT):
            async with deps.ledger.standing_still() as connection:
                mark = await archive.checkpoint(connection, partition)
                cut = await cut_of(connection, partition)
                archived_at = None if mark is None else mark.at
                yield Explainer(
                    Reading(
                        connection=connection,
                        partition=partition,
                        since=0 if cut is None else cut.pos,
                        tail=0 if mark is None else mark.pos,
                        until=level_at or archived_at or deps.log.now(),
                        partitions=deps.log.partitions,
                        tenant=wall(),
                    ),
                    seen,
                )

    async def _level_at(self, partition: int) -> datetime | None:
        """A moment up to which the archive has all there was; None: it lags, or Redis can't be asked."""
        deps = self._deps
        state = await deps.ledger.glance(opening.look(deps.log.redis, deps.log.keys(partition)))
        if state is None:
            return None
        fate = await deps.archive.fate(
            partition, state.tail_at, None, door.wait_s(deps.settings.wait_seconds)
        )
        return ids.from_ms(state.now_ms) if fate is Fate.ARCHIVED else None

    async def _calendars(self, job_id: str) -> Mapping[str, Seen]:
        """The calendars that a job names, as they are now; none if Redis can't be asked: the past has its own."""
        ref = f"job:{job_id}"
        found = await self._deps.ledger.glance(self._deps.log.load(ref))
        job = None if found is None else found[ref].state
        names = job.spec.schedule.exclude_calendars if isinstance(job, Job) else ()
        if not names:
            return calendars.NONE
        seen = await self._deps.ledger.glance(seen_now(self._deps.log, cast("Job", job).tenant, names))
        return calendars.NONE if seen is None else seen
