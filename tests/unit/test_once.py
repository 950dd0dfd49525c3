"""What is kept as done once, made again from events."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from shared.domain import ids
from shared.domain.events import Change, JobPaused, RunCancelled, RunQueued, RunRequested, RunSucceeded
from shared.domain.spec import run_spec
from shared.eventlog import once
from shared.eventlog.envelope import Recorded, encode
from shared.eventlog.position import Position
from shared.testing import NOON, a_job_id, a_spec

OLD, NEW = a_job_id(), a_job_id()
REQUESTED = RunRequested(
    job_id=a_job_id(), scheduled_for=NOON, fires_at=NOON, trigger="retry", of=OLD, revision=1,
    spec=run_spec(a_spec(), tenant="t"), follows=True, correlation_id="c", requested_at=NOON,
)  # fmt: skip
DAY = timedelta(days=1)


def _change(event):
    return Change(subject=f"run:{NEW}", event=event)


def test_a_retry_is_kept_as_its_commit_kept_it_for_the_rest_of_its_day():
    kept = once.of_retry(OLD, answer=NEW)
    assert kept.ttl_ms == 24 * 3600 * 1000
    rebuilt = once.of_change(_change(REQUESTED), now=NOON + timedelta(hours=1))
    assert rebuilt == replace(kept, ttl_ms=23 * 3600 * 1000)


def test_each_run_has_a_digest_of_its_own_whoever_answers():
    assert once.of_retry(OLD, answer="a").digest == once.of_retry(OLD, answer="b").digest
    assert once.of_retry(OLD, answer="a").digest != once.of_retry(NEW, answer="a").digest


@pytest.mark.parametrize(
    ("event", "now"),
    [
        (REQUESTED, NOON + DAY),
        (REQUESTED, NOON + 2 * DAY),
        (replace(REQUESTED, trigger="manual", of=None), NOON),
        (replace(REQUESTED, trigger="backfill"), NOON),
        (RunSucceeded(attempt=1), NOON),
    ],
    ids=["a day old", "older", "of no run", "no retry", "no request"],
)
def test_nothing_else_is_kept_and_nothing_longer(event, now):
    assert once.of_change(_change(event), now=now) is None


KEY = once.key_of("ann", "POST /x", "k", asked="{}")


def _recorded(event, subject, cause):
    at = ids.to_ms(NOON)
    return Recorded(
        0, Position(1, 9), "id", type(event).__name__, event.VERSION, subject, "", "subject", at, "ann", cause, "c", "",
        encode(event),
    )  # fmt: skip


def test_a_key_is_kept_as_its_commit_kept_it_for_the_rest_of_its_day():
    paused = _recorded(JobPaused(by="ann", reason="", paused_at=NOON), "job/j", KEY.cause)
    kept = replace(KEY.once("job:j"), ttl_ms=23 * 3600 * 1000)
    assert list(once.of_event(paused, now=NOON + timedelta(hours=1))) == [kept]
    assert list(once.of_event(paused, now=NOON + DAY)) == []


def test_a_cancel_under_a_key_is_answered_by_its_run_and_not_by_the_one_that_takes_its_place():
    cancelled = RunCancelled(attempt=0, by="ann", reason="", cancelled_at=NOON)
    released = RunQueued(queue="default", priority=5, reason="released")
    unit = _recorded(cancelled, f"run/{OLD}", KEY.cause), _recorded(released, f"run/{NEW}", KEY.cause)
    assert [each.answer for event in unit for each in once.of_event(event, now=NOON)] == [f"run:{OLD}"]


def test_a_retry_under_a_key_keeps_both():
    requested = _recorded(REQUESTED, f"run/{NEW}", KEY.cause)
    both = list(once.of_event(requested, now=NOON))
    assert both == [once.of_retry(OLD, answer=NEW), KEY.once(f"run:{NEW}")]
    assert list(once.of_event(replace(requested, cause="an event's id"), now=NOON)) == both[:1]


def test_a_key_is_one_scopes_and_one_requests():
    others = [
        once.key_of("bob", "POST /x", "k", asked="{}"),
        once.key_of("ann", "POST /y", "k", asked="{}"),
        once.key_of("ann", "POST /x", "l", asked="{}"),
    ]
    assert len({each.digest for each in (KEY, *others)}) == 4
    assert once.key_of("ann", "POST /x", "k", asked="[]").digest == KEY.digest
    assert once.key_of("ann", "POST /x", "k", asked="[]").fingerprint != KEY.fingerprint
