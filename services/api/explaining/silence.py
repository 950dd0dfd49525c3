"""Silence: what the log tells of the time between when something was due and when it was decided.

A timer that is alive decides what is due within milliseconds, and leaves an event. So where there is none by any timer
of a partition from the moment on at which something was due in it, none was alive there; or none could write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.api.explaining.codes import Code
from services.api.explaining.finding import Finding, at_of, lasting
from shared.readmodel.overdue import GRACE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from services.api.explaining.finding import Words
    from shared.eventlog.envelope import Recorded

TIMER = "timer"  # the actor of whatever a timer decides


class Silence(NamedTuple):
    """What a partition's log has around the time at which something was due in it.

    Attributes:
        due_at: that time.
        decided: the event that decided it; None: there is none up to `until`.
        before: the last event by a timer before `due_at`, as far as was looked back.
        after: the first one from then on, `decided` perhaps.
        opened: the openings of the log between `due_at` and `decided`.
        until: up to when the log was known.
    """

    due_at: datetime
    decided: Recorded | None
    before: Recorded | None
    after: Recorded | None
    opened: tuple[Recorded, ...]
    until: datetime

    @property
    def late_s(self) -> float:
        """How long it was undecided."""
        ended_at = self.until if self.decided is None else at_of(self.decided)
        return (ended_at - self.due_at).total_seconds()

    @property
    def heard_at(self) -> datetime:
        """When a timer was heard of again, or somebody's command decided it instead; else the end of the log."""
        heard = self.after or self.decided
        return self.until if heard is None else at_of(heard)


def is_late(due_at: datetime, until: datetime) -> bool:
    """Whether so much time has gone by that somebody is to be told."""
    return until - due_at > GRACE


def told(silence: Silence, words: Words) -> Iterator[Finding]:
    """Why it was decided late, or not yet; nothing where it was in time."""
    if silence.late_s <= GRACE.total_seconds():
        return
    if is_late(silence.due_at, silence.heard_at):
        yield _no_timer(silence, words)
    elif silence.decided is not None:
        yield _decided_late(silence, words)
    for opened in silence.opened:
        reason = opened.change().event.reason  # type: ignore[attr-defined]
        yield Finding(
            Code.LOG_OPENED,
            f"the log was opened anew at {words.brief(at_of(opened))} ({reason})",
            at_of(opened),
            (opened,),
            {"reason": reason},
        )


def _no_timer(silence: Silence, words: Words) -> Finding:
    before, heard, end = silence.before, silence.after or silence.decided, words.brief(silence.heard_at)
    if heard is None:
        end += ", the end of the log"
    elif silence.after is None:
        end += f", when a command of {heard.actor} decided it"
    last = "" if before is None else f" (the last before was at {words.brief(at_of(before))})"
    return Finding(
        Code.NO_TIMER,
        f"no timer was alive from {words.brief(silence.due_at)}, when it was due, to {end}: no event by one{last}",
        silence.due_at,
        tuple(each for each in (before, heard) if each is not None),
        {
            "due_at": silence.due_at,
            "from": None if before is None else at_of(before),
            "to": None if heard is None else silence.heard_at,
            "late_seconds": silence.late_s,
        },
    )


def _decided_late(silence: Silence, words: Words) -> Finding:
    assert silence.decided is not None  # noqa: S101 - the caller has looked
    decided_at, actor = at_of(silence.decided), silence.decided.actor
    whose = "" if actor == TIMER else f" by a command of {actor}"
    return Finding(
        Code.DECIDED_LATE,
        f"decided{whose} at {words.brief(decided_at)}, {lasting(silence.late_s)} late, though a timer was at work",
        decided_at,
        tuple(each for each in (silence.after, silence.decided) if each is not None),
        {"late_seconds": silence.late_s, "by": actor},
    )
