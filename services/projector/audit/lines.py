"""The lines of an audit: what must hold, how often that was looked at, and where it didn't."""

from __future__ import annotations

from enum import StrEnum

from shared.domain.value import Value


class Invariant(StrEnum):
    """What must hold: a line each. The value is what people read."""

    # The log.
    POSITIONS = "positions go up by one, through every LogOpened"
    IDS = "an event has one position, a position one event"
    LOG = "the log holds what the archive holds, to the byte"
    READABLE = "each event can be read and folded by this build"
    CHAIN = "the hash chain is intact"
    CHECKPOINT = "the checkpoint is the last archived event"
    # The schedule.
    OCCURRENCES = "each occurrence announced is decided once by the schedule"
    ORDER = "scheduled_for rises in each job"
    FIRINGS = "the schedule decides nothing for a job that is paused, completed or deleted"
    JITTER = "nothing fires before its time, nor after the time of the next occurrence"
    EXCLUDED = "what somebody skipped is skipped for that reason, and nothing else is"
    OVERLAPS = "but with overlap policy allow, the schedule starts no run beside an active one, and none waits for none"
    # Runs.
    ENDS = "a run begins once and ends at most once, with nothing after"
    ATTEMPTS = "attempts are counted 1, 2, 3"
    RESULTS = "a result is that of the latest start"
    RESTARTS = "between two starts lies a failure, a loss or an interruption"
    RETRIES = "no retry comes before its wake time"
    # What must happen yet.
    STANDING = "each unfinished run and each job with occurrences left stands where it is found again"
    STRAYS = "nothing else stands in due index and work streams"
    DUE_TIMES = "times in the due index are those of the states"
    # States.
    VERSIONS = "a version is the position of the last event that advanced its aggregate"
    FENCES = "a fence is the position of its run's latest start"
    SNAPSHOTS = "snapshots in Redis are the fold of the events, to the byte"
    BOOK_SNAPSHOTS = "snapshots in Postgres are the fold of the archive, to the byte"
    ERASURES = (
        "what is erased is a deleted job, once, and no key of it is kept; all else that is sealed has its key"
    )
    # Ledgers.
    JOBS = "rows of ledger.jobs are the fold of the archive"
    RUNS = "rows of ledger.runs are the fold of the archive"
    HOURS = "rows of ledger.run_hourly are the fold of the archive"
    CALENDARS = "rows of ledger.calendars are the fold of the archive"
    REFUSED = "what a ledger has refused is right by now"


class Line(Value, frozen=True, kw_only=True):
    """One invariant's result.

    Attributes:
        name: of the invariant, for machines.
        says: the same, for people.
        checked: how many things were looked at.
        violations: how many of them were not as they must be.
        first: what the first of those was, '' if there is none.
        unchecked: how many could not be judged, because an event of theirs could not be read.
    """

    name: str
    says: str
    checked: int
    violations: int
    first: str
    unchecked: int = 0


class Findings:
    """What an audit has found so far."""

    def __init__(self) -> None:
        self._checked = dict.fromkeys(Invariant, 0)
        self._violations = dict.fromkeys(Invariant, 0)
        self._first = dict.fromkeys(Invariant, "")
        self._unchecked = dict.fromkeys(Invariant, 0)

    def checked(self, invariant: Invariant, count: int = 1) -> None:
        """Note that `count` things were looked at."""
        self._checked[invariant] += count

    def wrong(self, invariant: Invariant, example: str) -> None:
        """Note a violation, of something that counts as looked at by itself."""
        self._violations[invariant] += 1
        self._first[invariant] = self._first[invariant] or example

    def expect(self, invariant: Invariant, holds: bool, example: str) -> None:  # noqa: FBT001 - it reads as an assertion
        """Look at one thing, which must hold."""
        self._checked[invariant] += 1
        if not holds:
            self.wrong(invariant, example)

    def unchecked(self, invariant: Invariant) -> None:
        """Note one thing that can't be judged."""
        self._unchecked[invariant] += 1

    def lines(self) -> tuple[Line, ...]:
        """A line for each invariant, in their order."""
        return tuple(
            Line(
                name=each.name.lower(),
                says=each.value,
                checked=self._checked[each],
                violations=self._violations[each],
                first=self._first[each],
                unchecked=self._unchecked[each],
            )
            for each in Invariant
        )
