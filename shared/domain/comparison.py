"""What two ways of deciding about a job's occurrences have in common, and what not.

```
 same     it runs both ways, or doesn't for the same reason      added    it runs by the second way only
 changed  it runs neither way, or both, but otherwise            removed  it runs by the first way only
 moved    what stands in the place of a removed one: at another time of the schedule, or, by jitter, of its own
```
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from shared.domain.decided import Decided

Change = Literal["same", "added", "removed", "moved", "changed"]


class Compared(NamedTuple):
    """An occurrence, or the two of which one has taken the other's place; None: there is none that way."""

    change: Change
    was: Decided | None
    would: Decided | None

    @property
    def at(self) -> datetime:
        """When it is by the second way, if by that."""
        told = self.would or self.was
        assert told is not None  # noqa: S101 - one of them is there
        return told.at


class Side(NamedTuple):
    """One way, summed up.

    Attributes:
        skipped: by reason.
        collisions: occurrences that came while a run was active.
        waiting: runs of them that had to wait.
    """

    occurrences: int
    runs: int
    skipped: dict[str, int]
    collisions: int
    waiting: int


def compared(was: Iterable[Decided], would: Iterable[Decided]) -> list[Compared]:
    """Both ways, occurrence by occurrence, in order."""
    first, second = {each.at: each for each in was}, {each.at: each for each in would}
    singly = [_compared(first.get(at), second.get(at)) for at in sorted(first.keys() | second.keys())]
    found: list[Compared] = []
    for each in singly:
        if found and (moved := _moved(found[-1], each)):
            found[-1] = moved
        else:
            found.append(each)
    return found


def side(decided: Sequence[Decided]) -> Side:
    """One of them summed up."""
    reasons = Counter(each.reason for each in decided if each.reason is not None)
    return Side(
        occurrences=len(decided),
        runs=sum(each.runs for each in decided),
        skipped=dict(sorted(reasons.items())),
        collisions=sum(each.beside is not None for each in decided),
        waiting=sum(each.held for each in decided),
    )


def _compared(was: Decided | None, would: Decided | None) -> Compared:
    ran, runs = was is not None and was.runs, would is not None and would.runs
    if ran != runs:
        return Compared("added" if runs else "removed", was, would)
    if was is None or would is None:
        return Compared("changed", was, would)
    if was.fires_at != would.fires_at:
        return Compared("moved", was, would)
    is_same = (was.reason, was.held) == (would.reason, would.held)
    return Compared("same" if is_same else "changed", was, would)


def _moved(one: Compared, another: Compared) -> Compared | None:
    """Two neighbours of which one is gone and the other new, as one."""
    match one, another:
        case Compared("removed", was, None), Compared("added", None, would):
            return Compared("moved", was, would)
        case Compared("added", None, would), Compared("removed", was, None):
            return Compared("moved", was, would)
        case _:
            return None
