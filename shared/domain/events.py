"""The glossary: one frozen class a fact, past tense, immutable.

A class is a type of event; its fields are the event's `data`, written as JSON with a trailing underscore taken
off (`from_` is `from`). Times that matter stand in the data (`evolve` never sees the commit time); they are
aware UTC. Whatever announces an occurrence (`next_for`) says beside it when that fires (`next_fires_at`; None: at its
time), and if somebody wants it skipped, when the first one fires that isn't (`next_run_at`; None: there is none).
`VERSION` grows when a shape changes, together with an upcaster in `shared.eventlog.upcast`.

Facts about webhooks come with the issues that make them happen.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - the codec reads these annotations
from typing import Any, ClassVar, Literal

from shared.domain.exclude import Span  # noqa: TC001 - likewise
from shared.domain.roles import Role  # noqa: TC001 - likewise
from shared.domain.spec import CatchUp, JobSpec, RunSpec  # noqa: TC001 - likewise
from shared.domain.value import Value
from shared.domain.walk import ClockNote  # noqa: TC001 - likewise
from shared.domain.weekdays import Weekday  # noqa: TC001 - likewise

Trigger = Literal["schedule", "manual", "backfill", "retry", "chain"]
Which = Literal["missing", "failed", "all"]
SkipReason = Literal["misfire", "overlap", "paused", "deleted", "edited", "excluded", "calendar"]
Outcome = Literal["succeeded", "failed", "expired"]  # of a run that others may follow on
HoldReason = Literal["concurrency", "rate"]
QueueReason = Literal["retry", "lost", "interrupted", "released"]


class Event(Value, frozen=True, kw_only=True):
    """A fact. The class name is the event's type."""

    VERSION: ClassVar[int] = 1


class Failure(Value, frozen=True, kw_only=True):
    """What went wrong in a handler: the exception's class name and message (≤ 2,000 characters)."""

    class_: str
    message: str


# Jobs.


class JobCreated(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A user defined a job. `anchor_at`: where its interval counts from. `next_for`: its first occurrence."""

    VERSION: ClassVar[int] = 4
    spec: JobSpec
    owner: str
    tenant: str
    created_at: datetime
    anchor_at: datetime
    next_for: datetime | None
    next_fires_at: datetime | None = None
    next_run_at: datetime | None = None


class JobUpdated(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A user replaced the specification; runs already requested keep the old one."""

    VERSION: ClassVar[int] = 4
    spec: JobSpec
    revision: int
    updated_at: datetime
    anchor_at: datetime
    next_for: datetime | None
    next_fires_at: datetime | None = None
    next_run_at: datetime | None = None


class JobPaused(Event, frozen=True, kw_only=True):
    """Somebody stopped the schedule, or said of a stopped one why or until when. Triggers still work.

    Attributes:
        until: when the pause ends by itself; None: when somebody ends it.
        catch_up: what its end makes of what fell due meanwhile, unless who ends it says otherwise.
        switch: what was thrown to pause this job with others (`tag:<tag>`, `all`); None: it was paused singly.
    """

    VERSION: ClassVar[int] = 2

    by: str
    reason: str
    paused_at: datetime
    until: datetime | None = None
    catch_up: CatchUp = "skip"
    switch: str | None = None


class JobResumed(Event, frozen=True, kw_only=True):
    """The schedule goes on: somebody said so, or (`by` timer) the pause had its end.

    Attributes:
        resumed_at: until when occurrences fell due in the pause; of one that ended by itself, its `until`.
        catch_up: what becomes of those. `skip`: the events before this one have skipped them; else the events after it
            decide them, before any that fell due later.
    """

    VERSION: ClassVar[int] = 2

    by: str
    resumed_at: datetime
    catch_up: CatchUp = "skip"


class JobDeleted(Event, frozen=True, kw_only=True):
    """A user deleted the job. Nothing is decided for it any more; started and queued runs go on."""

    by: str
    deleted_at: datetime


class PersonalDataErased(Event, frozen=True, kw_only=True):
    """The job's personal data is to be read by nobody any more: whoever archives this destroys the key that opens it.

    The only event that may follow the job's JobDeleted. Runs that are still queued fail of it.

    Attributes:
        reason: why, in the words of whoever asked for it; never personal data itself.
    """

    by: str
    reason: str
    erased_at: datetime


class JobCompleted(Event, frozen=True, kw_only=True):
    """The schedule has no occurrence left."""


class OccurrencesSkipped(Event, frozen=True, kw_only=True, omit_defaults=True):
    """`count` consecutive occurrences, from the first to the last, will not run.

    Attributes:
        from_: nominal time of the first.
        to: nominal time of the last.
        count: how many occurrences of the schedule lie in the range, both ends included.
        reason: why.
        by: the run that stood in the way (reason `overlap`), who skipped them (`excluded`), or the calendar that
            excludes them (`calendar`: `<name>@<position>` of its last event); else None.
        next_for: the next undecided occurrence of the job, or None.
        clock: what was done where clocks changed, from the occurrence before up to `to`.
    """

    VERSION: ClassVar[int] = 3

    from_: datetime
    to: datetime
    count: int
    reason: SkipReason
    by: str | None = None
    next_for: datetime | None
    clock: tuple[ClockNote, ...] = ()
    next_fires_at: datetime | None = None
    next_run_at: datetime | None = None


class OccurrenceExcluded(Event, frozen=True, kw_only=True):
    """Somebody wants an occurrence skipped when its time comes."""

    scheduled_for: datetime
    by: str
    reason: str
    excluded_at: datetime
    next_run_at: datetime | None = None


class OccurrenceIncluded(Event, frozen=True, kw_only=True):
    """An occurrence that was to be skipped is to run after all."""

    scheduled_for: datetime
    by: str
    included_at: datetime
    next_run_at: datetime | None = None


class ScheduleReplanned(Event, frozen=True, kw_only=True):
    """What was announced last is taken back, as the rule that it followed has changed: other zone tables came.

    The only exception to "what was announced stays announced".

    Attributes:
        reason: what has changed.
        from_: version of the zone tables that it was announced by, or None if nobody has noted that.
        to: of those that it is announced by now.
        was_for: the occurrence that was announced.
        next_for: the one that is announced instead, which may be past; None: none is left. If somebody wanted the old
            one skipped, it is this one that is.
        replanned_at: when it was decided.
    """

    reason: Literal["tzdata"] = "tzdata"
    from_: str | None
    to: str
    was_for: datetime
    next_for: datetime | None
    next_fires_at: datetime | None = None
    next_run_at: datetime | None = None
    replanned_at: datetime


# Runs.


class RunRequested(Event, frozen=True, kw_only=True, omit_defaults=True):
    """A run was asked for and, unless held, stands in its work stream from here on.

    Attributes:
        job_id: the job it belongs to.
        scheduled_for: nominal time; of a trigger, the time it was asked for.
        fires_at: `scheduled_for` with jitter.
        trigger: who asked.
        of: the run or occurrence it repeats, or follows on; or None.
        revision: of the job, when it was asked for.
        spec: what to do; the run is pinned to it.
        held: it waits until no other run of its job is active, and is queued then.
        follows: whether the job keeps track of its runs, so that their ends advance it too.
        correlation_id: of the HTTP request behind a trigger, else the run's own id.
        requested_at: when it was decided.
        next_for: the job's next occurrence after this one (trigger `schedule` only).
        clock: what was done where clocks changed, from the occurrence before up to this one (likewise).
        calendars: those that didn't exclude it, `<name>@<position>` of their last event; `<name>@none`: there was none.
        depth: how many runs of other jobs led to it (trigger `chain`).
        backfill: id of the backfill that asked for it (trigger `backfill` only).
    """

    VERSION: ClassVar[int] = 5

    job_id: str
    scheduled_for: datetime
    fires_at: datetime
    trigger: Trigger
    of: str | None = None
    revision: int
    spec: RunSpec
    held: bool = False
    follows: bool
    correlation_id: str
    requested_at: datetime
    next_for: datetime | None = None
    clock: tuple[ClockNote, ...] = ()
    next_fires_at: datetime | None = None
    next_run_at: datetime | None = None
    calendars: tuple[str, ...] = ()
    depth: int = 0
    backfill: str | None = None


class RunQueued(Event, frozen=True, kw_only=True):
    """A run stands in the work stream of `queue` and `priority` (again), under this event's position.

    If it has waited for its job's other runs (reason `released`), the job advances with it.
    """

    queue: str
    priority: int
    reason: QueueReason


class RunHeld(Event, frozen=True, kw_only=True):
    """A run that was to start waits for a limit, and stands in no work stream meanwhile.

    Attributes:
        reason: `concurrency`: enough runs of its key are at work; `rate`: enough of its job type have just started.
        key: the concurrency key, or the job type.
        until: when it is queued again if nobody has done so before; of a rate, its turn.
        since: when it was first held, of this attempt: its place among those that wait.
    """

    reason: HoldReason
    key: str
    until: datetime
    since: datetime


class RunStarted(Event, frozen=True, kw_only=True):
    """A worker began attempt number `attempt`. The position of this event is the fence of that start."""

    attempt: int
    worker: str


class RunSucceeded(Event, frozen=True, kw_only=True):
    """The handler returned `result` (JSON). Terminal."""

    attempt: int
    result: Any = None


class RunRetryPlanned(Event, frozen=True, kw_only=True):
    """The attempt failed; the next one is queued at `wake_at`, `delay_seconds` (already drawn) after this."""

    attempt: int
    error: Failure
    delay_seconds: float
    wake_at: datetime


class RunLost(Event, frozen=True, kw_only=True):
    """The lease of the attempt ran out: its worker is dead, or cut off. Its result will be refused."""

    attempt: int
    worker: str


class RunInterrupted(Event, frozen=True, kw_only=True):
    """A worker that is stopping handed the run back before its handler had ended. Not a failure."""

    attempt: int
    worker: str


class RunOutput(Event, frozen=True, kw_only=True):
    """What the handler of an attempt has logged: the last of it, `dropped` bytes before that were not kept."""

    attempt: int
    text: str
    dropped: int = 0


class RunCancelRequested(Event, frozen=True, kw_only=True):
    """Somebody wants the running handler stopped. What the same start reports before it heeds that still counts.

    Of a run that isn't running it is its job that wants it ended, for a run that replaces it: its wake ends it.
    """

    by: str
    reason: str
    requested_at: datetime


class RunFailed(Event, frozen=True, kw_only=True):
    """No attempt is left: a dead letter. Terminal."""

    attempt: int
    error: Failure


class RunCancelled(Event, frozen=True, kw_only=True):
    """The run was stopped, or never begun, as somebody wished. Terminal. `attempt` is the latest; 0 = none."""

    attempt: int
    by: str
    reason: str
    cancelled_at: datetime


class RunExpired(Event, frozen=True, kw_only=True):
    """Nobody had started the run by `start_by`, its start deadline. Terminal."""

    start_by: datetime


OUTCOMES: dict[type[Event], str] = {  # how a run has ended: the state that each terminal event leads to
    RunSucceeded: "succeeded",
    RunFailed: "failed",
    RunCancelled: "cancelled",
    RunExpired: "expired",
}
TERMINAL: tuple[type[Event], ...] = tuple(OUTCOMES)


# Backfills.


class BackfillRequested(Event, frozen=True, kw_only=True):
    """Somebody wants occurrences of a job run that have gone by; its job takes no other until it is over.

    Attributes:
        which: of the occurrences from `from_` (inclusive) to `to` (exclusive), those that no run was asked for, those
            whose newest run ended badly, or all.
        times: these, as they were found: Unix ms, in order.
        max_parallel: so many of its runs may be unfinished at a time.
        revision: of the job, when it was asked for.
        spec: what its runs are to do.
        correlation_id: of the request, and of all its runs.
    """

    job_id: str
    tenant: str
    which: Which
    from_: datetime
    to: datetime
    times: tuple[int, ...]
    max_parallel: int
    revision: int
    spec: RunSpec
    by: str
    reason: str
    correlation_id: str
    requested_at: datetime


class BackfillAdvanced(Event, frozen=True, kw_only=True):
    """A backfill has asked for runs, whose events follow; or runs of it have ended.

    Attributes:
        requested: how many it has asked for so far.
        succeeded: how many of these have succeeded so far.
        failed: how many have ended otherwise.
        begun: ids of those that it asks for now.
        ended: ids of those that have just ended.
        advanced_at: when.
    """

    requested: int
    succeeded: int
    failed: int
    begun: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    advanced_at: datetime


class BackfillCompleted(Event, frozen=True, kw_only=True):
    """All runs of a backfill have ended. Terminal."""

    succeeded: int
    failed: int
    completed_at: datetime


class BackfillCancelled(Event, frozen=True, kw_only=True):
    """A backfill asks for no more runs. What it has asked for goes on, and is still counted."""

    by: str
    reason: str
    cancelled_at: datetime


# Chains.


class ChainLink(Value, frozen=True, kw_only=True):
    """What came of one follower.

    Attributes:
        job_id: the follower.
        run_id: the run that was asked of it; None if none was.
        refused: why not: `no-such-job`, `paused`, `overlap`, `too-deep`; None if it was asked.
    """

    job_id: str
    run_id: str | None = None
    refused: str | None = None


class ChainRequested(Event, frozen=True, kw_only=True):
    """A run has ended in a way that others follow on; written with its end.

    Attributes:
        outcome: how it has ended.
        error: what it has failed of, else None.
        followers: ids of the jobs to be triggered.
        mail_to: addresses to be told that it failed.
        depth: how many runs of other jobs led to the run.
        correlation_id: of the run; its followers' runs get it, too.
    """

    outcome: Outcome
    error: Failure | None
    followers: tuple[str, ...]
    mail_to: tuple[str, ...]
    depth: int
    correlation_id: str
    requested_at: datetime


class ChainTriggered(Event, frozen=True, kw_only=True):
    """Everybody who follows on the run was asked, or refused; `links` in the order of the followers, mail last."""

    links: tuple[ChainLink, ...]


# API keys.


class ApiKeyIssued(Event, frozen=True, kw_only=True):
    """Somebody was given a key, which was shown once and is kept nowhere: `hash` is its SHA-256 (shared.domain.apikey).

    Attributes:
        prefix: the key's first characters.
        owner: whoever it acts for.
        by: whoever issued it.
        expires_at: None: never.
    """

    id: str
    hash: str
    prefix: str
    name: str
    role: Role
    tenant: str
    owner: str
    by: str
    issued_at: datetime
    expires_at: datetime | None


class ApiKeyRevoked(Event, frozen=True, kw_only=True):
    """The key opens nothing any more."""

    by: str
    revoked_at: datetime


# Calendars.


class CalendarChanged(Event, frozen=True, kw_only=True):
    """Somebody made a calendar or replaced it: this is all of it (shared.domain.calendar).

    Attributes:
        revision: 1 for the first of the name, more for each change and deletion.
        dates: excluded dates.
        weekdays: excluded every week.
        timezone: that dates and weekdays are of; None: each job's.
    """

    name: str
    tenant: str
    revision: int
    description: str
    dates: tuple[Span, ...]
    weekdays: tuple[Weekday, ...]
    timezone: str | None
    by: str
    created_at: datetime
    changed_at: datetime


class CalendarDeleted(Event, frozen=True, kw_only=True):
    """Somebody deleted a calendar: it excludes nothing any more. Its revision counts on."""

    name: str
    tenant: str
    revision: int
    by: str
    created_at: datetime
    deleted_at: datetime


# The log itself.


class LogOpened(Event, frozen=True, kw_only=True):
    """A partition's log was compared with the archive and opened for a new epoch.

    Attributes:
        epoch: the incarnation that begins with this event.
        reason: `first`; `restart`: log and archive agreed; `heal`: the log was made again from the archive.
        previous: (epoch, pos, event id) of the event before it, or None at the very first.
        partitions: of the deployment.
    """

    epoch: int
    reason: Literal["first", "restart", "heal"]
    previous: tuple[int, int, str] | None
    partitions: int


ALL: tuple[type[Event], ...] = (
    JobCreated, JobUpdated, JobPaused, JobResumed, JobDeleted, PersonalDataErased, JobCompleted, OccurrencesSkipped,
    OccurrenceExcluded, OccurrenceIncluded, ScheduleReplanned,
    RunRequested, RunQueued, RunHeld, RunStarted, RunSucceeded, RunRetryPlanned, RunLost, RunInterrupted, RunFailed,
    RunOutput, RunCancelRequested, RunCancelled, RunExpired,
    BackfillRequested, BackfillAdvanced, BackfillCompleted, BackfillCancelled, ChainRequested, ChainTriggered,
    ApiKeyIssued, ApiKeyRevoked, CalendarChanged, CalendarDeleted, LogOpened,
)  # fmt: skip


class Change(Value, frozen=True, kw_only=True):
    """An event, and what it is about.

    Attributes:
        subject: `job:<id>`, `run:<id>`, `backfill:<id>` or `apikey:<hash>`, the aggregate the event tells of.
        job: id of the job a run or backfill belongs to, else ''.
        both: that job advances with this event as well as the run or backfill.
    """

    subject: str
    event: Event
    job: str = ""
    both: bool = False

    @property
    def advances(self) -> tuple[str, ...]:
        """The aggregates whose version this event becomes."""
        return (self.subject, f"job:{self.job}") if self.both else (self.subject,)


class Decision(Value, frozen=True, kw_only=True):
    """What a command leads to.

    Attributes:
        changes: in order; none means that there is nothing to do.
        settled: False when a backlog was too long for one unit: commit these, then decide the command again.
    """

    changes: tuple[Change, ...] = ()
    settled: bool = True
