"""Streams of events (Server-Sent Events): each `id` says where a client stands, so that it can go on from there.

What a client has missed is read from the archive, at its own pace: all that was ever shown stands there. Then it
listens to the feed. A client that reads too slowly is told so, `event: reset`, and has to come again.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from quart import Response, request

from services.api import answers, door, event_filter, reads, vectors
from services.api.principal import present
from services.api.problems import Problem, unavailable
from services.api.stream import Stream

if TYPE_CHECKING:
    from quart import Quart

    from services.api.auth import Auth
    from services.api.deps import Deps
    from services.api.event_filter import EventFilter
    from services.api.principal import Principal
    from shared.eventlog.position import Position

LAST_ID = "Last-Event-ID"
RETRY_AFTER_S = 5
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class Seat:
    """A stream's place among those that there may be; given back once, at the latest when nobody holds it any more."""

    def __init__(self, seats: Seats, holder: str | None) -> None:
        self._seats = seats
        self._holder = holder
        self._is_taken = True

    def leave(self) -> None:
        """Give it back."""
        if self._is_taken:
            self._is_taken = False
            self._seats.taken[self._holder] -= 1
            self._seats.deps.metrics.event_streams.dec()

    def __del__(self) -> None:
        """A stream whose client was gone before it began never ends by itself."""
        self.leave()


class Seats:
    """How many streams there are, and whose.

    Attributes:
        taken: by principal, None for anybody where auth is off.
    """

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        self.taken: Counter[str | None] = Counter()

    def take(self, principal: Principal) -> Seat:
        """A seat for one more stream.

        Raises:
            Problem: 429 if this principal has enough of them, 503 if the process has.
        """
        settings = self.deps.settings
        holder = None if principal.kind == "anonymous" else f"{principal.tenant}/{principal.id}"
        if holder is not None and self.taken[holder] >= settings.streams_per_principal:
            raise Problem(
                "too-many-streams",
                f"You have {settings.streams_per_principal} streams open here: end one of them.",
                headers={"Retry-After": str(RETRY_AFTER_S)},
            )
        if self.taken.total() >= settings.streams_max:
            raise unavailable(f"This process serves {settings.streams_max} streams, as many as it may.")
        self.taken[holder] += 1
        self.deps.metrics.event_streams.inc()
        return Seat(self, holder)


class Streams:
    """The routes of streams."""

    def __init__(self, deps: Deps, auth: Auth) -> None:
        self._deps = deps
        self._auth = auth
        self.seats = Seats(deps)

    def mount(self, app: Quart) -> None:
        """Add the routes."""
        for path, name, view in (
            ("events/stream", "stream_events", self.all),
            ("jobs/<job_id>/events/stream", "stream_job_events", self.of_job),
        ):
            app.add_url_rule(f"{answers.BASE}/{path}", name, view, methods=["GET"])

    async def all(self) -> Response:
        """GET /events/stream."""
        given = await reads.query(self._deps, *event_filter.STREAM, several=event_filter.REPEATABLE)
        return await self._stream(given, event_filter.filter_of(given, partitions=self._deps.log.partitions))

    async def of_job(self, job_id: str) -> Response:
        """GET /jobs/{id}/events/stream."""
        partitions = self._deps.log.partitions
        job_id = door.job_id(job_id, partitions=partitions)
        given = await reads.query(self._deps, *event_filter.STREAM_OF_JOB, several=event_filter.REPEATABLE)
        if not await self._deps.ledger.job_exists(job_id):
            raise door.no_such("job")
        return await self._stream(given, event_filter.filter_of(given, partitions=partitions, job_id=job_id))

    async def _stream(self, given: dict[str, str], wanted: EventFilter) -> Response:
        begin = await self._begin(given)
        headers = HEADERS | {door.POSITION_HEADER: vectors.told(begin)}
        if request.method == "HEAD":
            return Response("", headers=headers, content_type=event_filter.STREAMED)
        stream = Stream(
            deps=self._deps,
            auth=self._auth,
            credential=self._auth.shown(),
            seat=self.seats.take(present()),
            wanted=wanted,
            begin=begin,
        )
        response = Response(stream.messages(), headers=headers, content_type=event_filter.STREAMED)
        response.timeout = None  # it has no end
        return response

    async def _begin(self, given: dict[str, str]) -> list[Position]:
        """Where the client stands: as its id says, and where that says nothing, and without one, at the end.

        Raises:
            Problem: as `known_places`.
        """
        shown = {
            LAST_ID: door.first(LAST_ID),
            **{f"?{name}": given.get(name) for name in reversed(event_filter.BEGIN)},
        }
        pointer, text = next(((name, each) for name, each in shown.items() if each), ("", None))
        known = await vectors.known_places(self._deps, text, pointer)
        end = vectors.marks(await self._deps.ledger.horizon(), self._deps.log.partitions)
        return [known.get(number, mark) for number, mark in enumerate(end)]
