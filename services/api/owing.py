"""Finding out which occurrences of a job a backfill is to run: its schedule against the ledger, level with the log."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from services.api.archived import Fate
from services.api.problems import Fault, invalid, unavailable
from shared.domain import ids, past
from shared.domain.backfill import TIMES_MAX
from shared.eventlog import opening
from shared.eventlog.envelope import rfc3339

if TYPE_CHECKING:
    from services.api.deps import Deps
    from services.api.requests import BackfillBody
    from shared.domain.job import Job

WALK_MAX = 50_000  # occurrences looked at: 5 s of a cron expression
BREATH = 100  # of them, 10 ms: then others have their turn
LEVEL_S = 5.0  # for the archive to come to where the log is
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(NamedTuple):
    """From when (inclusive) to when (exclusive), in whole milliseconds."""

    since: datetime
    until: datetime


class Owing:
    """Answers what a backfill of a job has to run."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def __call__(self, job: Job, body: BackfillBody) -> tuple[Span, list[datetime]]:
        """The span that was asked for, as far as it has gone by, and the occurrences in it.

        Whatever is decided after `job` was read is about occurrences that are the schedule's still: none of these.

        Raises:
            Problem: 422; 503 if the archive lags.
        """
        span = _span(body, self._deps.log.now(ids.partition_of(job.id)))
        times = await self._gone_by(job, span)
        await self._level(ids.partition_of(job.id))
        await self._refuse_forgotten(body, span)
        ledger = self._deps.ledger
        ran, left_out = await asyncio.gather(
            ledger.occurrences(job.id, job.tenant, *span), ledger.left_out(job.id)
        )
        owed = past.owed(body.which, times, ran, left_out)
        if len(owed) > TIMES_MAX and not body.dry_run:
            said = f"there are {len(owed):,} such occurrences; one backfill runs {TIMES_MAX:,} at most: narrow it"
            raise invalid(Fault(pointer="#/from", detail=said))
        return span, owed

    async def _gone_by(self, job: Job, span: Span) -> list[datetime]:
        times: list[datetime] = []
        for at in past.gone_by(job, *span):
            times.append(at)
            if len(times) > WALK_MAX:
                said = f"there are more than {WALK_MAX:,} occurrences in this span: narrow it"
                raise invalid(Fault(pointer="#/from", detail=said))
            if len(times) % BREATH == 0:
                await asyncio.sleep(0)
        return times

    async def _level(self, partition: int) -> None:
        """Wait until the archive has all that is in the log now."""
        deps = self._deps
        tail = (await opening.look(deps.log.redis, deps.log.keys(partition))).tail
        if tail is None:  # trimmed: what left the log is archived
            return
        fate = await deps.archive.fate(partition, tail.position, tail.id, LEVEL_S)
        if fate is not Fate.ARCHIVED:
            raise unavailable(
                "The archive has not come to where the log is, so what has run isn't known yet."
            )

    async def _refuse_forgotten(self, body: BackfillBody, span: Span) -> None:
        """What ran must be there to be known from what didn't."""
        if body.which == "all":
            return
        whole_from = await self._deps.ledger.runs_whole_from()
        if whole_from is not None and span.since < whole_from:
            said = f"which runs there were before {rfc3339(whole_from)} isn't known any more: they were cleaned up"
            raise invalid(Fault(pointer="#/from", detail=said))


def _span(body: BackfillBody, now: datetime) -> Span:
    since = _whole_ms(body.from_.astimezone(UTC))
    until = now if body.to is None else min(now, _whole_ms(body.to.astimezone(UTC)))
    if since < _EPOCH:
        raise invalid(Fault(pointer="#/from", detail="lies before 1970"))
    if since >= now:
        raise invalid(Fault(pointer="#/from", detail="has not come yet: a backfill is of what has gone by"))
    if until <= since:
        raise invalid(Fault(pointer="#/to", detail="lies not after from"))
    return Span(since, until)


def _whole_ms(at: datetime) -> datetime:
    """The first whole millisecond that isn't before `at`: occurrences are told in these."""
    floor = at.replace(microsecond=at.microsecond // 1000 * 1000)
    return floor if floor == at else floor + timedelta(milliseconds=1)
