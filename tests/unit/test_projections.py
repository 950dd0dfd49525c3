"""Rows are a function of the events, and of nothing else."""

import json
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from services.projector import hours, job_rows, projections, run_rows
from services.projector.trimming import Tail
from shared.domain import ids
from shared.domain.events import (
    Change,
    Failure,
    JobCompleted,
    JobCreated,
    JobDeleted,
    JobPaused,
    JobResumed,
    LogOpened,
    OccurrencesSkipped,
    RunFailed,
    RunInterrupted,
    RunLost,
    RunQueued,
    RunRequested,
    RunRetryPlanned,
    RunStarted,
    RunSucceeded,
)
from shared.domain.spec import run_spec
from shared.eventlog import snapshot
from shared.eventlog.envelope import Recorded, encode
from shared.eventlog.position import Position
from shared.readmodel import chain
from shared.testing import NOON, a_spec, at

JOB = ids.chance_id(NOON, 1, 7)
RUNS = [ids.derived_id(at(10 * n), 1, JOB, str(n)) for n in range(6)]
OUCH = Failure(class_="ValueError", message="ouch")


class Story:
    """Events of one partition, written down with the second (after NOON) of their commit."""

    def __init__(self, *, follows=True):
        self.follows = follows
        self.events = []

    def job(self, second, event):
        return self._add(second, Change(subject=f"job:{JOB}", event=event))

    def run(self, second, n, event):
        both = self.follows and isinstance(event, RunRequested | RunSucceeded | RunFailed)
        return self._add(second, Change(subject=f"run:{RUNS[n]}", event=event, job=JOB, both=both))

    def _add(self, second, change):
        pos = len(self.events) + 1
        self.events.append(
            Recorded(
                partition=1,
                position=Position(5, pos),
                id=ids.event_id(ids.to_ms(at(second)), pos),
                type=type(change.event).__name__,
                v=1,
                subject=change.subject.replace(":", "/"),
                job=change.job,
                advances="both" if change.both else "subject",
                at=ids.to_ms(at(second)),
                actor="tester",
                cause="",
                corr="",
                trace="",
                data=encode(change.event),
            )
        )
        return self

    def created(self, second=0, **spec):
        made = JobCreated(
            spec=a_spec(every=10, **spec), owner="ann", tenant="t", created_at=at(second), anchor_at=at(second),
            next_for=at(second + 10),
        )  # fmt: skip
        return self.job(second, made)

    def requested(self, second, n, **changes):
        event = RunRequested(
            job_id=JOB, scheduled_for=at(10 * n), fires_at=at(10 * n), trigger="schedule", revision=1,
            spec=run_spec(a_spec(), tenant="t"), follows=self.follows, correlation_id="c", requested_at=at(second),
            next_for=at(10 * n + 10),
        )  # fmt: skip
        return self.run(second, n, replace(event, **changes))

    def folded(self):
        return projections.fold(self.events, {}, {})

    def row(self, n):
        return self.folded().runs[RUNS[n]]

    def entry(self):
        return self.folded().jobs[JOB]

    def status(self):
        entry = self.entry()
        return job_rows.status_of(entry.job, entry.active_runs, entry.last_run)


def started(attempt=1, worker="w1"):
    return RunStarted(attempt=attempt, worker=worker)


def succeeded(result=None, attempt=1):
    return RunSucceeded(attempt=attempt, result=result)


def test_a_run_that_succeeds_shows_when_it_was_due_started_and_ended():
    story = Story().created().requested(10.1, 1).run(10.5, 1, started()).run(12, 1, succeeded({"n": [1, 2]}))
    row = story.row(1)
    assert row.status == "succeeded"
    assert (row.scheduled_for, row.queued_at, row.started_at, row.finished_at) == (
        at(10),
        at(10.1),
        at(10.5),
        at(12),
    )
    assert (row.lateness_ms, row.duration_ms) == (500, 1500)
    assert json.loads(row.result) == {"n": [1, 2]}
    assert [(each["attempt"], each["outcome"]) for each in row.attempts] == [(1, "succeeded")]
    assert (row.epoch, row.pos) == (5, 4)


def test_each_attempt_keeps_its_outcome_and_the_first_start_decides_how_late_a_run_was():
    story = Story().created().requested(10, 1).run(11, 1, started())
    planned = RunRetryPlanned(attempt=1, error=OUCH, delay_seconds=1.0, wake_at=at(13))
    story.run(12, 1, planned)
    assert story.row(1).status == "retrying"
    assert story.row(1).error == {"class": "ValueError", "message": "ouch"}
    story.run(13, 1, RunQueued(queue="default", priority=5, reason="retry")).run(20, 1, started(2, "w2"))
    story.run(21, 1, succeeded(attempt=2))
    row = story.row(1)
    assert (row.attempt, row.worker, row.lateness_ms, row.duration_ms, row.error) == (
        2,
        "w2",
        1000,
        1000,
        None,
    )
    assert [(each["worker"], each["outcome"]) for each in row.attempts] == [
        ("w1", "failed"),
        ("w2", "succeeded"),
    ]
    assert row.attempts[0]["finished_at"] == "2026-11-23T12:00:12.000Z"


@pytest.mark.parametrize(
    ("event", "outcome"),
    [(RunLost(attempt=1, worker="w1"), "lost"), (RunInterrupted(attempt=1, worker="w1"), "interrupted")],
)
def test_an_attempt_that_lost_its_worker_or_was_handed_back_says_so(event, outcome):
    story = Story().created().requested(10, 1).run(11, 1, started()).run(15, 1, event)
    story.run(15, 1, RunQueued(queue="default", priority=5, reason=outcome))
    assert story.row(1).status == "queued"
    assert story.row(1).queued_at == at(15)
    assert [each["outcome"] for each in story.row(1).attempts] == [outcome]


def test_a_run_that_is_poison_fails_but_its_last_attempt_stays_lost():
    story = Story().created().requested(10, 1).run(11, 1, started())
    story.run(15, 1, RunLost(attempt=1, worker="w1")).run(15, 1, RunFailed(attempt=1, error=OUCH))
    assert story.row(1).status == "failed"
    assert story.row(1).error["class"] == "ValueError"
    assert [each["outcome"] for each in story.row(1).attempts] == ["lost"]


def test_a_row_is_the_same_after_it_was_stored_and_loaded():
    story = Story().created().requested(10, 1).run(11, 1, started())
    story.run(12, 1, RunRetryPlanned(attempt=1, error=OUCH, delay_seconds=1.0, wake_at=at(13)))
    row = story.row(1)
    assert run_rows.loaded(run_rows.stored(row)) == row


def skipped(reason, next_for):
    return OccurrencesSkipped(from_=at(10), to=at(10), count=1, reason=reason, next_for=next_for)


PAUSED = JobPaused(by="ann", reason="audit", paused_at=at(30))


@pytest.mark.parametrize(
    ("tell", "status"),
    [
        (lambda s: s, "pending"),
        (lambda s: s.requested(10, 1), "running"),
        (lambda s: s.requested(10, 1).run(11, 1, started()).run(12, 1, succeeded()), "pending"),
        (lambda s: s.requested(10, 1).run(12, 1, RunFailed(attempt=1, error=OUCH)), "pending"),
        (lambda s: s.requested(10, 1).job(30, PAUSED), "paused"),
        (lambda s: s.job(30, PAUSED).job(40, JobResumed(by="ann", resumed_at=at(40))), "pending"),
        (lambda s: s.requested(10, 1, next_for=None).job(10, JobCompleted()), "running"),
        (
            lambda s: s.requested(10, 1, next_for=None).job(10, JobCompleted()).run(12, 1, succeeded()),
            "completed",
        ),
        (
            lambda s: (
                s.requested(10, 1, next_for=None)
                .job(10, JobCompleted())
                .run(12, 1, RunFailed(attempt=1, error=OUCH))
            ),
            "failed",
        ),
        (lambda s: s.requested(10, 1).job(30, JobDeleted(by="ann", deleted_at=at(30))), "deleted"),
    ],
)
def test_a_jobs_status_follows_the_precedence_that_clients_are_promised(tell, status):
    assert tell(Story().created()).status() == status


def test_a_job_that_does_not_follow_its_runs_still_shows_them():
    story = Story(follows=False).created(overlap_policy="allow").requested(10, 1).requested(20, 2)
    assert (story.status(), story.entry().active_runs) == ("running", 2)
    story.run(21, 1, started()).run(22, 1, succeeded()).run(23, 2, RunFailed(attempt=0, error=OUCH))
    entry = story.entry()
    assert (story.status(), entry.active_runs) == ("pending", 0)
    assert entry.last_run == (RUNS[2], "failed", at(23))
    assert entry.version == Position(5, 1), "no event has advanced the job since it was created"
    assert entry.position == Position(5, 6)


def test_next_run_time_is_null_while_a_job_is_paused_and_comes_back():
    story = Story().created()
    row = dict(zip(JOB_COLUMNS, job_rows.stored(story.entry(), 1), strict=True))
    assert row["next_run_time"] == at(10)
    story.job(5, replace(PAUSED, paused_at=at(5)))
    row = dict(zip(JOB_COLUMNS, job_rows.stored(story.entry(), 1), strict=True))
    assert (row["next_run_time"], row["status"]) == (None, "paused")
    assert json.loads(row["paused"]) == {
        "by": "ann", "at": "2026-11-23T12:00:05.000Z", "reason": "audit", "until": None,
        "catch_up": "skip", "switch": None,
    }  # fmt: skip


JOB_COLUMNS = (
    "id", "partition", "owner", "tenant", "name", "description", "tags", "job_type", "queue", "priority", "spec",
    "revision", "status", "state", "active_runs", "next_run_time", "last_run_id", "last_run_status",
    "last_run_finished_at", "paused", "skipped", "created_at", "updated_at", "epoch", "pos",
)  # fmt: skip


def a_long_story():
    story = Story().created()
    story.requested(10, 1).run(11, 1, started()).run(12, 1, succeeded({"a": 1}))
    story.requested(20, 2).run(21, 2, started())
    story.run(22, 2, RunRetryPlanned(attempt=1, error=OUCH, delay_seconds=1.0, wake_at=at(23)))
    story.job(30, PAUSED)
    story.run(3700, 2, RunQueued(queue="default", priority=5, reason="retry")).run(3701, 2, started(2))
    story.run(3702, 2, RunFailed(attempt=2, error=OUCH))
    story.job(3800, skipped("paused", at(3810))).job(3800, JobResumed(by="ann", resumed_at=at(3800)))
    return story


@given(cuts=st.sets(st.integers(1, 12)))
def test_it_does_not_matter_how_the_events_are_cut_into_batches(cuts):
    events = a_long_story().events
    whole = projections.fold(events, {}, {})
    jobs, runs, sums = {}, {}, {}
    edges = [0, *sorted(cuts), len(events)]
    for low, high in pairwise(edges):
        part = projections.fold(events[low:high], jobs, runs)
        for key, hour in part.hours.items():
            sums[key] = added(sums[key], hour) if key in sums else hour
    assert (jobs, runs) == (whole.jobs, whole.runs)
    assert sums == whole.hours


def added(one, other):
    """As add_hours.sql adds them."""
    both = {}
    for name in hours.Hour.__slots__:
        pair = (getattr(one, name), getattr(other, name))
        both[name] = max(pair) if name.endswith("_max") else sum(pair)
    return hours.Hour(**both)


def test_each_hour_counts_what_happened_in_it():
    rows = hours.stored(a_long_story().folded().hours, 1)
    assert [(row[1], row[2]) for row in rows] == [(NOON, "custom"), (NOON + timedelta(hours=1), "custom")]
    #          requested started succeeded failed retried lost interrupted  duration sum, max   first starts, lateness
    assert rows[0][3:15] == (2, 2, 1, 0, 1, 0, 0, 1000, 1000, 2, 2000, 1000)
    assert rows[1][3:15] == (0, 1, 0, 1, 0, 0, 0, 1000, 1000, 0, 0, 0)
    assert rows[0][15:] == (0, 0)  # cancelled, expired


def test_only_what_began_before_the_batch_is_loaded():
    events = a_long_story().requested(4000, 3).events
    assert projections.needed(events, {}, {}) == ([], [])
    assert projections.needed(events[1:], {}, {}) == ([JOB], [])
    assert projections.needed(events[5:], {}, {}) == ([JOB], [RUNS[2]])
    assert projections.needed(events[5:], {JOB: object()}, {RUNS[2]: object()}) == ([], [])


def test_an_event_that_cannot_be_read_is_set_aside_and_the_rest_goes_on():
    story = Story().created().requested(10, 1).run(11, 1, started())
    story.events[2] = replace(story.events[2], type="RunTeleported")
    story.run(12, 1, succeeded())
    folded = story.folded()
    assert [each.recorded.type for each in folded.unreadable] == ["RunTeleported"]
    assert folded.runs[RUNS[1]].status == "succeeded"
    assert folded.jobs[JOB].job is not None, "the start of a run doesn't advance its job"


def test_a_snapshot_never_passes_over_an_event_that_could_not_be_folded():
    story = Story().created().job(20, PAUSED)
    story.events[1] = replace(story.events[1], data="{}")
    story.job(30, JobDeleted(by="ann", deleted_at=at(30)))
    folded = story.folded()
    assert job_rows.snapshot_row(folded.jobs[JOB], 1)[-1] is None
    assert [each.recorded.position.pos for each in folded.unreadable] == [2]


def test_a_run_is_its_jobs_tenants_also_when_the_job_cannot_be_read_any_more():
    story = Story().created().requested(10, 1).job(20, PAUSED)
    story.events[2] = replace(story.events[2], data="{}")
    story.requested(30, 2)
    assert [story.row(n).tenant for n in (1, 2)] == ["t", "t"]
    unknown = Story().requested(10, 1).row(1)
    assert unknown.tenant == ""


def test_a_job_that_cannot_be_read_any_more_is_loaded_with_its_tenant():
    entry = job_rows.loaded((JOB, None, 5, 3, 1, None, None, None, 5, 4, "t"))
    assert (entry.job, entry.tenant) == (None, "t")
    assert job_rows.loaded((JOB, None, 5, 3, None, None, None, None, None, None, None)).tenant == ""


def test_a_snapshot_is_the_domains_own_state():
    entry = Story().created().entry()
    assert job_rows.snapshot_row(entry, 1) == (
        f"job:{JOB}",
        1,
        5,
        1,
        snapshot.SHAPES[type(entry.job)],
        snapshot.dump(entry.job),
    )


def test_the_opening_of_a_log_touches_no_ledger():
    opened = LogOpened(epoch=5, reason="first", previous=None, partitions=2)
    story = Story()
    story._add(0, Change(subject="log", event=opened))
    assert story.folded() == projections.Folded()


FIELDS = [1, 5, 2, "id", "JobPaused", 1, "job/x", "", "subject", 1000, "ann", "", "", "", "{}"]


def test_every_field_of_an_event_and_the_link_before_it_stand_in_its_link():
    link = chain.link(chain.GENESIS, FIELDS)
    assert len(FIELDS) == len(chain.FIELDS)
    assert chain.link(bytes([1] * 32), FIELDS) != link
    for index in range(len(FIELDS)):
        other = [*FIELDS]
        other[index] = f"{other[index]}1"
        assert chain.link(chain.GENESIS, other) != link, chain.FIELDS[index]


def test_a_link_cannot_be_had_by_moving_text_from_one_field_to_the_next():
    one = [*FIELDS[:10], "ab", "c", *FIELDS[12:]]
    other = [*FIELDS[:10], "a", "bc", *FIELDS[12:]]
    assert chain.link(chain.GENESIS, one) != chain.link(chain.GENESIS, other)


def test_the_newest_events_stay_in_the_log_for_whoever_tails_it():
    events = Story().created().events * 4
    tail = Tail(events_kept=8, bytes_kept=10**9)
    kept = [
        tail.add([replace(each, position=Position(1, 4 * n + k)) for k, each in enumerate(events)])
        for n in range(4)
    ]
    assert kept == [None, None, Position(1, 4), Position(1, 8)]


def test_large_events_leave_the_log_sooner():
    event = Story().created().events[0]
    tail = Tail(events_kept=1000, bytes_kept=2500)
    below = [tail.add([replace(event, position=Position(1, n), data="x" * 1000)]) for n in range(1, 4)]
    assert below == [None, None, Position(1, 2)]


def test_little_batches_leave_the_log_together_and_never_too_soon():
    event = Story().created().events[0]
    tail = Tail(events_kept=200, bytes_kept=10**9)
    below = {n: tail.add([replace(event, position=Position(1, n))]) for n in range(1, 1001)}
    trims = {n: at.pos for n, at in below.items() if at is not None}
    assert 70 <= len(trims) <= 1000 / 10
    assert all(200 <= n - pos + 1 < 220 for n, pos in trims.items())
