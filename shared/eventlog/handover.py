"""Handing permits on: a run that is at work no longer gives its own back, and whoever has waited longest is queued.

It follows every commit that ends a run's claim to a permit, whoever made it: a report, a lost lease, a cancel. What is
forgotten here, as its process died between the commit and the handover, is found by the next that asks for a permit of
the key, or by those that wait, whose time in the due index comes within a minute.
"""

from __future__ import annotations

from collections import deque
from logging import ERROR, WARNING
from typing import TYPE_CHECKING

from shared import logs
from shared.domain.commands import HoldRun, ReleaseRun
from shared.domain.refusals import Refused
from shared.domain.run import Run, Status
from shared.eventlog import story
from shared.eventlog.envelope import Context
from shared.eventlog.permits import KEPT
from shared.faults import is_broken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from shared.domain.run import Hold
    from shared.domain.spec import Concurrency
    from shared.eventlog.decider import Decided
    from shared.eventlog.log import EventLog
    from shared.eventlog.permits import Permits, Unseen
    from shared.eventlog.snapshot import Snapshot

ACTOR = "system"
_AT_WORK = (Status.QUEUED, Status.RUNNING)  # or about to be


class Handover:
    """Gives permits back, and queues who has waited.

    Args:
        log: where runs stand.
        permits: of all keys.
        decide: `Decider.decide`, that doesn't hand over itself: many in line may turn out to be over.
    """

    def __init__(self, log: EventLog, permits: Permits, decide: Callable[..., Awaitable[Decided]]) -> None:
        self._log = log
        self._permits = permits
        self._decide = decide
        self._words = logs.get("daybook.limits")

    async def after(self, before: Mapping[str, Snapshot], after: Mapping[str, Snapshot]) -> None:
        """Do what a commit that is written leads to; what can't be done now is done by others, later."""
        for ref, snapshot in after.items():
            run, held = snapshot.state, before[ref]
            if isinstance(run, Run) and (of := run.spec.concurrency) and _gives_up(held.state, run):
                try:
                    # Up to what it was then: what has queued it since is for the next start to take.
                    await self.free(run.id, of, held.version or KEPT, over=run.ended)
                except Exception as error:  # noqa: BLE001 - what was committed stands, whatever becomes of its permit
                    level = WARNING if is_broken(error) else ERROR
                    self._words.log(level, "permit not handed on", run_id=run.id, error=repr(error))

    async def free(self, run_id: str, of: Concurrency, upto: str, *, over: bool) -> None:
        """See Permits.free; who has waited is queued."""
        await self.call(of, await self._permits.free(run_id, of, upto, over=over))

    async def call(self, of: Concurrency, called: Iterable[str]) -> None:
        """Queue those for whom permits are kept; one that is over by now makes room for the next."""
        line = deque(called)
        while line:
            run_id = line.popleft()
            if not await self._comes(run_id):
                line.extend(await self._permits.free(run_id, of, KEPT, over=True))

    async def look_into(self, of: Concurrency, unseen: Unseen, until: datetime) -> None:
        """Find out whether a permit is still somebody's: its run's state says so."""
        ref = f"run:{unseen.run}"
        held = (await self._log.load(ref))[ref]
        run = held.state
        if isinstance(run, Run) and run.status is Status.RUNNING:
            await self._permits.keep(of, unseen)
            return
        # A wish to cancel moves the version, and leaves the entry.
        if (
            isinstance(run, Run)
            and run.status is Status.QUEUED
            and (held.version == unseen.entry or run.cancel is not None)
        ):
            # It was to start, and whoever wanted that may be about to: only the log can tell them that they are late.
            # It isn't put in line: nobody has adopted its entry, so nobody may serve its queue. It asks again later.
            hold = HoldRun(reason="concurrency", key=of.key, until=until)
            context = Context(actor=ACTOR, corr=run.correlation_id)
            try:
                decided = await self._decide(ref, hold, context, held=held)
            except Refused:  # it has just started, or ended
                return
            run = decided.after.state
        over = not isinstance(run, Run) or run.ended
        await self.free(unseen.run, of, unseen.entry, over=over)

    async def _comes(self, run_id: str) -> bool:
        """Queue a run that a limit holds; returns whether it will ask for its permit."""
        ref = f"run:{run_id}"
        held = (await self._log.load(ref))[ref]
        run = held.state
        if not isinstance(run, Run):
            return False
        if run.status is not Status.HELD:
            return run.status in _AT_WORK
        try:
            decided = await self._decide(
                ref, ReleaseRun(), Context(actor=ACTOR, corr=run.correlation_id), held=held
            )
        except Refused:
            return False
        story.tell(self._words, decided.changes, actor=ACTOR)
        after = decided.after.state
        return isinstance(after, Run) and after.status in _AT_WORK


def _gives_up(was: object, run: Run) -> bool:
    """Whether a run that had a permit, or may have, isn't at work from here on, nor about to be."""
    if not isinstance(was, Run) or was.status is Status.RETRYING or was.ended:
        return False
    match run.status:
        case Status.RUNNING:
            return False
        case Status.QUEUED:
            return was.status is Status.RUNNING
        case Status.HELD:
            return _waits_for_its_turn(run.hold)
        case _:
            return True


def _waits_for_its_turn(hold: Hold | None) -> bool:
    return hold is not None and hold.reason == "rate"
