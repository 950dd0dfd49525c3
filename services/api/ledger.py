"""What the API asks Postgres: one method a question, its SQL in `queries/`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from services.api import list_sql
from services.api.list_sql import Question
from services.api.principal import wall
from shared.domain import ids
from shared.domain.calendar import ref_of
from shared.domain.past import LEFT_OUT, Ran, Range
from shared.eventlog.position import START, Position
from shared.faults import is_broken
from shared.readmodel import archive
from shared.readmodel.cuts import hold_still
from shared.readmodel.database import sql
from shared.readmodel.overdue import overdue_jobs
from shared.recovery.looking_back import jobs_as_of
from shared.recovery.recollecting import recollected
from shared.recovery.stepping import steps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence

    import asyncpg

    from services.api.event_filter import EventFilter
    from services.api.list_sql import Choice, Key, Source
    from shared.domain.calendar import Calendar
    from shared.domain.happened import Told
    from shared.domain.job import Job
    from shared.readmodel.archive import Connection
    from shared.recovery.brought_forward import Brought
    from shared.recovery.looking_back import Span

T = TypeVar("T")
STORY_S = 20.0  # for all of one job's story; each statement of it takes much less
ANSWER_S = 5.0  # for a connection and the answer; then Postgres counts as not there
COUNTED_MAX = 10_000
GLANCE_S = 0.5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Found(NamedTuple):
    """A page of rows, and how many there are in all, counted up to COUNTED_MAX + 1."""

    rows: list[asyncpg.Record]
    counted: int


class Horizon(NamedTuple):
    """How far a partition is archived, and the last pos in it before two times, None where none was asked for."""

    mark: Position
    before_since: int | None
    before_until: int | None


class PastHorizon(NamedTuple):
    """Of a partition: when its last archived event was committed; and up to which one it is asked for.

    `cut`: the event after which its archive begins, committed at `cut_at`; None: it begins with the first one.
    """

    archived_at: datetime | None
    cut: Position | None
    cut_at: datetime | None
    upto: Position


class Bounds(NamedTuple):
    """Where in a partition to look: `pos` above the one and below the other."""

    partition: int
    above: int
    below: int


class Chosen(NamedTuple):
    """Which ended runs; None: any. In the order of the arguments of `dead_letters_page.sql`."""

    status: str
    job_id: str | None = None
    job_type: str | None = None
    queue: str | None = None
    error_class: str | None = None
    error_fingerprint: str | None = None
    finished_after: datetime | None = None
    finished_before: datetime | None = None


class Ledger:
    """Questions to read models and archive. All raise what `faults.is_broken` knows if Postgres is away.

    What is another tenant's isn't there for the present request: all that tells of jobs or runs is `_ask_within`, and
    lists name the tenants whose rows there are (`_tenants`).

    Args:
        pool: of connections to the primary.
        lists: of connections that lists are read over; `pool` if there is none.
        lags: whether these lead to a replica.
    """

    def __init__(self, pool: asyncpg.Pool, *, lists: asyncpg.Pool | None = None, lags: bool = False) -> None:
        self._pool = pool
        self._lists = lists or pool
        self.lags = lags

    async def job(self, job_id: str) -> asyncpg.Record | None:
        """The row of a job, deleted or not."""
        return _first(await self._ask_within("job", job_id))

    async def jobs_with(self, job_ids: Sequence[str]) -> list[asyncpg.Record]:
        """The rows of those of these jobs that there are, deleted or not."""
        return await self._ask_within("jobs_with", job_ids)

    async def jobs_applied(self, owner: str, tenant: str, bound: str) -> list[asyncpg.Record]:
        """Id, name and status of somebody's jobs whose ids stand before `bound`, deleted or not."""
        return await self._ask_within("jobs_applied", owner, tenant, bound)

    async def jobs_to_pause(self, tag: str | None, *, after: str | None, limit: int) -> list[asyncpg.Record]:
        """Ids and states of jobs that go on or are paused, those with a tag or all, by id from after one."""
        facets = [] if tag is None else [f"tag:{tag}"]
        return await self._ask_within("jobs_to_pause", facets, after, limit)

    async def jobs_paused_by(self, switch: str, *, after: str | None, limit: int) -> list[asyncpg.Record]:
        """Ids and states of the jobs that a switch has paused, by id from after one."""
        return await self._ask_within("jobs_paused_by", switch, after, limit)

    async def job_exists(self, job_id: str) -> bool:
        """Whether there is such a job, or was."""
        return bool((await self._ask_within("job_exists", job_id))[0][0])

    async def page(self, source: Source, choice: Choice, *, limit: int, offset: int) -> Found:
        """A page of jobs or runs, and how many there are."""
        tenants = await self._tenants(source, choice)
        rows, counted = await asyncio.gather(
            self._list(list_sql.page(source, choice, tenants, limit=limit, offset=offset)),
            self._list(list_sql.count(source, choice, tenants, most=COUNTED_MAX + 1)),
        )
        return Found(rows, counted[0][0])

    async def following(
        self, source: Source, choice: Choice, *, after: Key | None, limit: int
    ) -> list[asyncpg.Record]:
        """The jobs or runs after a place, at most `limit`; from the first one on if there is none."""
        tenants = await self._tenants(source, choice)
        rows: list[asyncpg.Record] = []
        for question in list_sql.following(source, choice, tenants, after=after, limit=limit):
            rows += await self._list(question)
            if len(rows) >= limit:
                break
        return rows[:limit]

    async def replica_checkpoints(self) -> list[tuple[int, Position]]:
        """How far each partition is archived where lists are read."""
        rows = await self._list(Question(_text("checkpoints"), []))
        return [(row["partition"], Position(row["epoch"], row["pos"])) for row in rows]

    async def run(self, run_id: str) -> asyncpg.Record | None:
        """The row of a run."""
        return _first(await self._ask_within("run", run_id, ids.time_of(run_id)))

    async def outputs(self, run_id: str) -> list[asyncpg.Record]:
        """What each attempt of a run has logged (attempt, text, dropped, at), the oldest first."""
        return await self._ask("run_outputs", run_id)

    async def jobs_of(self, owner: str, tenant: str, *, most: int) -> int:
        """How many jobs somebody has, counted up to `most`."""
        return int((await self._ask("jobs_of", owner, tenant, most))[0][0])

    async def backfill(self, backfill_id: str) -> asyncpg.Record | None:
        """The row of a backfill."""
        return _first(await self._ask_within("backfill", backfill_id))

    async def backfills(self, job_id: str, *, limit: int, offset: int) -> Found:
        """Backfills of a job, newest first."""
        rows, counted = await asyncio.gather(
            self._ask_within("backfills_page", job_id, limit, offset),
            self._ask_within("backfills_count", job_id, COUNTED_MAX + 1),
        )
        return Found(rows, counted[0][0])

    async def occurrences(
        self, job_id: str, tenant: str, since: datetime, until: datetime
    ) -> dict[datetime, Ran]:
        """What became of the nominal times of a job from `since` (inclusive) to `until` (exclusive) that have runs."""
        bounds = [list_sql.lowest_id(at) for at in (since, until)]
        rows = await self._ask("occurrences", job_id, tenant, *bounds, since, until)
        return {row["scheduled_for"]: Ran(row["newest"], row["unfinished"]) for row in rows}

    async def left_out(self, job_id: str) -> list[Range]:
        """Occurrences of a job that its schedule has passed over as they were not to run."""
        rows = await self._ask("left_out", f"job/{job_id}", list(LEFT_OUT))
        return [Range(row["first"], row["last"]) for row in rows]

    async def runs_whole_from(self) -> datetime | None:
        """Before when rows of runs may have been deleted; None: never."""
        return _first(await self._ask("runs_whole_from"))["at"]  # type: ignore[index, no-any-return]

    async def api_keys(self, *, limit: int, offset: int) -> Found:
        """API keys, newest first, those that were revoked too."""
        rows, counted = await asyncio.gather(
            self._ask_within("api_keys_page", limit, offset),
            self._ask_within("api_keys_count", COUNTED_MAX + 1),
        )
        return Found(rows, counted[0][0])

    async def api_key(self, key_id: str) -> asyncpg.Record | None:
        """The row of an API key, revoked or not."""
        return _first(await self._ask_within("api_key", key_id))

    async def calendars(self, tenant: str, *, limit: int, offset: int) -> Found:
        """A tenant's calendars, by name."""
        rows, counted = await asyncio.gather(
            self._ask("calendars_page", tenant, limit, offset),
            self._ask("calendars_count", tenant, COUNTED_MAX + 1),
        )
        return Found(rows, counted[0][0])

    async def calendar(self, tenant: str, name: str) -> asyncpg.Record | None:
        """The row of a calendar."""
        return _first(await self._ask("calendar", tenant, name))

    async def jobs_naming(self, tenant: str, calendar: str, *, limit: int) -> list[asyncpg.Record]:
        """Id and name of jobs that name a calendar."""
        return await self._ask("jobs_naming", tenant, calendar, limit)

    async def retry_of(self, run_id: str) -> asyncpg.Record | None:
        """The row of the run that repeats this one."""
        return _first(await self._ask("retry_of", run_id))

    async def requests_of(self, run_ids: Sequence[str]) -> list[asyncpg.Record]:
        """The archived events that requested these runs."""
        return await self._ask("requests_of", [f"run/{run_id}" for run_id in run_ids])

    async def dead_letters(self, chosen: Chosen, *, limit: int) -> Found:
        """Ended runs that nobody has retried, of jobs not deleted, oldest first: ids of them and of their jobs."""
        rows, counted = await asyncio.gather(
            self._ask_within("dead_letters_page", *chosen, limit),
            self._ask_within("dead_letters_count", *chosen, COUNTED_MAX + 1),
        )
        return Found(rows, counted[0][0])

    async def errors(
        self,
        *,
        job_id: str | None,
        job_type: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
    ) -> list[asyncpg.Record]:
        """Groups of failed runs that failed alike, the largest first."""
        return await self._ask_within("errors", job_id, job_type, since, until, limit)

    async def forecast(self, *, before: datetime, by_job: int, limit: int) -> list[asyncpg.Record]:
        """Jobs that are to run before a time, alike ones together; up to `by_job`, each with its own durations."""
        return await self._ask_within("forecast", before, by_job, limit)

    async def principals(self, *, since: datetime, until: datetime, limit: int) -> list[asyncpg.Record]:
        """How many changes each actor has made (actor, changes, last_at), most first."""
        return await self._ask_within("principals", since, until, limit)

    async def events(self, job_id: str, *, limit: int, offset: int = 0, before: int | None = None) -> Found:
        """Events of a job and its runs, newest first; `before`: only those at lower positions."""
        rows, counted = await asyncio.gather(
            self._ask_within("events_page", job_id, limit, offset, before),
            self._ask_within("events_count", job_id, COUNTED_MAX + 1),
        )
        return Found(rows, counted[0][0])

    async def horizon(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> dict[int, Horizon]:
        """How far each partition is archived."""
        return {
            row["partition"]: Horizon(
                Position(row["epoch"], row["pos"]), row["before_since"], row["before_until"]
            )
            for row in await self._ask("events_horizon", since, until)
        }

    async def events_chosen(
        self,
        chosen: EventFilter,
        bounds: Sequence[Bounds],
        *,
        newest_first: bool,
        limit: int,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[asyncpg.Record]:
        """Events of all these partitions, by commit time and within a partition by pos.

        Who asks stands in `chosen.sight`: streams ask when their request's context has gone.
        """
        text = sql("services.api", "queries/events_chosen.sql")
        for name, instead in (
            ("direction", "desc" if newest_first else "asc"),
            ("reach", chosen.reach),
        ):
            text = text.replace(f"{{{name}}}", instead)
        return await self._fetch(
            text,
            [each.partition for each in bounds],
            [each.above for each in bounds],
            [each.below for each in bounds],
            None if chosen.types is None else sorted(chosen.types),
            chosen.actor,
            chosen.job_id,
            chosen.subject,
            since,
            until,
            *chosen.sight,
            limit,
        )

    async def archived_at(self, places: Mapping[int, Position]) -> set[int]:
        """In which partitions the position is that of an archived event."""
        columns = [(number, *position) for number, position in places.items()]
        rows = await self._ask("events_at", *(list(each) for each in zip(*columns, strict=True)))
        return {row["partition"] for row in rows}

    async def cuts(self) -> dict[int, Position]:
        """After which event the archive of a partition begins, where what was before has been dropped."""
        return {row["partition"]: Position(row["epoch"], row["pos"]) for row in await self._ask("cuts")}

    async def archived_after(self, partition: int, pos: int, *, limit: int) -> list[asyncpg.Record]:
        """All events of a partition above `pos`, in order: for the process itself, not for those who ask it."""
        async with asyncio.timeout(ANSWER_S):
            return await archive.events_after(self._pool, partition, pos, limit=limit)

    async def tenants(self, job_ids: Sequence[str], key_hashes: Sequence[str]) -> dict[str, str]:
        """Whose jobs and API keys these are, by id and by hash."""
        return {row["name"]: row["tenant"] for row in await self._ask("tenants", job_ids, key_hashes)}

    async def revisions(self, job_id: str, *, limit: int, offset: int) -> Found:
        """Archived events that made revisions of a job, newest first."""
        subject = f"job/{job_id}"
        rows, counted = await asyncio.gather(
            self._ask_within("revisions_page", subject, limit, offset),
            self._ask_within("revisions_count", subject, COUNTED_MAX + 1),
        )
        return Found(rows, counted[0][0])

    async def revision(self, job_id: str, number: int) -> asyncpg.Record | None:
        """The archived event that made this revision of a job."""
        return _first(await self._ask_within("revision", f"job/{job_id}", number))

    async def event(self, partition: int, position: Position) -> asyncpg.Record | None:
        """The archived event of a job or run at a position."""
        return _first(await self._ask_within("event", partition, position.epoch, position.pos))

    async def is_archived(self, partition: int, position: Position, event_id: str | None) -> bool:
        """Whether the event at `position`, with this id if one is given, stands in the archive.

        Of what was dropped, long after it was archived, nobody asks for the id of an event.
        """
        row = _first(await self._ask("event_at", partition, position.epoch, position.pos))
        if row is None and event_id is None:
            return position.pos <= (await self.cuts()).get(partition, START).pos
        return row is not None and event_id in {None, row["id"]}

    async def archived_until(self) -> dict[int, tuple[Position, datetime | None]]:
        """How far each partition is archived, and when the event there was committed."""
        return {
            row["partition"]: (Position(row["epoch"], row["pos"]), row["at"])
            for row in await self._ask("archived_until")
        }

    async def overdue_jobs(self, moments: Mapping[int, datetime], *, limit: int) -> list[asyncpg.Record]:
        """Jobs with an occurrence that was undecided at the moment of their partition: see `readmodel.overdue`."""
        async with asyncio.timeout(ANSWER_S):
            return await overdue_jobs(self._pool, moments, limit=limit, tenant=wall())

    async def past_horizon(self, at: datetime) -> dict[int, PastHorizon]:
        """Up to which event the archive of each partition reaches the time `at`."""
        return {row["partition"]: _past_horizon(row) for row in await self._ask("past_horizon", at)}

    async def past_jobs(
        self, before: str | None, fixed: Sequence[Any], *, limit: int
    ) -> list[asyncpg.Record]:
        """Ids of jobs by id downwards from before one, deleted or not, and whether each fits."""
        return await self._ask_within("past_jobs", before, limit, *fixed)

    async def jobs_as_of(self, spans: Mapping[str, Span]) -> tuple[dict[str, Brought], int]:
        """Jobs as they were, whosesoever they are: see `looking_back.jobs_as_of`."""
        async with asyncio.timeout(ANSWER_S), self._pool.acquire() as connection, connection.transaction():
            await hold_still(connection)
            return await jobs_as_of(connection, spans)

    @asynccontextmanager
    async def standing_still(self) -> AsyncIterator[Connection]:
        """A connection that sees all as of one moment, whosesoever it is; meanwhile the archive isn't cut."""
        async with (
            asyncio.timeout(ANSWER_S),
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await hold_still(connection)
            yield connection

    async def recollected(
        self, job_id: str, span: Span, *, is_there: bool, until: datetime
    ) -> tuple[Job | None, list[Told]]:
        """What has happened to a job, whosesoever it is: see `recollecting.recollected`."""
        async with (
            asyncio.timeout(STORY_S),
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            await hold_still(connection)
            return await recollected(connection, job_id, span, is_there=is_there, until=until)

    async def calendars_told(
        self, tenant: str, names: Sequence[str]
    ) -> dict[str, list[tuple[datetime, Calendar, str]]]:
        """Since when each of these calendars was as it was, and the place of the event that made it so."""
        told: dict[str, list[tuple[datetime, Calendar, str]]] = {}
        async with asyncio.timeout(ANSWER_S), self._pool.acquire() as connection:
            for name in names:
                told[name] = [
                    (_EPOCH if event is None else ids.from_ms(event.at), cast("Calendar", state), place)
                    async for at, event, state in steps(connection, ref_of(tenant, name))
                    for place in (str(at) if event is None else event.place,)
                ]
        return told

    async def usual_duration(self, job_id: str, tenant: str, *, latest: int) -> tuple[float | None, int]:
        """What runs of a job take, in seconds: the median of the latest that have ended, and of how many that is."""
        row = (await self._ask("usual_duration", job_id, latest, tenant))[0]
        return row["median_s"], row["runs"]

    async def checkpoints(self) -> list[tuple[int, Position]]:
        """How far each partition is archived."""
        rows = await self._ask("checkpoints")
        return [(row["partition"], Position(row["epoch"], row["pos"])) for row in rows]

    async def unfinished(self) -> tuple[int, int]:
        """How many runs are queued, and how many are running."""
        row = (await self._ask("runs_unfinished"))[0]
        return row["queued"], row["running"]

    async def glance(self, asked: Awaitable[T]) -> T | None:
        """The answer to a question, if it comes soon: for answers that can do without it."""
        try:
            async with asyncio.timeout(GLANCE_S):
                return await asked
        except Exception as error:
            if not is_broken(error):
                raise
            return None

    async def _ask_within(self, question: str, *arguments: Any) -> list[asyncpg.Record]:
        """As `_ask`; its last argument is the tenant whose rows there are, null: all."""
        return await self._ask(question, *arguments, wall())

    async def _tenants(self, source: Source, choice: Choice) -> list[str]:
        """The tenants whose rows there can be for the present request: its own, or all; that of the job asked for."""
        tenant, job_id = wall(), choice.equal.get("job_id")
        if job_id is not None:
            rows = await self._list(Question(_text("job"), [job_id, tenant]))
        elif tenant is not None:
            return [tenant]
        else:
            rows = await self._list(Question(_text(source.tenants), []))
        return [row["tenant"] for row in rows]

    async def _list(self, question: Question) -> list[asyncpg.Record]:
        return await _answered(self._lists, question.text, *question.arguments)

    async def _ask(self, question: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._fetch(_text(question), *arguments)

    async def _fetch(self, text: str, *arguments: Any) -> list[asyncpg.Record]:
        return await _answered(self._pool, text, *arguments)


async def _answered(pool: asyncpg.Pool, text: str, *arguments: Any) -> list[asyncpg.Record]:
    async with asyncio.timeout(ANSWER_S), pool.acquire() as connection:
        rows: list[asyncpg.Record] = await connection.fetch(text, *arguments)
    return rows


def _past_horizon(row: asyncpg.Record) -> PastHorizon:
    cut = None if row["cut_pos"] is None else Position(row["cut_epoch"], row["cut_pos"])
    upto = Position(row["upto_epoch"], row["upto_pos"]) if row["upto_epoch"] is not None else cut or START
    return PastHorizon(row["archived_at"], cut, row["cut_at"], upto)


def _text(question: str) -> str:
    return sql("services.api", f"queries/{question}.sql")


def _first(rows: list[asyncpg.Record]) -> asyncpg.Record | None:
    return rows[0] if rows else None
