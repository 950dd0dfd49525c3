"""How much is to run, and when: over all jobs, from their schedules and from how long their runs took."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from services.api import answers, door, reads
from services.api.previews import bounded, seen_now
from services.api.problems import Fault, invalid
from services.api.responses import BucketView, ForecastView
from shared.domain.forecast import Alike, Forecast, TooMuch
from shared.domain.schedule import Schedule
from shared.eventlog.envelope import decoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import asyncpg
    from quart import Quart, Response

    from services.api.deps import Deps
    from services.api.slices import Slices
    from shared.domain.calendars import Seen

BUCKET = "1h"
BUCKET_PATTERN = "^[0-9]{1,9}[smhd]?$"
BUCKETS_MAX = 2_000
SPAN, SPAN_MAX = timedelta(days=1), timedelta(days=366)
GROUPS_MAX = 50_000  # of jobs with the same occurrences: rows that are read
BY_JOB_MAX = 20_000  # jobs: what each has taken costs one index scan
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Forecasts:
    """The route that looks ahead over all jobs."""

    def __init__(self, deps: Deps, slices: Slices) -> None:
        self._deps = deps
        self._slices = slices

    def mount(self, app: Quart) -> None:
        """Add the route."""
        app.add_url_rule(f"{answers.BASE}/forecast", "forecast", self.forecast, methods=["GET"])

    async def forecast(self) -> Response:
        """GET /forecast: by the read model."""
        given = await reads.query(self._deps, "from", "to", "bucket")
        bucket = _bucket(given)
        begin, end = _span(given, bucket, self._deps.log.now())
        rows = await self._deps.ledger.forecast(before=end, by_job=BY_JOB_MAX, limit=GROUPS_MAX + 1)
        if len(rows) > GROUPS_MAX:
            raise _too_much()
        groups = await self._slices(_groups(rows))
        made = Forecast(begin, end, bucket, await self._calendars(groups))
        try:
            await self._slices(made.steps(groups))
        except TooMuch:
            raise _too_much() from None
        jobs = sum(row["jobs"] for row in rows)
        view = ForecastView(
            since=begin,
            until=end,
            bucket_seconds=int(bucket.total_seconds()),
            jobs=jobs,
            durations="job" if jobs <= BY_JOB_MAX else "job_type",
            unmeasured_jobs=sum(row["unmeasured"] for row in rows),
            buckets=list(_buckets(made, begin, end, bucket)),
        )
        return answers.answer(view)

    async def _calendars(self, groups: Iterable[Alike]) -> dict[str | None, Mapping[str, Seen]]:
        """The calendars that schedules name, by tenant, as they are now."""
        named: dict[str, dict[str, None]] = defaultdict(dict)
        for group in groups:
            if group.tenant is not None:
                named[group.tenant] |= dict.fromkeys(group.schedule.exclude_calendars)
        return {tenant: await seen_now(self._deps.log, tenant, names) for tenant, names in named.items()}


def _bucket(given: Mapping[str, str]) -> timedelta:
    """How long a bucket is.

    Raises:
        Problem: 422.
    """
    text = given.get("bucket", BUCKET)
    if not re.fullmatch(BUCKET_PATTERN, text):
        raise invalid(Fault(pointer="?bucket", detail="is no time: write 90, 90s, 5m, 1h or 1d"))
    digits = text.rstrip("smhd")
    seconds = int(digits) * _UNITS[text[len(digits) :]]
    if not 1 <= seconds <= SPAN_MAX.total_seconds():
        raise invalid(Fault(pointer="?bucket", detail=f"lasts 1 second to {SPAN_MAX.days} days"))
    return timedelta(seconds=seconds)


def _span(given: Mapping[str, str], bucket: timedelta, now: datetime) -> tuple[datetime, datetime]:
    """From when to before when, in whole seconds; unless it is said, it begins with the bucket that `now` is in.

    Raises:
        Problem: 422.
    """
    begin, end = door.moment(given, "from"), door.moment(given, "to")
    begin = now - (now - _EPOCH) % bucket if begin is None else bounded(begin, "?from")
    begin = begin.replace(microsecond=0)
    end = begin + max(SPAN, bucket) if end is None else bounded(end, "?to").replace(microsecond=0)
    if not begin < end <= begin + SPAN_MAX:
        raise invalid(Fault(pointer="?to", detail=f"is after ?from, by at most {SPAN_MAX.days} days"))
    if -(-(end - begin) // bucket) > BUCKETS_MAX:
        raise invalid(
            Fault(pointer="?bucket", detail=f"makes more than {BUCKETS_MAX:,} buckets: make them longer")
        )
    return begin, end


def _groups(rows: Iterable[asyncpg.Record]) -> Iterator[Alike]:
    """The rows as they are counted, one by one: there may be very many."""
    decode = decoder(Schedule)
    for row in rows:
        yield Alike(
            schedule=decode(row["schedule"]),
            next_for=row["next_for"],
            left=row["runs_left"],
            jobs=row["jobs"],
            work_s=row["work_ms"] / 1000,
            tenant=row["calendars_of"],
        )


def _buckets(made: Forecast, begin: datetime, end: datetime, bucket: timedelta) -> Iterator[BucketView]:
    for index, (occurrences, work_s) in enumerate(zip(made.occurrences, made.work_s, strict=True)):
        since = begin + index * bucket
        lasts_s = (min(end, since + bucket) - since).total_seconds()
        yield BucketView(
            since=since,
            occurrences=occurrences,
            work_seconds=round(work_s, 3),
            concurrency=round(work_s / lasts_s, 3),
        )


def _too_much() -> Exception:
    return invalid(
        Fault(
            pointer="?to", detail="leaves too many occurrences to look for one by one: ask for a shorter time"
        )
    )
