"""Why a command may be refused. The docstring is the message; the API maps each class to one status."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """The command can't be carried out on this aggregate as it stands."""

    def __init__(self, detail: str = "", *, current: str | None = None) -> None:
        """Say why, in a sentence for the client; `current` is the state in the write model."""
        self.detail = detail or (self.__doc__ or "").strip()
        self.current = current
        super().__init__(self.detail)


class NoSuchJob(Refused):
    """There is no job with this id (it was never made, or it was deleted)."""


class NoSuchRun(Refused):
    """There is no execution with this id."""


class NoSuchApiKey(Refused):
    """There is no API key with this id."""


class NoSuchBackfill(Refused):
    """There is no backfill with this id."""


class NoSuchCalendar(Refused):
    """There is no calendar of this name."""


class UnknownCalendars(Refused):
    """A job is to name calendars that there aren't; `missing` has their places in its list, and their names."""

    def __init__(self, missing: tuple[tuple[int, str], ...]) -> None:
        self.missing = missing
        names = ", ".join(name for _, name in missing)
        super().__init__(f"There is no calendar {names}: make it first, or leave it out.")


class IllegalTransition(Refused):
    """The command doesn't fit the present state."""


class Overlaps(IllegalTransition):
    """The job has an active run, and overlap_policy skip; send overlap_policy: allow to run beside it."""


class WaitingIsFull(IllegalTransition):
    """The job has an active run, and as many wait as may; send overlap_policy: allow to run beside it."""


class KeepsNoList(IllegalTransition):
    """The job's overlap_policy is allow, so it doesn't know its active runs: leave yours out, or change the job's."""


class Paused(IllegalTransition):
    """The job is paused: nothing but a person's own trigger runs it."""


class StaleRevision(Refused):
    """The job was edited meanwhile: read it again, look at what changed, and send its new ETag in If-Match."""


class NeverFires(Refused):
    """The schedule has no occurrence in the future; choose a later run_at or end_at, more max_runs, or exclude less."""


class NoSuchOccurrence(Refused):
    """The job is not scheduled for this time."""


class LostLease(Refused):
    """The result comes from a start that no longer holds the run: it was given to another worker."""
