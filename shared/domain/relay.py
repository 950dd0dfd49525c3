"""The relay: what the end of a run hands on to other jobs, which may stand in other partitions.

```
 end of a run with followers ─▶ waiting ── each follower triggered, or found not to want it ─▶ told
```
No transaction spans partitions. So the end of the run and the wish stand in one unit; the timer that wakes the relay
carries the wish to each follower, once (`shared.eventlog.once`), and writes down last what came of it: a crash in
between repeats what has no effect the second time (DESIGN §6.5). The relay has the id of its run.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - the codec reads these annotations
from typing import TYPE_CHECKING

from msgspec.structs import replace

from shared.domain.commands import TellRelay
from shared.domain.events import ChainRequested, ChainTriggered, Change, Decision, Failure, Outcome, RunFailed
from shared.domain.refusals import NoSuchRun
from shared.domain.value import Value

if TYPE_CHECKING:
    from shared.domain.commands import RelayCommand
    from shared.domain.events import Event
    from shared.domain.run import Run

DEPTH_MAX = 50  # runs in a row: two edits at one moment may make a ring that neither saw


class Relay(Value, frozen=True, kw_only=True):
    """The fold of a relay's events.

    Attributes:
        id: of the run that has ended.
        job_id: of that run.
        outcome: how it has ended.
        error: what it has failed of.
        followers: the jobs to be triggered.
        mail_to: whom to tell by mail that it has failed.
        depth: how many runs of other jobs led to its run.
        told: whether everybody was told.
    """

    id: str
    job_id: str
    outcome: Outcome
    error: Failure | None
    followers: tuple[str, ...]
    mail_to: tuple[str, ...]
    depth: int
    correlation_id: str
    requested_at: datetime
    told: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.told

    @property
    def due_at(self) -> datetime | None:
        """When to wake it: at once."""
        return None if self.told else self.requested_at


def handed_on(run: Run, event: Event, now: datetime) -> Change | None:
    """What the end of `run` asks for, if somebody is to follow on it."""
    outcome = _OUTCOMES.get(type(event).__name__)
    chain = run.spec.chain
    if outcome is None or chain is None:
        return None
    followers = chain.on_success if outcome == "succeeded" else chain.on_failure
    mail_to = () if outcome == "succeeded" else chain.mail_on_failure
    if not followers and not mail_to:
        return None
    asked = ChainRequested(
        outcome=outcome,
        error=event.error if isinstance(event, RunFailed) else None,
        followers=followers,
        mail_to=mail_to,
        depth=run.depth,
        correlation_id=run.correlation_id,
        requested_at=now,
    )
    return Change(subject=f"relay:{run.id}", event=asked, job=run.job_id)


_OUTCOMES: dict[str, Outcome] = {"RunSucceeded": "succeeded", "RunFailed": "failed", "RunExpired": "expired"}


def decide(relay: Relay | None, command: RelayCommand) -> Decision:
    """The events that `command` leads to; a relay that is woken twice has been told about before.

    Raises:
        NoSuchRun: there is no such relay.
    """
    if relay is None:
        raise NoSuchRun
    if relay.told or not isinstance(command, TellRelay):
        return Decision()
    event = ChainTriggered(links=command.links)
    return Decision(changes=(Change(subject=f"relay:{relay.id}", event=event, job=relay.job_id),))


def evolve(relay: Relay | None, change: Change) -> Relay:
    """The relay after an event of it.

    Raises:
        ValueError: the first is not its ChainRequested (a log that is no log of ours).
    """
    event = change.event
    if isinstance(event, ChainRequested):
        return Relay(
            id=change.subject.removeprefix("relay:"),
            job_id=change.job,
            outcome=event.outcome,
            error=event.error,
            followers=event.followers,
            mail_to=event.mail_to,
            depth=event.depth,
            correlation_id=event.correlation_id,
            requested_at=event.requested_at,
        )
    if relay is None:
        raise ValueError(f"{type(event).__name__} on {change.subject} before any ChainRequested")
    return replace(relay, told=True) if isinstance(event, ChainTriggered) else relay
