"""What the API asks Postgres: one method a question, its SQL in `queries/`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from services.api.principal import wall
from shared.domain import ids
from shared.eventlog.position import Position
from shared.faults import is_broken
from shared.readmodel import archive
from shared.readmodel.database import sql

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from services.api.event_filter import EventFilter

T = TypeVar("T")
ANSWER_S = 5.0  # for a connection and the answer; then Postgres counts as not there
COUNTED_MAX = 10_000
GLANCE_S = 0.5


class Found(NamedTuple):
    """A page of rows, and how many there are in all, counted up to COUNTED_MAX + 1."""

    rows: list[asyncpg.Record]
    counted: int


class Horizon(NamedTuple):
    """How far a partition is archived, and the last pos in it before two times, None where none was asked for."""

    mark: Position
    before_since: int | None
    before_until: int | None


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

    What is another tenant's isn't there for the present request: all that tells of jobs or runs is `_ask_within`.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def job(self, job_id: str) -> asyncpg.Record | None:
        """The row of a job, deleted or not."""
        return _first(await self._ask_within("job", job_id))

    async def jobs_with(self, job_ids: Sequence[str]) -> list[asyncpg.Record]:
        """The rows of those of these jobs that there are, deleted or not."""
        return await self._ask_within("jobs_with", job_ids)

    async def jobs_applied(self, owner: str, tenant: str, bound: str) -> list[asyncpg.Record]:
        """Id, name and status of somebody's jobs whose ids stand before `bound`, deleted or not."""
        return await self._ask_within("jobs_applied", owner, tenant, bound)

    async def job_exists(self, job_id: str) -> bool:
        """Whether there is such a job, or was."""
        return bool((await self._ask_within("job_exists", job_id))[0][0])

    async def jobs(self, *, status: str | None, job_type: str | None, limit: int, offset: int) -> Found:
        """Jobs, newest first."""
        chosen = (status, job_type)
        rows, counted = await asyncio.gather(
            self._ask_within("jobs_page", *chosen, limit, offset),
            self._ask_within("jobs_count", *chosen, COUNTED_MAX + 1),
        )
        return Found(rows, counted[0][0])

    async def run(self, run_id: str) -> asyncpg.Record | None:
        """The row of a run."""
        return _first(await self._ask_within("run", run_id, ids.time_of(run_id)))

    async def outputs(self, run_id: str) -> list[asyncpg.Record]:
        """What each attempt of a run has logged (attempt, text, dropped, at), the oldest first."""
        return await self._ask("run_outputs", run_id)

    async def runs(
        self,
        *,
        job_id: str | None,
        status: str | None,
        job_type: str | None,
        error_class: str | None = None,
        error_fingerprint: str | None = None,
        limit: int,
        offset: int,
    ) -> Found:
        """Runs, newest first."""
        chosen = (job_id, status, job_type, error_class, error_fingerprint)
        rows, counted = await asyncio.gather(
            self._ask_within("runs_page", *chosen, limit, offset),
            self._ask_within("runs_count", *chosen, COUNTED_MAX + 1),
        )
        return Found(rows, counted[0][0])

    async def jobs_of(self, owner: str, tenant: str, *, most: int) -> int:
        """How many jobs somebody has, counted up to `most`."""
        return int((await self._ask("jobs_of", owner, tenant, most))[0][0])

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

    async def principals(self, *, since: datetime, until: datetime, limit: int) -> list[asyncpg.Record]:
        """How many changes each actor has made (actor, changes, last_at), most first."""
        return await self._ask_within("principals", since, until, limit)

    async def events(self, job_id: str, *, limit: int, offset: int) -> Found:
        """Events of a job and its runs, newest first."""
        rows, counted = await asyncio.gather(
            self._ask_within("events_page", job_id, limit, offset),
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
        """Whether the event at `position`, with this id if one is given, stands in the archive."""
        row = _first(await self._ask("event_at", partition, position.epoch, position.pos))
        return row is not None and event_id in {None, row["id"]}

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

    async def _ask(self, question: str, *arguments: Any) -> list[asyncpg.Record]:
        return await self._fetch(sql("services.api", f"queries/{question}.sql"), *arguments)

    async def _fetch(self, text: str, *arguments: Any) -> list[asyncpg.Record]:
        async with asyncio.timeout(ANSWER_S), self._pool.acquire() as connection:
            rows: list[asyncpg.Record] = await connection.fetch(text, *arguments)
        return rows


def _first(rows: list[asyncpg.Record]) -> asyncpg.Record | None:
    return rows[0] if rows else None
