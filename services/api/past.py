"""The past: jobs as they were, by `as_of`. What `GET /jobs` and `GET /jobs/{id}` answer with it.

A list as it was is walked by id, deleted jobs too, each folded from the archive: so it is filtered by what never
changes of a job, comes in slices, and looks at a bounded number of jobs and events for each.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, cast

from quart import request

from services.api import answers, door, list_query, lists, reads, vectors, views
from services.api.list_query import LIST_JOBS
from services.api.list_sql import Key
from services.api.lists import Lists, Slice
from services.api.moments import AS_OF, moment_of, of_the_past
from services.api.problems import Fault, Problem, invalid
from services.api.responses import LastRunView
from services.api.views import Seen
from shared.domain import ids
from shared.domain.job import Job, Status
from shared.eventlog.position import format_places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from quart import Response

    from services.api.deps import Deps
    from services.api.list_query import Wanted
    from services.api.moments import Moment
    from services.api.responses import JobView
    from shared.recovery.brought_forward import Brought

LOOKED_AT = 2_000  # jobs for a slice, most of which may not fit
TOGETHER = 20  # jobs folded in one go
FOLDED = 20_000  # events for a slice, about 1 s: what is left is for the next one
CLOCKS_AGREE = timedelta(hours=1)
CHANGES = ("page", "per_page", "sort", "status", "tag", "queue", "q")


class Past:
    """Answers for `as_of`."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._lists = Lists(deps)

    async def job(self, job_id: str, as_of: str) -> Response:
        """GET /jobs/{id}?as_of=: without an ETag, as nothing can be edited there.

        Raises:
            Problem: 404 if there was none then; see `moment_of`.
        """
        partition = ids.partition_of(job_id)
        if not await self._deps.ledger.job_exists(job_id):
            raise door.no_such("job")
        moment = await moment_of(self._deps, as_of, partition=partition)
        known, _ = await self._known([job_id], moment)
        if not _is_there(known.get(job_id)):
            raise Problem("not-found", "There was no such job then: it was made later, or deleted before.")
        place = format_places({partition: moment.upto[partition]})
        return answers.answer(_view(known[job_id]), headers={door.POSITION_HEADER: place})

    async def jobs(self) -> Response:
        """GET /jobs?as_of=.

        Raises:
            Problem: 422 for a filter or an order by what may have changed; see `moment_of`.
        """
        given = await reads.listed(self._deps, *LIST_JOBS.parameters, AS_OF)
        _refuse_changing(given)
        as_of = given.pop(AS_OF)[0]
        wanted = list_query.wanted(LIST_JOBS, given, partitions=self._deps.log.partitions, scope=as_of)
        asked = {"limit": str(self._deps.settings.jobs_per_page)} | {
            name: told[0] for name, told in given.items()
        }
        part = cast("Slice", self._lists.part(asked, wanted.what_for))
        moment = await moment_of(self._deps, as_of, partition=None)
        found, place = await self._slice(wanted, part, moment)
        items = [lists.item(_view(each), wanted) for each in found]
        response = self._lists.sliced(items, place, wanted.what_for)
        upto = [moment.upto[each] for each in range(self._deps.log.partitions)]
        response.headers[door.POSITION_HEADER] = vectors.told(upto)
        return response

    async def _slice(self, wanted: Wanted, part: Slice, moment: Moment) -> tuple[list[Brought], Key | None]:
        """The jobs of a slice, and where to go on, None: nowhere."""
        after = part.after.id if part.after else _beyond(moment.at)
        rows = await self._deps.ledger.past_jobs(after, _fixed(wanted), limit=LOOKED_AT)
        left = iter(rows)
        found: list[Brought] = []
        folded, last = 0, None
        while some := list(islice(left, TOGETHER)):
            fitting = [str(row["id"]) for row in some if row["fits"]]
            known, events = await self._known(fitting, moment)
            folded += events
            for row in some:
                last = str(row["id"])
                if _is_there(each := known.get(last)):
                    found.append(cast("Brought", each))
                if len(found) == part.size:
                    break
            if len(found) == part.size or folded > FOLDED:
                break
        is_end = len(rows) < LOOKED_AT and (last is None or last == str(rows[-1]["id"]))
        return found, None if is_end else Key(None, cast("str", last))

    async def _known(self, job_ids: Sequence[str], moment: Moment) -> tuple[dict[str, Brought], int]:
        spans = {job_id: moment.span(ids.partition_of(job_id)) for job_id in job_ids}
        if not spans:
            return {}, 0
        with of_the_past():
            return await self._deps.ledger.jobs_as_of(spans)


def wants_past() -> bool:
    """Whether the present request asks for what was."""
    return AS_OF in request.args


def _refuse_changing(given: Mapping[str, object]) -> None:
    """Refuse what asks for more than what never changes of a job.

    Raises:
        Problem: 422.
    """
    changing = {*CHANGES, *(name for name, (time, _) in LIST_JOBS.ranges.items() if time != "created_at")}
    detail = (
        "doesn't go with as_of, which lists by id, in slices, and filters by owner, job_type and created_at"
    )
    faults = [Fault(pointer=f"?{name}", detail=detail) for name in given if name in changing]
    if faults:
        raise invalid(*faults)


def _beyond(at: datetime | None) -> str | None:
    """An id beyond those of all jobs that there were by then: clocks of processes that make them agree better."""
    return None if at is None else ids.chance_id(at + CLOCKS_AGREE, 0, 0)


def _fixed(wanted: Wanted) -> tuple[object, ...]:
    """The filters, in the order of the arguments of `past_jobs.sql`."""
    choice = wanted.choice
    facets = choice.equal.get("facets") or [None]
    job_type = facets[0] and facets[0].removeprefix("type:")
    times = {each.operator: each.at for each in choice.ranges}
    return (choice.equal.get("owner"), job_type, *(times.get(each) for each in list_query.OPERATORS))


def _is_there(found: Brought | None) -> bool:
    return found is not None and cast("Job", found.state).status is not Status.DELETED


def _view(found: Brought) -> JobView:
    last = found.last_run and LastRunView(
        id=str(found.last_run.id), status=found.last_run.status, finished_at=found.last_run.finished_at
    )
    return views.job_of_state(cast("Job", found.state), Seen(found.active_runs, last))
