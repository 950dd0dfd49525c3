"""What is kept as done once, made again from events."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from shared.domain.events import Change, RunRequested, RunSucceeded
from shared.domain.spec import run_spec
from shared.eventlog import once
from shared.testing import NOON, a_job_id, a_spec

OLD, NEW = a_job_id(), a_job_id()
REQUESTED = RunRequested(
    job_id=a_job_id(), scheduled_for=NOON, fires_at=NOON, trigger="retry", of=OLD, revision=1,
    spec=run_spec(a_spec()), follows=True, correlation_id="c", requested_at=NOON,
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
