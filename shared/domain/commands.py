"""The wishes: imperatives that `decide` turns into events, or refuses. Ids and draws are brought along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET, UnsetType

from shared.domain.value import Value

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.events import ChainLink, Failure, HoldReason, Which
    from shared.domain.exclude import Span
    from shared.domain.roles import Role
    from shared.domain.spec import CatchUp, JobSpec, OverlapPolicy, RunSpec
    from shared.domain.weekdays import Weekday


class Edit(Value, frozen=True, kw_only=True):
    """A wish about a job that may have been made up from an older revision of it.

    Attributes:
        if_revision: the revisions that it may be carried out on; None for any.
    """

    if_revision: tuple[int, ...] | None = None


class CreateJob(Value, frozen=True, kw_only=True):
    """Define a job under an id that is not taken."""

    job_id: str
    spec: JobSpec
    owner: str
    tenant: str


class UpdateJob(Edit, frozen=True, kw_only=True):
    """Replace the specification."""

    spec: JobSpec


class PauseJob(Edit, frozen=True, kw_only=True):
    """Stop the schedule; already paused so is no change.

    What is left unset is as the pause that there is has it, if this goes on with it; else nothing.

    Attributes:
        until: when the pause ends by itself; None: when somebody ends it.
        catch_up: what its end makes of what fell due meanwhile.
        switch: what is thrown to pause many jobs; it leaves alone what is paused by something else.
    """

    by: str
    reason: str | UnsetType = UNSET
    until: datetime | None | UnsetType = UNSET
    catch_up: CatchUp | UnsetType = UNSET
    switch: str | None = None


class SuspendJob(Value, frozen=True, kw_only=True):
    """Pause a job whose schedule can't be decided any more: nothing is settled first."""

    by: str
    reason: str


class ReplanJob(Value, frozen=True, kw_only=True):
    """Announce anew what newer zone tables have moved; nothing moved is no change.

    Attributes:
        tables: version of the tables that it is planned by from now on.
        before: of those that it was planned by; None if nobody has noted that.
    """

    tables: str
    before: str | None


class ResumeJob(Edit, frozen=True, kw_only=True):
    """Let the schedule go on; not paused is no change.

    Attributes:
        catch_up: what becomes of what fell due in the pause; None: what the pause says.
        switch: only what this has paused; None: whoever paused it.
    """

    by: str
    catch_up: CatchUp | None = None
    switch: str | None = None


class SkipOccurrence(Edit, frozen=True, kw_only=True):
    """Don't run what is scheduled for this time; already so is no change."""

    scheduled_for: datetime
    by: str
    reason: str = ""


class UnskipOccurrence(Edit, frozen=True, kw_only=True):
    """Run it after all; already so is no change."""

    scheduled_for: datetime
    by: str


class DeleteJob(Edit, frozen=True, kw_only=True):
    """End all decisions for the job."""

    by: str


class EraseJob(Value, frozen=True, kw_only=True):
    """Let nobody read the job's personal data any more, and end the job; already so is no change.

    A deleted job can be erased too, as long after as anybody likes.
    """

    by: str
    reason: str


class TriggerJob(Edit, frozen=True, kw_only=True):
    """Run the job now, as run `run_id`; None leaves what the job says.

    Attributes:
        run_id: a chance id in the job's partition.
        job_data: replaces the job's (the caller has merged and checked it).
    """

    run_id: str
    correlation_id: str
    job_data: dict[str, Any] | None = None
    priority: int | None = None
    overlap_policy: OverlapPolicy | None = None


class FollowRun(Value, frozen=True, kw_only=True):
    """Run the job, as run `run_id`, because the run `of` of another job has ended.

    Attributes:
        run_id: follows from `of` and the job.
        depth: how many runs of other jobs led to it.
        job_data: laid over the job's; None leaves that as it is.
    """

    run_id: str
    correlation_id: str
    of: str
    depth: int
    job_data: dict[str, Any] | None = None


class RetryRun(Value, frozen=True, kw_only=True):
    """Do an ended run of the job again, as run `run_id`; None leaves the overlap policy to the job.

    Attributes:
        run_id: a chance id in the job's partition.
        of: the ended run.
        scheduled_for: its nominal time.
        revision: its job revision.
        spec: what it was to do, and this one is (the caller may have changed the data, and checked it).
    """

    run_id: str
    correlation_id: str
    of: str
    scheduled_for: datetime
    revision: int
    spec: RunSpec
    overlap_policy: OverlapPolicy | None = None


class RequestBackfill(Edit, frozen=True, kw_only=True):
    """Run occurrences that have gone by, as backfill `backfill_id`.

    Attributes:
        backfill_id: a chance id in the job's partition.
        times: Unix ms, in order; found by the schedule of the revision in `if_revision`.
        job_data: replaces the job's (the caller has merged and checked it); None leaves it.
        priority: None leaves what the job says.
    """

    backfill_id: str
    which: Which
    from_: datetime
    to: datetime
    times: tuple[int, ...]
    max_parallel: int
    by: str
    reason: str = ""
    correlation_id: str
    job_data: dict[str, Any] | None = None
    priority: int | None = None


class CancelBackfill(Value, frozen=True, kw_only=True):
    """Ask for no more of its runs."""

    by: str
    reason: str = ""


class Wake(Value, frozen=True, kw_only=True):
    """The time in the due index has come: decide what is due, for a job or a run."""


class StartRun(Value, frozen=True, kw_only=True):
    """Begin the next attempt on this worker."""

    worker: str


class HoldRun(Value, frozen=True, kw_only=True):
    """Let a queued run wait for a limit: until somebody releases it, `until` at the latest. See RunHeld."""

    reason: HoldReason
    key: str
    until: datetime


class ReleaseRun(Value, frozen=True, kw_only=True):
    """Queue a run that a limit holds; any other is left as it is."""


class CancelRun(Value, frozen=True, kw_only=True):
    """End the run: at once if no handler is at work, else as soon as that has been stopped."""

    by: str
    reason: str = ""


class Output(Value, frozen=True, kw_only=True):
    """What an attempt has logged: the end of it, `dropped` bytes before that were not kept."""

    text: str
    dropped: int = 0


class SucceedRun(Value, frozen=True, kw_only=True):
    """The handler of the start fenced by `fence` returned `result`."""

    fence: str
    result: Any = None
    output: Output | None = None


class FailRun(Value, frozen=True, kw_only=True):
    """The handler of the start fenced by `fence` raised.

    Attributes:
        names: class names of the exception and its bases, bare and dotted (for retry_on, give_up_on).
        draw: in [0, 1), for the jitter of the back-off.
        retry_in_s: the handler asked for another attempt, if one is left, after so long; names don't matter then.
        give_up: the handler asked for none.
    """

    fence: str
    error: Failure
    names: tuple[str, ...]
    draw: float
    retry_in_s: float | None = None
    give_up: bool = False
    output: Output | None = None


class InterruptRun(Value, frozen=True, kw_only=True):
    """The handler of the start fenced by `fence` was stopped: its worker ends, or the run's cancel was heeded."""

    fence: str
    output: Output | None = None


class TellRelay(Value, frozen=True, kw_only=True):
    """Everybody was asked: `links` is what came of it."""

    links: tuple[ChainLink, ...]


class IssueApiKey(Value, frozen=True, kw_only=True):
    """Let whoever holds the key of this `hash` use the API; fields as in `shared.domain.apikey.ApiKey`."""

    id: str
    hash: str
    prefix: str
    name: str
    role: Role
    tenant: str
    owner: str
    by: str
    expires_at: datetime | None


class RevokeApiKey(Value, frozen=True, kw_only=True):
    """Let it open nothing any more; already so is no change."""

    by: str


class CalendarContent(Value, frozen=True, kw_only=True):
    """What a user sets of a calendar; fields as in `shared.domain.calendar.Calendar`."""

    description: str
    dates: tuple[Span, ...]
    weekdays: tuple[Weekday, ...]
    timezone: str | None


class EditCalendar(Value, frozen=True, kw_only=True):
    """A wish about a calendar that may have been made up from an older revision of it.

    Attributes:
        if_revision: the revisions that it may be carried out on; None for any.
        if_there: whether it must be there; None: it may or may not.
    """

    by: str
    if_revision: tuple[int, ...] | None = None
    if_there: bool | None = None


class ChangeCalendar(EditCalendar, frozen=True, kw_only=True):
    """Make the calendar, or replace all of it; what is so already is no change."""

    name: str
    tenant: str
    content: CalendarContent


class DeleteCalendar(EditCalendar, frozen=True, kw_only=True):
    """Have it exclude nothing any more."""


Report = SucceedRun | FailRun | InterruptRun
JobCommand = (
    CreateJob
    | UpdateJob
    | PauseJob
    | SuspendJob
    | ReplanJob
    | ResumeJob
    | SkipOccurrence
    | UnskipOccurrence
    | DeleteJob
    | EraseJob
    | TriggerJob
    | FollowRun
    | RetryRun
    | RequestBackfill
    | Wake
)
RunCommand = StartRun | HoldRun | ReleaseRun | CancelRun | Report | Wake
ApiKeyCommand = IssueApiKey | RevokeApiKey
BackfillCommand = CancelBackfill | Wake
RelayCommand = TellRelay | Wake
CalendarCommand = ChangeCalendar | DeleteCalendar
Command = JobCommand | RunCommand | BackfillCommand | RelayCommand | ApiKeyCommand | CalendarCommand
