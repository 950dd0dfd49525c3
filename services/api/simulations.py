"""Simulations: what a job would have done, and would do, if it were changed. A question: nothing is written."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from services.api import answers, door, simulation_views, views
from services.api.held import held_job
from services.api.job_specs import JobSpecs
from services.api.json_patch import differences
from services.api.moments import gone, level
from services.api.previews import bounded, seen_now
from services.api.problems import Fault, Problem, invalid, of_refusal, unavailable
from services.api.responses import DifferenceView
from services.api.simulation_contract import COUNT, COUNT_MAX, SimulationView, SpanView
from services.api.writes import Writes
from shared.domain import ids
from shared.domain.calendars import Seen
from shared.domain.commands import CreateJob, JobCommand, UpdateJob
from shared.domain.decided import DECIDED_MAX, TooMany
from shared.domain.happened import Happened
from shared.domain.refusals import Refused
from shared.domain.schedule import TICK
from shared.domain.simulation import Simulation
from shared.eventlog.envelope import UnknownEvent
from shared.eventlog.snapshot import NewerShape
from shared.recovery.looking_back import Gone, Span, TooFar
from shared.recovery.recollecting import EVENTS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quart import Quart, Response

    from services.api.deps import Deps
    from services.api.slices import Slices
    from shared.domain.calendar import Calendar
    from shared.domain.happened import Told
    from shared.domain.job import Job
    from shared.domain.spec import JobSpec

PAST, PAST_MAX = timedelta(days=7), timedelta(days=31)
AHEAD, AHEAD_MAX = timedelta(days=1), timedelta(days=366)
MEASURED = 20  # runs, whose median is what they usually take
_DATA = "isn't simulated: it decides nothing about when a job runs, and may be somebody's own; leave it out"


class _Asked(NamedTuple):
    """From when to when, and how many occurrences ahead; `is_given`: whether the client has named the beginning."""

    since: datetime
    now: datetime
    until: datetime
    most: int
    is_given: bool


class Simulations:
    """The route that answers what if."""

    def __init__(self, deps: Deps, slices: Slices) -> None:
        self._deps = deps
        self._slices = slices
        self._specs = JobSpecs(deps)
        self._write = Writes(decider=deps.decider, archive=deps.archive)

    def mount(self, app: Quart) -> None:
        """Add the route."""
        app.add_url_rule(
            f"{answers.BASE}/jobs/<job_id>/simulate", "simulate_job", self.simulate, methods=["POST"]
        )

    async def simulate(self, job_id: str) -> Response:
        """POST /jobs/{id}/simulate: the body is that of PATCH /jobs/{id}."""
        job_id = door.job_id(job_id, partitions=self._deps.log.partitions)
        patch = door.merge_patch(heeds=(), asks=("since", "until", "count"))
        given = door.parameters("since", "until", "count")
        if "job_data" in patch:
            raise invalid(Fault(pointer="#/job_data", detail=_DATA))
        job, _ = await held_job(self._deps.log, self._write, job_id)
        asked = _asked(given, job, self._deps.log.now(ids.partition_of(job_id)))
        supposed = _Supposed(self._specs, patch, job.spec)
        usual_s, measured = await self._deps.ledger.usual_duration(job_id, job.tenant, latest=MEASURED)
        usual = timedelta(seconds=usual_s or 0.0)
        try:
            asked, happened, told, then = await self._recollected(job, asked)
            named = _named(job, told, supposed)
            calendars = _Calendars(
                await self._deps.ledger.calendars_told(job.tenant, named),
                await seen_now(self._deps.log, job.tenant, named),
            )
            past = await self._past(asked, happened, then, supposed, usual, calendars)
            future = await self._future(asked, job, happened, supposed, usual, calendars)
        except TooMany:
            raise _too_many() from None
        except Refused as refused:
            raise of_refusal(refused) from None
        changes = differences(views.body_of_spec(job.spec), views.body_of_spec(supposed(job.spec)))
        return answers.answer(
            SimulationView(
                job_id=job_id,
                revision=job.revision,
                changes=[DifferenceView.model_validate(each) for each in changes],
                usual_seconds=usual_s,
                measured_runs=measured,
                past=past,
                future=future,
                assumptions=simulation_views.assumptions(
                    since=asked.since, measured=measured, unfit=supposed.unfit, job=job
                ),
            )
        )

    async def _past(
        self,
        asked: _Asked,
        happened: Happened,
        then: Job | None,
        supposed: _Supposed,
        usual: timedelta,
        calendars: _Calendars,
    ) -> SpanView:
        copy = Simulation(
            then, asked.since, happened=happened, edit=supposed, usual=usual, calendars=calendars
        )
        copy.begin()
        end = min(asked.now, asked.until)
        await self._slices(copy.steps(happened.facts, end))
        return simulation_views.span_of(asked.since, end, happened.decided, copy, happened.runs)

    async def _future(
        self,
        asked: _Asked,
        job: Job,
        happened: Happened,
        supposed: _Supposed,
        usual: timedelta,
        calendars: _Calendars,
    ) -> SpanView | None:
        """As if the job were changed now, beside what it will do if it isn't."""
        copies = [
            Simulation(job, asked.now, usual=usual, calendars=calendars),
            Simulation(job, asked.now, usual=usual, calendars=calendars, edit=supposed),
        ]
        for copy in copies:
            copy.begin(happened.runs)  # what a PATCH is refused for, this is too
        if asked.until <= asked.now:
            return None
        end = asked.until
        for copy in copies:
            await self._slices(copy.steps((), end, most=asked.most))
            if copy.ahead >= asked.most:
                end = min(end, max(copy.decided[-1].decided_at, asked.now))
        was, would = copies
        was.decided = [each for each in was.decided if each.decided_at <= end]
        return simulation_views.span_of(asked.now, end, was.decided, would, {}, is_cut=end < asked.until)

    async def _recollected(self, job: Job, asked: _Asked) -> tuple[_Asked, Happened, list[Told], Job | None]:
        """What has happened, and what the job was before; `since` may be later than asked for, if nobody has named it.

        Raises:
            Problem: 410 for what has left the archive, 422 for what is too much, 503 if the archive lags.
        """
        deps, partition = self._deps, ids.partition_of(job.id)
        await level(deps, partition)
        horizon = (await deps.ledger.past_horizon(asked.since))[partition]
        if horizon.cut_at is not None and asked.since < horizon.cut_at:
            if asked.is_given:
                raise gone(horizon.cut_at)
            asked = asked._replace(since=horizon.cut_at)
            horizon = (await deps.ledger.past_horizon(asked.since))[partition]
        cut = 0 if horizon.cut is None else horizon.cut.pos
        is_there = asked.since > job.created_at
        span = Span(cut, horizon.upto.pos if is_there else cut)
        try:
            then, told = await deps.ledger.recollected(
                job.id, span, is_there=is_there, until=min(asked.now, asked.until)
            )
        except (UnknownEvent, NewerShape):
            raise unavailable("What happened was written by a newer version of Daybook.") from None
        except Gone:
            raise Problem(
                "history-gone", "What happened then has just been dropped: ask for a later time."
            ) from None
        except TooFar:
            said = f"leaves more than {EVENTS_MAX:,} events of this job to be read: name a later time"
            raise invalid(Fault(pointer="?since", detail=said)) from None
        happened = Happened(job=then)
        await self._slices(happened.steps(told))
        return asked, happened, told, then


class _Supposed:
    """The specification that is supposed, from each that the job had.

    Attributes:
        unfit: whether the change doesn't fit one of the earlier ones, which is left as it was then.
    """

    def __init__(self, specs: JobSpecs, patch: dict[str, Any], present: JobSpec) -> None:
        self._specs, self._patch = specs, patch
        self._present = present, specs.supposed(present, patch)
        self.unfit = False

    def __call__(self, spec: JobSpec) -> JobSpec:
        """For `Simulation`."""
        if not self._patch:
            return spec
        if spec == self._present[0]:
            return self._present[1]
        try:
            return self._specs.supposed(spec, self._patch)
        except Problem:
            self.unfit = True
            return spec


class _Calendars:
    """Calendars as they were at each time.

    Args:
        told: by name, since when each was as it was.
        present: as they are.
    """

    def __init__(
        self, told: Mapping[str, list[tuple[datetime, Calendar, str]]], present: Mapping[str, Seen]
    ) -> None:
        self._told, self._present = told, present

    def __call__(self, now: datetime, command: JobCommand) -> Mapping[str, Seen]:
        """For `Simulation`; an edit may name what has been made since."""
        edits = isinstance(command, UpdateJob | CreateJob)
        found: dict[str, Seen] = {}
        for name, present in self._present.items():
            then = [each for each in self._told.get(name, ()) if each[0] <= now]
            _, calendar, place = then[-1] if then else (None, None, "")
            is_there = calendar is not None and not calendar.deleted
            found[name] = present if edits and not is_there else Seen(calendar, place)
        return found


def _named(job: Job, told: list[Told], supposed: _Supposed) -> list[str]:
    """Names of all calendars that were looked at, or would be."""
    specs = [job.spec, supposed(job.spec)]
    for each in told:
        spec = getattr(each.change.event, "spec", None)
        if each.change.subject == f"job:{job.id}" and spec is not None:
            specs += [cast("JobSpec", spec), supposed(cast("JobSpec", spec))]
    return list(dict.fromkeys(name for spec in specs for name in spec.schedule.exclude_calendars))


def _asked(given: Mapping[str, str], job: Job, now: datetime) -> _Asked:
    since, until = door.moment(given, "since"), door.moment(given, "until")
    count = door.whole(given, "count", COUNT, most=COUNT_MAX, beyond="ask for a shorter time")
    begin = max(now - PAST, job.created_at - TICK) if since is None else bounded(since, "?since")
    end = now + AHEAD if until is None else bounded(until, "?until")
    if begin >= now:
        raise invalid(Fault(pointer="?since", detail="isn't over yet: send a time in the past"))
    if begin < now - PAST_MAX:
        raise invalid(Fault(pointer="?since", detail=f"lies more than {PAST_MAX.days} days back"))
    if not begin < end <= now + AHEAD_MAX:
        raise invalid(Fault(pointer="?until", detail=f"is after since, and within {AHEAD_MAX.days} days"))
    return _Asked(begin, now, end, count, since is not None)


def _too_many() -> Problem:
    said = f"leaves more than {DECIDED_MAX:,} occurrences, one way or the other: name a later time"
    return invalid(Fault(pointer="?since", detail=said))
