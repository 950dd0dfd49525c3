"""What is to come: of a schedule that no job has yet, and of a job."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from services.api import answers, door, reads, views
from services.api.held import held_job
from services.api.principal import present
from services.api.problems import Fault, invalid, of_refusal
from services.api.requests import PREVIEWED_MAX, PreviewBody
from services.api.responses import DroppedView, NextView, OccurrenceView, PreviewView
from services.api.specs import schedule_of
from services.api.writes import Writes
from shared.domain import calendars
from shared.domain.calendar import ref_of
from shared.domain.preview import PASSED_MAX, Dropped, Planned, TooFar, planned, upcoming
from shared.domain.refusals import NeverFires, UnknownCalendars
from shared.domain.schedule import BadSchedule, check_moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from quart import Quart, Response

    from services.api.deps import Deps
    from services.api.slices import Slices
    from shared.domain.calendar import Calendar
    from shared.domain.schedule import Schedule
    from shared.eventlog.log import EventLog

COUNT = 10


class Previews:
    """The routes that tell occurrences before they are decided."""

    def __init__(self, deps: Deps, slices: Slices) -> None:
        self._deps = deps
        self._slices = slices
        self._write = Writes(decider=deps.decider, archive=deps.archive)

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        base = answers.BASE
        app.add_url_rule(f"{base}/schedules/preview", "preview_schedule", self.preview, methods=["POST"])
        app.add_url_rule(f"{base}/jobs/<job_id>/next", "list_next_occurrences", self.next, methods=["GET"])

    async def preview(self) -> Response:
        """POST /schedules/preview: as of a job that is made at `from`."""
        body = door.body(PreviewBody)
        schedule = _schedule(body)
        since = self._deps.log.now() if body.from_ is None else bounded(body.from_, "#/from")
        most = min(body.count, schedule.max_runs or body.count)
        seen = await seen_now(self._deps.log, present().tenant, schedule.exclude_calendars)
        try:
            calendars.refuse_unknown(schedule, seen)
        except UnknownCalendars as refused:
            raise of_refusal(refused) from None
        steps = planned(schedule, since, anchor_at=since, job_id=body.job_id or "", calendars=seen)
        found = await self._gathered(steps, most, "#/count")
        if body.from_ is None and not _occurrences(found):
            raise of_refusal(NeverFires())
        expressions = schedule.cron_expression
        view = PreviewView(
            cron_expression=list(expressions) if isinstance(expressions, tuple) else expressions,
            timezone=schedule.timezone,
            occurrences=_occurrences(found),
            dropped=_dropped(found),
        )
        return answers.answer(view)

    async def next(self, job_id: str) -> Response:
        """GET /jobs/{id}/next: by the write model, which is never older than what the client has seen."""
        job_id = door.job_id(job_id, partitions=self._deps.log.partitions)
        given = await reads.query(self._deps, "from", "count")
        since = door.moment(given, "from")
        since = since and bounded(since, "?from")
        most = door.whole(given, "count", COUNT, most=PREVIEWED_MAX, beyond="ask again from the last one on")
        job, _ = await held_job(self._deps.log, self._write, job_id)
        seen = await seen_now(self._deps.log, job.tenant, job.spec.schedule.exclude_calendars)
        steps = upcoming(job, now=self._deps.log.now(), since=since, calendars=seen)
        found = await self._gathered(steps, most, "?from")
        view = NextView(
            job_id=job_id,
            timezone=job.spec.schedule.timezone,
            paused=views.paused_of_state(job),
            occurrences=_occurrences(found),
            dropped=_dropped(found),
        )
        return answers.answer(view)

    async def _gathered(
        self, steps: Iterable[Planned | Dropped | None], most: int, pointer: str
    ) -> list[Planned | Dropped]:
        """The steps up to the occurrence number `most`.

        Raises:
            Problem: 422, there are too many steps.
        """
        try:
            return await self._slices(_first(steps, most))
        except TooFar:
            many = f"more than {PASSED_MAX:,} occurrences that max_runs counts, or calendars leave out, one by one"
            raise invalid(Fault(pointer=pointer, detail=f"leads over {many}: ask for nearer ones")) from None


def _schedule(body: PreviewBody) -> Schedule:
    """The schedule to be looked at, its `H` drawn.

    Raises:
        Problem: 422.
    """
    faults: list[Fault] = []
    schedule = schedule_of(body, faults)
    if faults:
        raise invalid(*faults)
    if schedule.kind == "none":
        raise invalid(Fault(pointer="#", detail="give one of cron_expression, interval_seconds and run_at"))
    return schedule.expanded(body.job_id or "")


async def seen_now(log: EventLog, tenant: str, names: Iterable[str]) -> Mapping[str, calendars.Seen]:
    """The calendars of these names, as they are now."""
    refs = [ref_of(tenant, name) for name in names]
    found = await log.load(*refs) if refs else {}
    states = {ref: cast("Calendar | None", held.state) for ref, held in found.items()}
    return calendars.seen(states, {})


def bounded(at: datetime, pointer: str) -> datetime:
    """A time to look ahead from, in UTC and whole milliseconds.

    Raises:
        Problem: 422, there are no occurrences in that year.
    """
    try:
        check_moment(at, "it")
    except BadSchedule as refusal:
        raise invalid(Fault(pointer=pointer, detail=str(refusal).removeprefix("it "))) from None
    at = at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _first(steps: Iterable[Planned | Dropped | None], most: int) -> Iterator[Planned | Dropped | None]:
    """The steps up to the occurrence number `most`.

    Raises:
        TooFar: there are too many others before it.
    """
    left_out = 0
    for step in steps:
        yield step
        most -= isinstance(step, Planned)
        left_out += isinstance(step, Dropped)
        if left_out > PASSED_MAX:
            raise TooFar
        if not most:
            return


def _occurrences(found: Iterable[Planned | Dropped]) -> list[OccurrenceView]:
    return [
        OccurrenceView(
            scheduled_for=each.at, local_time=each.local_time, fires_at=each.fires_at, rule=each.rule
        )
        for each in found
        if isinstance(each, Planned)
    ]


def _dropped(found: Iterable[Planned | Dropped]) -> list[DroppedView]:
    """What was left out, each once: the second of two times that read alike is seen from both sides."""
    dropped = {(each.at, each.local_time): each for each in found if isinstance(each, Dropped)}
    return [
        DroppedView(at=each.at, local_time=each.local_time, reason=each.reason, by=each.by)
        for _, each in sorted(dropped.items())
    ]
