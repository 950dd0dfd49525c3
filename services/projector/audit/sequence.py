"""The order of a partition's events: contiguous positions, the hash chain, and the log as the archive has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.projector.audit.lines import Invariant
from shared.domain.events import LogOpened
from shared.eventlog.envelope import decode
from shared.eventlog.position import START, Position
from shared.readmodel.chain import GENESIS, link

if TYPE_CHECKING:
    from services.projector.audit.lines import Findings
    from shared.eventlog.envelope import Recorded
    from shared.readmodel.archive import Checkpoint
    from shared.readmodel.cuts import Cut


class Sequence:
    """Where the reading of a partition has come to.

    Attributes:
        at: position of the last event; START before the first.
        id: of that event.
        chain: its link, if it was archived.
        recent: seals of the archived events that the log may hold as well, by position.

    Args:
        findings: where to tell.
        recent_from: `pos` of the first entry that the log had before the archive was read.
    """

    def __init__(self, findings: Findings, *, recent_from: int) -> None:
        self.at = START
        self.id = ""
        self.chain = GENESIS
        self.recent: dict[Position, bytes] = {}
        self._findings = findings
        self._recent_from = recent_from

    def begins_after(self, cut: Cut) -> None:
        """What was before has been dropped: the next event follows the last of it."""
        self.at, self.id, self.chain = Position(cut.epoch, cut.pos), cut.id, cut.chain

    def archived(self, recorded: Recorded, chain: bytes) -> None:
        """The next event of the archive, and its link there."""
        fields = _fields(recorded)
        expected = link(self.chain, fields)
        self._findings.expect(
            Invariant.CHAIN,
            expected == chain,
            f"{recorded.place}: its link doesn't follow from the one before",
        )
        self.chain = chain  # one broken link is one finding, not one for each that follows
        if recorded.position.pos >= self._recent_from:
            self.recent[recorded.position] = link(GENESIS, fields)
        self.goes_on(recorded)

    def goes_on(self, recorded: Recorded) -> None:
        """The next event, wherever it was read."""
        findings, before = self._findings, self.at
        if recorded.position.pos == before.pos and before != START:
            findings.wrong(Invariant.IDS, f"{recorded.place} holds {recorded.id}, and {self.id} too")
        elif (reason := self._gap(recorded)) is not None:
            findings.wrong(Invariant.POSITIONS, f"{recorded.place} after {before}: {reason}")
        findings.checked(Invariant.POSITIONS)
        findings.checked(Invariant.IDS)
        self.at, self.id = recorded.position, recorded.id

    def logged(self, recorded: Recorded) -> None:
        """An entry of the log that stands before the archive's end."""
        self._findings.expect(
            Invariant.LOG,
            self.recent.pop(recorded.position, None) == link(GENESIS, _fields(recorded)),
            f"{recorded.place}: the log holds another event {recorded.type} {recorded.id} than the archive",
        )

    def was_logged(self, partition: int, first: Position) -> None:
        """The log has been read up to the archive's end; it begins at `first`, as what lies before was trimmed."""
        for position in self.recent:
            if position.pos >= first.pos:
                self._findings.wrong(
                    Invariant.LOG,
                    f"{partition}:{position}: the archive has it, the log hasn't, but goes on after it",
                )
        self.recent.clear()

    def ends_at(self, checkpoint: Checkpoint) -> None:
        """The archive has been read; `checkpoint` is what Postgres says of its end."""
        said = (checkpoint.epoch, checkpoint.pos, checkpoint.id, checkpoint.chain)
        self._findings.expect(
            Invariant.CHECKPOINT,
            said == (*self.at, self.id, self.chain),
            f"partition {checkpoint.partition}: the checkpoint says {checkpoint.epoch}-{checkpoint.pos} "
            f"{checkpoint.id}, the archive ends at {self.at} {self.id}",
        )

    def _gap(self, recorded: Recorded) -> str | None:
        """Why an event can't follow the one before, or None."""
        before, position = self.at, recorded.position
        if position.pos != before.pos + 1:
            return "positions are missing"
        if recorded.type != LogOpened.__name__:
            return None if position.epoch == before.epoch else "its epoch was not opened"
        opened = _opened(recorded)
        if opened is None:
            return None  # a newer build's: it is told of as unreadable
        previous = None if before == START else (*before, self.id)
        if opened.previous != previous:
            return f"it was opened after {opened.previous}, not after {previous}"
        if opened.epoch != position.epoch or position.epoch <= before.epoch:
            return f"it was opened for epoch {opened.epoch}"
        return None


def _opened(recorded: Recorded) -> LogOpened | None:
    """What a LogOpened says; None for one that this build can't read."""
    try:
        event = decode(recorded.type, recorded.v, recorded.data)
    except Exception:  # noqa: BLE001 - whatever stands there, it opens nothing
        return None
    return event if isinstance(event, LogOpened) else None


def _fields(recorded: Recorded) -> tuple[str | int, ...]:
    """The fields that the chain goes over, in their order."""
    return (
        recorded.partition, *recorded.position, recorded.id, recorded.type, recorded.v, recorded.subject, recorded.job,
        recorded.advances, recorded.at, recorded.actor, recorded.cause, recorded.corr, recorded.trace, recorded.data,
    )  # fmt: skip
