"""Calendars: days on which the jobs that name them don't run; a tenant's own, found by their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from services.api import answers, door, lists, preconditions, reads, views
from services.api.principal import present
from services.api.problems import Fault, Problem, invalid
from services.api.requests import CalendarBody
from services.api.responses import CalendarView
from services.api.specs import content_of
from services.api.writes import Writes
from shared import logs
from shared.domain import calendar as calendars
from shared.domain.calendar import Calendar
from shared.domain.commands import ChangeCalendar, DeleteCalendar
from shared.domain.exclude import Span
from shared.domain.weekdays import Weekday
from shared.eventlog.envelope import decoder
from shared.eventlog.position import Position

if TYPE_CHECKING:
    import asyncpg
    from quart import Quart, Response

    from services.api.answers import Reply
    from services.api.deps import Deps
    from services.api.writes import Written
    from shared.eventlog.snapshot import Snapshot

JOBS_NAMED = 5  # of those that keep a calendar from being deleted
_ANY = ("*",)
_DATES = decoder(tuple[Span, ...])


class Calendars:
    """The routes about calendars."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._write = Writes(decider=deps.decider, archive=deps.archive)
        self._log = logs.get("daybook.api")

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        base = f"{answers.BASE}/calendars"
        app.add_url_rule(base, "list_calendars", self.list, methods=["GET"])
        app.add_url_rule(f"{base}/<name>", "get_calendar", self.get, methods=["GET"])
        app.add_url_rule(f"{base}/<name>", "put_calendar", self.put, methods=["PUT"])
        app.add_url_rule(f"{base}/<name>", "delete_calendar", self.delete, methods=["DELETE"])

    async def list(self) -> Response:
        """GET /calendars, by name."""
        given = await reads.query(self._deps, *lists.PARAMETERS)
        page = lists.page_of(given, default_size=self._deps.settings.jobs_per_page)
        found = await self._deps.ledger.calendars(present().tenant, limit=page.size, offset=page.offset)
        return lists.paged([_view(_calendar_of(row)) for row in found.rows], page, found.counted)

    async def get(self, name: str) -> Response:
        """GET /calendars/{name}: 304 to whom it has shown the same before."""
        _look_for(name)
        await reads.query(self._deps)
        row = await self._deps.ledger.calendar(present().tenant, name)
        if row is None:
            raise _no_such()
        etag = _etag(row["revision"], Position(row["epoch"], row["pos"]))
        if preconditions.is_known(etag, door.sent("If-None-Match")):
            return answers.unchanged(etag)
        return answers.answer(_view(_calendar_of(row)), headers={"ETag": etag})

    async def put(self, name: str) -> Response:
        """PUT /calendars/{name}: made, or replaced; what is left out takes its default."""
        if not re.fullmatch(calendars.NAME, name):
            detail = (
                "of a calendar is 1 to 100 letters, digits, dots, dashes or underscores, no dot or dash first"
            )
            raise invalid(Fault(pointer="name", detail=detail))
        body = door.body(CalendarBody, heeds=(preconditions.IF_MATCH,))
        principal = present()
        held = await self._held(name)
        is_there = _there(held) is not None
        wanted, there = self._wanted(is_there=is_there)
        command = ChangeCalendar(
            name=name,
            tenant=principal.tenant,
            by=principal.id,
            content=content_of(body),
            if_revision=wanted,
            if_there=there,
        )
        done = await self._done(name, command, held)
        return answers.written(done, _told(done, status=200 if is_there else 201))

    async def delete(self, name: str) -> Response:
        """DELETE /calendars/{name}: only if no job names it."""
        _look_for(name)
        door.no_conditions_but(preconditions.IF_MATCH)
        door.no_parameters()
        held = await self._held(name)
        wanted, there = self._wanted(is_there=True)
        if _there(held) is not None:
            await self._refuse_in_use(name)
        command = DeleteCalendar(by=present().id, if_revision=wanted, if_there=there)
        done = await self._done(name, command, held)
        headers = {door.POSITION_HEADER: done.place}
        return answers.empty(204 if done.archived else 202, headers)

    async def _held(self, name: str) -> Snapshot:
        ref = calendars.ref_of(present().tenant, name)
        return (await self._deps.log.load(ref))[ref]

    def _wanted(self, *, is_there: bool) -> tuple[tuple[int, ...] | None, bool | None]:
        """The revisions that the request may be carried out on, and whether the calendar must be there for it.

        If-Match can't be asked of whoever makes one; it is made only if there is none then.
        """
        sent, none_of = door.sent(preconditions.IF_MATCH), door.sent("If-None-Match")
        if none_of:
            if tuple(each.strip() for each in none_of) != _ANY or sent:
                detail = 'is "*" here, and stands alone: make it only if there is none'
                raise invalid(Fault(pointer="If-None-Match", detail=detail))
            return None, False
        required = self._deps.settings.require_if_match
        wanted = preconditions.revisions(sent, required=required and is_there)
        if sent:
            return wanted, True
        return None, False if required and not is_there else None

    async def _refuse_in_use(self, name: str) -> None:
        """By the read model: a job that has begun to name it a moment ago may be missed (it then excludes nothing).

        Raises:
            Problem: 409.
        """
        rows = await self._deps.ledger.jobs_naming(present().tenant, name, limit=JOBS_NAMED + 1)
        if rows:
            named = ", ".join(f"{row['id']} ({row['name'][:50]})" for row in rows[:JOBS_NAMED])
            more = " and others" if len(rows) > JOBS_NAMED else ""
            raise Problem(
                "in-use", f"Take it out of exclude_calendars first: jobs {named}{more} have it there."
            )

    async def _done(self, name: str, command: ChangeCalendar | DeleteCalendar, held: Snapshot) -> Written:
        wait_s = door.wait_s(self._deps.settings.wait_seconds)
        ref = calendars.ref_of(present().tenant, name)
        try:
            done = await self._write(ref, command, door.context(), wait_s=wait_s, held=held)
        except Problem as problem:
            raise await self._with_etag(name, problem) from None
        if done.decided.last is not None:
            said = "calendar deleted" if isinstance(command, DeleteCalendar) else "calendar changed"
            self._log.info(said, calendar=name, tenant=present().tenant)
        return done

    async def _with_etag(self, name: str, problem: Problem) -> Problem:
        """A 412 with the ETag that the calendar has now; others as they are."""
        if problem.slug != "precondition-failed":
            return problem
        held = await self._held(name)
        state = _there(held)
        if state is None or held.version is None:
            return problem
        headers = {"ETag": _etag(state.revision, Position.parse(held.version))}
        return Problem(problem.slug, problem.detail, current=str(state.revision), headers=headers)


def _look_for(name: str) -> None:
    if not re.fullmatch(calendars.NAME, name):
        raise _no_such()


def _no_such() -> Problem:
    return Problem("not-found", "There is no calendar of this name; look it up in the list.")


def _there(held: Snapshot) -> Calendar | None:
    state = held.state
    return state if isinstance(state, Calendar) and not state.deleted else None


def _told(done: Written, *, status: int) -> Reply:
    state = cast("Calendar", done.decided.after.state)
    position = Position.parse(done.decided.after.version or str(done.position))
    where = f"{answers.BASE}/calendars/{state.name}"
    return answers.reply(_view(state), location=where, done=status, etag=_etag(state.revision, position))


def _etag(revision: int, position: Position) -> str:
    return f'"{revision}.{position}"'


def _calendar_of(row: asyncpg.Record) -> Calendar:
    return Calendar(
        name=row["name"],
        tenant=row["tenant"],
        revision=row["revision"],
        description=row["description"],
        dates=_DATES(row["dates"]),
        weekdays=decoder(tuple[Weekday, ...])(row["weekdays"]),
        timezone=row["timezone"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        by=row["updated_by"],
    )


def _view(state: Calendar) -> CalendarView:
    return CalendarView(
        name=state.name,
        tenant=state.tenant,
        description=state.description,
        dates=[views.excluded(span) for span in state.dates],
        weekdays=list(state.weekdays),
        timezone=state.timezone,
        revision=state.revision,
        created_at=state.created_at,
        updated_at=state.updated_at,
        updated_by=state.by,
    )
