"""How a log stands to the archive. Reads both, writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.domain.events import LogOpened
from shared.eventlog import opening
from shared.eventlog.envelope import decode
from shared.eventlog.position import START, Position
from shared.faults import Fatal
from shared.readmodel import archive, cuts

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from shared.eventlog.envelope import Recorded
    from shared.eventlog.keys import Keys
    from shared.eventlog.opening import LogState
    from shared.readmodel.archive import Checkpoint
    from shared.readmodel.cuts import Cut

UNCHANGED = "Nothing was written, and nothing is projected until this is resolved."


class Overtaken(Exception):  # noqa: N818 - a finding
    """The server was restarted or wiped, or somebody else has begun: look again."""


@dataclass(frozen=True, slots=True)
class Level:
    """The log holds the archive's last event, or begins right after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """All that the log holds is archived, but it ends before the archive does; START: it is empty."""

    tail: Position
    archived: Position

    @property
    def lost(self) -> int:
        """How many events it hasn't got any more, though they happened."""
        return self.archived.pos - self.tail.pos


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """After `common`, the last event in both, the log has others than the archive."""

    common: Position
    tail: Position
    archived: Position


Finding = Level | Behind | Forked


async def compare(
    connection: archive.Connection, redis: Redis, keys: Keys, state: LogState, archived: Checkpoint
) -> Finding:
    """How the log in `state` stands to the archive, whose checkpoint is `archived`.

    Raises:
        Fatal: what stood between the two is in neither, or they have no event in common.
        Overtaken: the log is no longer the one in `state`.
    """
    at = Position(archived.epoch, archived.pos)
    if state.first is None:
        return Level() if at == START else Behind(tail=START, archived=at)
    if state.first.pos > at.pos + 1:
        raise Fatal(f"{hole(keys.partition, at, f'begins at {state.first}', state.first.pos)} {UNCHANGED}")
    if at == START:
        return Level()
    entry = await opening.entry_at(redis, keys, at)
    if entry is not None and entry.id == archived.id:
        return Level()
    if state.first.pos == at.pos + 1:  # trimmed to the last: what is archived ends where the log begins
        previous = _previous(await opening.entry_at(redis, keys, state.first))
        if previous is not None and previous != (*at, archived.id):
            raise Fatal(_strange(keys.partition, state))
        return Level()
    cut = await cuts.cut_of(connection, keys.partition)
    if cut is not None and state.tail_at.pos < cut.pos:
        raise Fatal(_outlived(keys.partition, state, cut))
    common = await _last_common(connection, redis, keys, state, at, cut)
    if common == state.tail_at:
        return Behind(tail=state.tail_at, archived=at)
    return Forked(common=common, tail=state.tail_at, archived=at)


async def _last_common(
    connection: archive.Connection,
    redis: Redis,
    keys: Keys,
    state: LogState,
    at: Position,
    cut: Cut | None,
) -> Position:
    """The last position at which both have the same event; up to there they have all in common.

    What was dropped of the archive isn't looked at, but for the last event of it, which the cut tells of.

    Raises:
        Fatal: there is none.
        Overtaken: the log has lost the entries it was looked for in.
    """
    assert state.first is not None  # noqa: S101 - the log isn't empty
    common, low, high = None, state.first.pos, min(state.tail_at.pos, at.pos)
    if cut is not None:
        low = max(low, cut.pos)
    while low <= high:
        middle = (low + high) // 2
        here, event_id = await _archived_at(connection, keys.partition, middle, cut)
        entry = None if here is None else await opening.entry_at(redis, keys, here)
        if entry is not None and entry.id == event_id:
            common, low = here, middle + 1
        else:
            high = middle - 1
    if (first := await opening.entry_at(redis, keys, state.first)) is None:
        raise Overtaken(f"partition {keys.partition}: {state.first} has left the log since it was looked at")
    if common is not None:
        return common
    previous = _previous(first)
    is_cut = previous is not None and cut is not None and previous[1:] == (cut.pos, cut.id)
    if previous is None or not (is_cut or await archive.holds(connection, keys.partition, *previous[1:])):
        raise Fatal(_strange(keys.partition, state))
    return Position(*previous[:2])


async def _archived_at(
    connection: archive.Connection, partition: int, pos: int, cut: Cut | None
) -> tuple[Position | None, str]:
    """Position and id of the archived event at `pos`, or of the last one that was dropped; None, '' if neither."""
    if cut is not None and pos == cut.pos:
        return Position(cut.epoch, cut.pos), cut.id
    row = await archive.find(connection, partition, pos)
    return (None, "") if row is None else (Position(row["epoch"], row["pos"]), row["id"])


def _previous(entry: Recorded | None) -> tuple[int, int, str] | None:
    """What a LogOpened says stood before it; None for other events, and for the very first of a log."""
    if entry is None or entry.type != LogOpened.__name__:
        return None
    opened = decode(entry.type, entry.v, entry.data)
    return opened.previous if isinstance(opened, LogOpened) else None


def hole(partition: int, archived: Position, log: str, pos: int) -> str:
    """What to do about events that are in neither, before the log's at `pos`; `log` says how it goes on."""
    return (
        f"The archive of partition {partition} ends at {archived}, and the log {log}: what stood between is in "
        "neither, as if the database had been restored from an old backup. Stop the services, and bring in a cold "
        f"copy that reaches position {pos - 1} of it: `daybook archive import`. Or restore a newer backup."
    )


def _strange(partition: int, state: LogState) -> str:
    return (
        f"The log of partition {partition} ({state.first} to {state.tail_at}) has no event in common with the "
        f"archive: one of DAYBOOK_REDIS_URL and DAYBOOK_DATABASE_URL is another deployment's. If this Redis is "
        f"the right one, delete the keys under this prefix, and they are made anew from the archive. {UNCHANGED}"
    )


def _outlived(partition: int, state: LogState, cut: Cut) -> str:
    return (
        f"The log of partition {partition} ends at {state.tail_at}, and the archive begins after "
        f"{cut.epoch}-{cut.pos}, as what was before has been dropped: nobody can tell whether they belong together. "
        f"If this Redis is the right one, set back to an old state, delete the keys under this prefix, and they are "
        f"made anew from the archive. {UNCHANGED}"
    )
