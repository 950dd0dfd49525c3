"""What an explanation can come to: one code a finding, and what it means. Clients may rely on both."""

from __future__ import annotations

from enum import StrEnum

from shared.readmodel.overdue import GRACE


class Code(StrEnum):
    """What was found; MEANINGS has a line for each."""

    SCHEDULED = "scheduled"
    DST_MOVED = "dst_moved"
    DST_SKIPPED = "dst_skipped"
    DST_REPEATED = "dst_repeated"
    JITTERED = "jittered"
    FIRED = "fired"
    CAUGHT_UP = "caught_up"
    PAUSE_CAUGHT_UP = "pause_caught_up"
    DECIDED_LATE = "decided_late"
    NO_TIMER = "no_timer"
    LOG_OPENED = "log_opened"
    MISFIRE = "misfire"
    OVERLAP = "overlap"
    PAUSED = "paused"
    PAUSED_BY_FAILURES = "paused_by_failures"
    PAUSED_UNDECIDABLE = "paused_undecidable"
    PAUSE_SKIPPED = "pause_skipped"
    PAUSE_PENDING = "pause_pending"
    CALENDAR = "calendar"
    EXCLUDED_DATE = "excluded_date"
    OUTSIDE_WINDOW = "outside_window"
    SKIPPED_BY_HAND = "skipped_by_hand"
    EDITED = "edited"
    DELETED = "deleted"
    ERASED = "erased"
    NOT_CREATED = "not_created"
    COMPLETED = "completed"
    NO_SCHEDULE = "no_schedule"
    NO_OCCURRENCE = "no_occurrence"
    UNREADABLE_SCHEDULE = "unreadable_schedule"
    REPLANNED = "replanned"
    OVERDUE = "overdue"
    AHEAD = "ahead"
    TRIGGERED = "triggered"
    RETRIED = "retried"
    CHAINED = "chained"
    BACKFILLED = "backfilled"
    HELD_BY_OVERLAP = "held_by_overlap"
    HELD_BY_CONCURRENCY = "held_by_concurrency"
    HELD_BY_RATE = "held_by_rate"
    RELEASED = "released"
    QUEUED_BEHIND = "queued_behind"
    NO_EXECUTOR = "no_executor"
    IN_QUEUE = "in_queue"
    STARTED = "started"
    RUNNING = "running"
    ATTEMPT_FAILED = "attempt_failed"
    QUEUED_AGAIN = "queued_again"
    WORKER_LOST = "worker_lost"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    RETRIES_USED_UP = "retries_used_up"
    GIVEN_UP = "given_up"
    POISON = "poison"
    CANCEL_REQUESTED = "cancel_requested"
    CANCELLED = "cancelled"
    REPLACED = "replaced"
    START_DEADLINE = "start_deadline"
    HANDED_ON = "handed_on"
    CREATED = "created"
    REVISED = "revised"
    RESUMED = "resumed"
    BACKFILLING = "backfilling"
    ACTIVE = "active"
    LAST_RUN = "last_run"
    NEXT = "next"


MEANINGS: dict[Code, str] = {
    Code.SCHEDULED: "the schedule has an occurrence at that time",
    Code.DST_MOVED: "the wall clock left its time of day out: the occurrence moved to the end of the gap",
    Code.DST_SKIPPED: "the wall clock left its time of day out: there was no occurrence",
    Code.DST_REPEATED: "the wall clock showed its time of day twice: one of the two counts",
    Code.JITTERED: "it fires later than its time, by the job's jitter",
    Code.FIRED: "the schedule asked for a run",
    Code.CAUGHT_UP: "it was later than the grace, and run all the same: misfire_policy",
    Code.PAUSE_CAUGHT_UP: "it fell due in a pause whose end had it caught up",
    Code.DECIDED_LATE: f"decided more than {GRACE.total_seconds():.0f} s late, though a timer was at work",
    Code.NO_TIMER: "no timer of its partition was alive from when it was due: the log has no event of one",
    Code.LOG_OPENED: "the log was opened anew meanwhile: Redis had been restarted, lost or replaced",
    Code.MISFIRE: "skipped: it was later than the grace, and misfire_policy has no run for it",
    Code.OVERLAP: "skipped: another run of the job was active, and overlap_policy lets none run beside it",
    Code.PAUSED: "the job was paused by somebody",
    Code.PAUSED_BY_FAILURES: "the job was paused as so many of its runs had failed: pause_after_failures",
    Code.PAUSED_UNDECIDABLE: "the job was paused by the timer, which could not decide its schedule",
    Code.PAUSE_SKIPPED: "skipped: it fell due in a pause",
    Code.PAUSE_PENDING: "undecided: the end of the pause will skip it or catch it up",
    Code.CALENDAR: "skipped: a calendar excludes it",
    Code.EXCLUDED_DATE: "no occurrence: the job excludes that date",
    Code.OUTSIDE_WINDOW: "no occurrence: it lies before start_at or after end_at",
    Code.SKIPPED_BY_HAND: "skipped, or to be skipped: somebody said so",
    Code.EDITED: "no occurrence any more: the schedule was edited before it came",
    Code.DELETED: "the job was deleted",
    Code.ERASED: "the job's personal data was erased, which deletes it",
    Code.NOT_CREATED: "the job was not there yet",
    Code.COMPLETED: "the schedule had no occurrence left",
    Code.NO_SCHEDULE: "the job has no schedule: it runs when triggered",
    Code.NO_OCCURRENCE: "the schedule has no occurrence at that time; `details` has the nearest ones",
    Code.UNREADABLE_SCHEDULE: "this version, or its zone tables, can't read the job's schedule",
    Code.REPLANNED: "it was announced, and moved as newer zone tables came",
    Code.OVERDUE: "undecided, though it is due",
    Code.AHEAD: "undecided: its time has not come",
    Code.TRIGGERED: "somebody asked for the run",
    Code.RETRIED: "somebody had an ended run done again",
    Code.CHAINED: "the run follows on one of another job",
    Code.BACKFILLED: "a backfill asked for the run",
    Code.HELD_BY_OVERLAP: "it waited until no other run of its job was active: overlap_policy",
    Code.HELD_BY_CONCURRENCY: "it waited as enough runs of its concurrency_key were at work",
    Code.HELD_BY_RATE: "it waited as enough runs of its job type had just started",
    Code.RELEASED: "what held it made room, and it was queued",
    Code.QUEUED_BEHIND: "it waited while other runs of its queue were started",
    Code.NO_EXECUTOR: "it waited while no executor began or ended anything of its queue",
    Code.IN_QUEUE: "it stands in its queue",
    Code.STARTED: "a worker began an attempt",
    Code.RUNNING: "the attempt has not ended",
    Code.ATTEMPT_FAILED: "the attempt failed, and another one is planned",
    Code.QUEUED_AGAIN: "it was queued for another attempt",
    Code.WORKER_LOST: "the worker's lease ran out: it died, or was cut off",
    Code.INTERRUPTED: "the worker was stopping, and handed the run back",
    Code.SUCCEEDED: "it succeeded",
    Code.RETRIES_USED_UP: "it failed: no attempt was left",
    Code.GIVEN_UP: "it failed, of something that is not retried",
    Code.POISON: "it failed: it had lost too many workers",
    Code.CANCEL_REQUESTED: "somebody wanted it ended",
    Code.CANCELLED: "it was cancelled",
    Code.REPLACED: "it was ended for the sake of a newer run: overlap_policy",
    Code.START_DEADLINE: "nobody had started it by its start deadline: it expired",
    Code.HANDED_ON: "its end was handed on to jobs that follow on it",
    Code.CREATED: "the job was made",
    Code.REVISED: "the job was edited, last by this",
    Code.RESUMED: "its pause has ended",
    Code.BACKFILLING: "a backfill of it is under way",
    Code.ACTIVE: "a run of it has not ended",
    Code.LAST_RUN: "the run that ended last",
    Code.NEXT: "when it runs next",
}
