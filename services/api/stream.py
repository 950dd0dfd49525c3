"""One stream of events: what was missed, then what comes; a sign of life, and an end in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.api import vectors
from services.api.ledger import Bounds
from services.api.listener import Listener, Told
from shared import logs
from shared.eventlog.position import START
from shared.eventlog.snapshot import NewerShape
from shared.faults import is_broken, leaves
from shared.recovery import recorded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from services.api.auth import Auth
    from services.api.deps import Deps
    from services.api.event_filter import EventFilter
    from services.api.streams import Seat
    from shared.eventlog.position import Position

HEARTBEAT_S = 15.0
CHECK_S = 3.0  # from one look at key or token to the next
CHECKS_FAILED_MAX = 10  # in a row: for half a minute nobody knows whether the client may
PAGE = 100  # events read from the archive at a time
CHUNK, CHUNK_BYTES = 200, 128 * 1024  # events written at a time, and their data
RETRY_MS = 1_000  # until a browser comes again


class Stream:
    """What one client is sent.

    Args:
        deps: of the application.
        auth: whom to ask whether the client still may.
        credential: what it has shown; None where auth is off.
        seat: given back at the end.
        wanted: which events.
        begin: where it stands.
    """

    def __init__(
        self,
        *,
        deps: Deps,
        auth: Auth,
        credential: str | None,
        seat: Seat,
        wanted: EventFilter,
        begin: Sequence[Position],
    ) -> None:
        self._deps = deps
        self._auth = auth
        self._credential = credential
        self._seat = seat
        self._wanted = wanted
        self._at = list(begin)
        self._clock = deps.clock
        self._check_at = self._clock.monotonic() + CHECK_S
        self._checks_failed = 0
        self._is_over = False

    async def messages(self) -> AsyncIterator[bytes]:
        """The text of the stream, in pieces. While its client takes none this waits, and holds a bounded queue."""
        feed, listener = self._deps.feed, Listener(self._wanted)
        feed.enter(listener)
        try:
            yield f"retry: {RETRY_MS}\nid: {vectors.told(self._at)}\n\n".encode()
            async for text in self._told(listener):
                yield text
        except Exception as error:
            if not is_broken(error):
                raise
            said = [f"{type(leaf).__name__}: {leaf}" for leaf in leaves(error)]
            logs.get("daybook.api").info("a stream was cut off, a store doesn't answer", errors=said)
        finally:
            feed.leave(listener)
            self._seat.leave()

    async def _told(self, listener: Listener) -> AsyncIterator[bytes]:
        """What was missed; its last part once what comes from then on is kept. Then that."""
        is_level = False
        while not is_level and await self._may_go_on(listener):
            text, is_level = await self._missed(await self._end())
            yield text
        joined_at, is_level = self._deps.feed.join(listener, self._at), False
        while not (is_level or listener.is_slow) and await self._may_go_on(listener):
            text, is_level = await self._missed(joined_at)
            yield text
        async for text in self._live(listener):
            yield text

    async def _live(self, listener: Listener) -> AsyncIterator[bytes]:
        """What comes, and a sign of life where nothing does."""
        spoke_at, place = self._clock.monotonic(), ""
        while await self._may_go_on(listener):
            if listener.is_slow:
                self._deps.metrics.event_stream_resets_total.inc()
                yield self._reset("slow")
                return
            told = listener.take(CHUNK, CHUNK_BYTES)
            if told:
                yield self._written(told)
                spoke_at = self._clock.monotonic()
                continue
            self._settle()
            now = self._clock.monotonic()
            if now < spoke_at + HEARTBEAT_S:
                until = spoke_at + HEARTBEAT_S
                await listener.news((until if self._credential is None else min(until, self._check_at)) - now)
                continue
            place, before = f"id: {vectors.told(self._at)}\n", place
            yield f": heartbeat\n{place if place != before else ''}\n".encode()
            spoke_at = self._clock.monotonic()

    async def _missed(self, until: Sequence[Position]) -> tuple[bytes, bool]:
        """The next events up to `until`, from the archive, and whether these are all that there were."""
        bounds = [
            Bounds(number, at.pos, end.pos + 1)
            for number, (at, end) in enumerate(zip(self._at, until, strict=True))
            if at.pos < end.pos and self._wanted.partition in {None, number}
        ]
        rows = []
        if bounds:
            rows = await self._deps.ledger.events_chosen(self._wanted, bounds, newest_first=False, limit=PAGE)
            cuts = await self._deps.ledger.cuts()
            if any(each.above < cuts.get(each.partition, START).pos for each in bounds):
                self._is_over = True  # dropped while it was on its way there: that must not be passed over
                return self._reset("gone"), False
        text = self._written([Told(recorded(row), self._deps.log.prefix) for row in rows])
        is_all = len(rows) < PAGE
        if is_all:
            self._forward(until)
        return text, is_all

    async def _end(self) -> list[Position]:
        """Up to where everything is archived, as far as is known here."""
        at = self._deps.feed.at
        if at is None:
            return vectors.marks(await self._deps.ledger.horizon(), len(self._at))
        return at

    def _written(self, told: Sequence[Told]) -> bytes:
        """The text of events, each with where the client stands after it."""
        texts = []
        for each in told:
            self._at[each.event.partition] = each.event.position
            texts.append(f"id: {vectors.told(self._at)}\n{each.text}\n")
        return "".join(texts).encode()

    def _settle(self) -> None:
        """Nothing waits: what the feed has handed on, and wasn't wanted here, needn't be looked at again."""
        at = self._deps.feed.at
        if at is not None:
            self._forward(at)

    def _forward(self, to: Sequence[Position]) -> None:
        self._at = [end if end.pos > at.pos else at for at, end in zip(self._at, to, strict=True)]

    def _reset(self, reason: str) -> bytes:
        """What a client is told that must come again: where it stands, and why.

        `slow`: it reads too slowly. `gone`: what it has missed was dropped meanwhile; it will be told where to begin.
        """
        place = vectors.told(self._at)
        return (
            f'event: reset\nid: {place}\ndata: {{"reason": "{reason}", "position": "{place}"}}\n\n'.encode()
        )

    async def _may_go_on(self, listener: Listener) -> bool:
        """Whether there is to be more: the process goes on, and the client's key or token still opens this."""
        self._is_over = self._is_over or listener.is_over or not await self._is_admitted()
        return not self._is_over

    async def _is_admitted(self) -> bool:
        """Whether key or token, looked at now and then, still opens this; for a while also if nobody knows."""
        if self._credential is None or self._clock.monotonic() < self._check_at:
            return True
        self._check_at = self._clock.monotonic() + CHECK_S
        try:
            opens = await self._auth.still_opens(self._credential)
        except Exception as error:
            if not (is_broken(error) or isinstance(error, NewerShape)):
                raise
            self._checks_failed += 1
            return self._checks_failed < CHECKS_FAILED_MAX
        self._checks_failed = 0
        return opens
