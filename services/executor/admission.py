"""Between claim and start: whether a run may start now, or waits for a limit that it shares with others.

```
 claim ──▶ permit of its concurrency key ──▶ turn of its job type ──▶ start
                     │ none left                      │ not yet
                     ▼                                ▼
           held, and stands in line          held until its turn; the permit goes to the next
```
A run of a job without a key, of a type without a rate, passes without a word to Redis.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from shared.domain.commands import HoldRun
from shared.domain.refusals import Refused
from shared.domain.run import Run, Status
from shared.eventlog.envelope import Context
from shared.eventlog.limiter import Limiters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.executor.claims import Claim, Claims
    from services.executor.tally import Tally
    from shared.domain.spec import Concurrency
    from shared.eventlog.decider import Decider
    from shared.eventlog.log import EventLog
    from shared.eventlog.snapshot import Snapshot
    from shared.rate import Rate

ACTOR = "executor"
NET = timedelta(seconds=60)  # a run that was forgotten in its line asks again after so long
PATIENCE_S = 0.1  # a turn that comes so soon is waited for in the slot: holding the run would take as long
LOOKS = 3  # at permits that others may have left behind, before the run stands in line


class Admission:
    """Lets runs start, or holds them.

    Args:
        log: whose time counts.
        decider: with the permits.
        claims: where entries come from.
        rates: of job types.
        tally: is told of those that wait.
    """

    def __init__(
        self, log: EventLog, decider: Decider, claims: Claims, rates: Mapping[str, Rate], tally: Tally
    ) -> None:
        self._log = log
        self._decider = decider
        self._claims = claims
        self._rates = rates
        self._tally = tally
        self._limiters = Limiters(log)

    async def admits(self, claim: Claim, held: Snapshot) -> bool:
        """Whether the run may start now; else it was held, or is somebody else's, and the claim is taken care of."""
        run = held.state
        if not isinstance(run, Run) or not run.offered:
            return True  # its start will be refused, or be its end
        of, rate = run.spec.concurrency, self._rates.get(run.spec.job_type)
        if of is not None and not await self._is_permitted(claim, held, run, of):
            return False
        return rate is None or await self._has_its_turn(claim, held, run, rate)

    async def refused(self, claim: Claim, held: Snapshot) -> None:
        """Give back what was taken for a start that has been refused."""
        run = held.state
        if not isinstance(run, Run) or (of := run.spec.concurrency) is None:
            return
        ref = f"run:{run.id}"
        now = (await self._log.load(ref))[ref].state
        if isinstance(now, Run) and now.status is Status.RUNNING:
            return  # who has adopted the same entry holds the same permit
        over = not isinstance(now, Run) or now.ended
        await self._decider.handover.free(run.id, of, claim.entry, over=over)

    # Concurrency.

    async def _is_permitted(self, claim: Claim, held: Snapshot, run: Run, of: Concurrency) -> bool:
        until = self._log.now(claim.partition) + NET
        for _ in range(LOOKS):
            answer = await self._decider.permits.take(run, of, claim.entry)
            match answer.outcome:
                case "granted":
                    return True
                case "stale":
                    await self._claims.drop(claim)
                    return False
                case "closed":
                    until = self._log.now(claim.partition) + timedelta(milliseconds=answer.again_ms)
                    break
            await self._decider.handover.call(of, answer.called)
            if not answer.unseen and run.id not in answer.called:
                break
            for unseen in answer.unseen:
                await self._decider.handover.look_into(of, unseen, until)
        hold = HoldRun(reason="concurrency", key=of.key, until=until)
        if (after := await self._hold(claim, held, run, hold)) is not None:
            # In this order: whoever is in line is held, so who is called is queued.
            await self._decider.handover.call(of, await self._decider.permits.wait(after, of))
        return False

    # Rates.

    async def _has_its_turn(self, claim: Claim, held: Snapshot, run: Run, rate: Rate) -> bool:
        had = run.hold is not None and run.hold.reason == "rate"
        turn = await self._limiters.turn("type", run.spec.job_type, rate, patience_s=PATIENCE_S, had=had)
        if turn.granted:
            await asyncio.sleep(turn.wait_s)
            return True
        until = self._log.now(claim.partition) + timedelta(seconds=turn.wait_s)
        await self._hold(claim, held, run, HoldRun(reason="rate", key=run.spec.job_type, until=until))
        return False

    async def _hold(self, claim: Claim, held: Snapshot, run: Run, hold: HoldRun) -> Run | None:
        """The run as it is held; None if it was not to be held any more."""
        context = Context(actor=ACTOR, corr=run.correlation_id)
        try:
            decided = await self._decider.decide(f"run:{run.id}", hold, context, held=held, done=claim.done)
        except Refused:  # started by way of another entry, or ended
            await self._claims.drop(claim)
            await self.refused(claim, held)
            return None
        after = decided.after.state
        if (
            not isinstance(after, Run) or after.status is not Status.HELD
        ):  # its deadline had passed, or it was to end
            if isinstance(after, Run) and after.ended:
                self._tally.not_started(after)
            return None
        self._tally.held(decided, hold.reason)
        return after
