"""The one way a request changes something: decide, then wait until the archive has it (DESIGN §7)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.api.archived import Fate
from services.api.principal import present, wall
from services.api.problems import Problem, invalid, of_refusal, unavailable
from shared import logs
from shared.domain.commands import CreateJob, UpdateJob
from shared.domain.refusals import Refused
from shared.eventlog import story
from shared.eventlog.position import Position
from shared.eventlog.snapshot import NOTHING, NewerShape, Snapshot
from shared.eventlog.writer import LogFull

if TYPE_CHECKING:
    from services.api.archived import Archive
    from services.api.chains import Chains
    from shared.domain.commands import Command
    from shared.eventlog.decider import Decided, Decider
    from shared.eventlog.envelope import Context
    from shared.eventlog.unit import Once

REDIS_S = 5.0  # for all of load, decide and commit
TRIES = 3  # a log opened anew without the commit, so often in one request, is not going to hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A command carried out.

    Attributes:
        position: of its last event, also where an earlier request wrote it; if there was nothing to do, of the
            aggregate's.
        archived: whether the read side has it.
    """

    decided: Decided
    position: Position
    archived: bool

    @property
    def place(self) -> str:
        """As `Daybook-Position` carries it."""
        return f"{self.decided.partition}:{self.position}"


class Writes:
    """Carries commands out and waits for the archive; `chains` looks at who is to follow on a job, where one may be."""

    def __init__(self, *, decider: Decider, archive: Archive, chains: Chains | None = None) -> None:
        self._decider = decider
        self._archive = archive
        self._chains = chains
        self._log = logs.get("daybook.api")

    async def __call__(
        self,
        ref: str,
        command: Command,
        context: Context,
        *,
        wait_s: float,
        held: Snapshot | None = None,
        once: tuple[Once, ...] = (),
    ) -> Written:
        """Carry `command` out on the job, run or API key `ref`, and wait at most `wait_s` for the archive.

        Args:
            ref: `job:<id>`, `run:<id>` or `apikey:<hash>`.
            command: the wish.
            context: on whose behalf.
            wait_s: for the archive; the write stands, however long that takes.
            held: its snapshot if the caller has it; NOTHING for a new id.
            once: answers to give only once; where one has been given, `decided.answered` tells it.

        Raises:
            Problem: it was refused, or Redis doesn't answer.
        """
        for _ in range(TRIES):
            decided = await self.decide(ref, command, context, held=held, once=once)
            if (done := await self.awaited(decided, wait_s)) is not None:
                return done
            held = NOTHING if held is NOTHING else None  # what it was decided from is gone too
        raise unavailable("The log was opened anew several times meanwhile.")

    async def refuse_foreign(self, held: Snapshot | None) -> None:
        """Let nobody learn of another tenant's what the caller is about to look at; deciding asks by itself.

        Raises:
            Problem: 404.
        """
        if held is None or (tenant := wall()) is None:
            return
        try:
            await self._decider.refuse_foreign(held, tenant)
        except Refused as refused:
            raise of_refusal(refused) from None

    async def awaited(self, decided: Decided, wait_s: float) -> Written | None:
        """What was decided, once the archive has it or `wait_s` have gone by; None if the log has lost it."""
        position = _position(decided)
        event_id = decided.event_ids[-1] if decided.event_ids else None
        fate = await self._archive.fate(decided.partition, position, event_id, wait_s)
        if fate is Fate.LOST:
            return None
        return Written(decided=decided, position=position, archived=fate is Fate.ARCHIVED)

    async def decide(
        self,
        ref: str,
        command: Command,
        context: Context,
        *,
        held: Snapshot | None = None,
        once: tuple[Once, ...] = (),
    ) -> Decided:
        """Carry `command` out as above, and wait for nothing else.

        Raises:
            Problem: it was refused, or Redis doesn't answer.
        """
        try:
            async with asyncio.timeout(REDIS_S):
                await self._look_at_chain(ref, command, once)
                decided = await self._decider.decide(ref, command, context, held=held, once=once)
        except Refused as refused:
            raise of_refusal(refused) from None
        except LogFull as error:
            raise Problem("log-full", f"{error}.", headers={"Retry-After": "5"}) from None
        except NewerShape:
            raise unavailable(
                "It was last written by a newer version of Daybook; an upgrade is under way."
            ) from None
        except TimeoutError:
            raise unavailable(
                f"Redis did not answer within {REDIS_S:.0f} s; this may or may not be written: look first."
            ) from None
        story.tell(self._log, decided.changes, actor=context.actor)
        return decided

    async def _look_at_chain(self, ref: str, command: Command, once: tuple[Once, ...]) -> None:
        """Refuse followers that can't be; what was written by the same request before stands.

        Raises:
            Problem: 422.
        """
        if self._chains is None or not isinstance(command, CreateJob | UpdateJob):
            return
        faults = await self._chains.faults(ref.removeprefix("job:"), command.spec, present().tenant)
        if faults and not await self._decider.has_answered(ref, once):
            raise invalid(*faults)


def _position(decided: Decided) -> Position:
    if decided.answered is not None:
        return decided.answered.position
    return decided.last or Position.parse(decided.after.version or "0-0")
