"""Telling who follows on a run that it has ended: each job in its partition, once, however often it is tried."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from services.timer import failure_mail
from shared.domain import ids
from shared.domain.commands import FollowRun, TellRelay
from shared.domain.events import ChainLink
from shared.domain.job import Job
from shared.domain.refusals import IllegalTransition, NoSuchJob, Overlaps, Paused, Refused, WaitingIsFull
from shared.domain.relay import DEPTH_MAX, Relay
from shared.eventlog import once
from shared.eventlog.decider import Unseen
from shared.eventlog.envelope import Context
from shared.faults import is_broken

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.eventlog.decider import Decided, Decider
    from shared.eventlog.log import EventLog

ACTOR = "timer"
_WHY = {NoSuchJob: "no-such-job", Paused: "paused", Overlaps: "overlap", WaitingIsFull: "overlap"}


class Relays:
    """Carries the ends of runs to their followers.

    Args:
        log: where jobs are looked up.
        decider: where wishes go.
        count: is told what was decided on a follower on the way.
    """

    def __init__(self, log: EventLog, decider: Decider, *, count: Callable[[Decided], None]) -> None:
        self._log = log
        self._decider = decider
        self._count = count

    async def tell(self, relay: Relay, woken: str) -> Decided:
        """Trigger all followers of a relay that was woken at the score `woken`, and write down what came of each.

        A crash between two of them has the relay woken again: who was triggered is not triggered a second time.

        Raises:
            LogFull: Redis takes no new work; those before were triggered.
            Unseen: a follower stands elsewhere, where nobody answers; likewise.
        """
        try:
            links = [await self._follow(relay, job_id) for job_id in relay.followers]
            if relay.mail_to:
                links.append(await self._mail(relay))
        except Exception as error:
            if not is_broken(error):
                raise
            # If it is the relay's own partition that doesn't answer, the timer finds that when it puts the relay off.
            raise Unseen(f"not all followers of relay:{relay.id} can be told: {error}") from error
        context = Context(actor=ACTOR, corr=relay.correlation_id)
        return await self._decider.decide(
            f"relay:{relay.id}", TellRelay(links=tuple(links)), context, woken=woken
        )

    async def _follow(self, relay: Relay, job_id: str, job_data: dict[str, Any] | None = None) -> ChainLink:
        if relay.depth >= DEPTH_MAX:
            return ChainLink(job_id=job_id, refused="too-deep")
        run_id = ids.derived_id(relay.requested_at, ids.partition_of(job_id), relay.id, job_id, "chain")
        command = FollowRun(
            run_id=run_id,
            correlation_id=relay.correlation_id,
            of=relay.id,
            depth=relay.depth + 1,
            job_data=job_data,
        )
        asked_once = once.of_follower(relay.id, job_id, answer=run_id)
        context = Context(actor=ACTOR, cause=f"relay:{relay.id}", corr=relay.correlation_id)
        try:
            decided = await self._decider.decide(f"job:{job_id}", command, context, once=(asked_once,))
        except Refused as refusal:
            return ChainLink(job_id=job_id, refused=_WHY.get(type(refusal), "refused"))
        self._count(decided)
        return ChainLink(job_id=job_id, run_id=run_id)

    async def _mail(self, relay: Relay) -> ChainLink:
        """Have the tenant's job for such mails write this one; it is made when it is needed first."""
        held = (await self._log.load(f"job:{relay.job_id}"))[f"job:{relay.job_id}"].state
        if not isinstance(held, Job):
            return ChainLink(job_id=relay.job_id, refused="no-such-job")
        mail_job = failure_mail.job_id(held.tenant, self._log.partitions)
        context = Context(actor=ACTOR, cause=f"relay:{relay.id}", corr=relay.correlation_id)
        with contextlib.suppress(
            IllegalTransition
        ):  # it is there, or somebody deleted it who wants no such mails
            creation = failure_mail.creation(mail_job, held.tenant)
            await self._decider.decide(f"job:{mail_job}", creation, context)
        return await self._follow(relay, mail_job, failure_mail.data(relay, held))
