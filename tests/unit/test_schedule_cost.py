"""What a hundred thousand jobs of one expression cost: one search at the wake of them all."""

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from shared.domain.commands import CreateJob, Wake
from shared.domain.deciding import decide
from shared.domain.events import RunRequested
from shared.domain.job import evolve
from shared.domain.schedule import searches
from shared.domain.walk import walk_of
from shared.testing import a_job_id, a_spec

JOBS = 100_000
NOON = datetime(2033, 5, 5, 12, tzinfo=UTC)
MIDNIGHT = datetime(2033, 5, 6, tzinfo=UTC)


@pytest.fixture
def job():
    """A job on `0 0 * * *`, made at noon; what other tests have searched for is forgotten."""
    walk_of.cache_clear()
    command = CreateJob(job_id=a_job_id(), spec=a_spec(cron="0 0 * * *"), owner="o", tenant="t")
    (created,) = decide(None, command, NOON).changes
    return evolve(None, created)


@pytest.mark.thorough
def test_a_hundred_thousand_wakes_at_midnight_cost_one_search(job):
    before = searches()
    for number in range(JOBS):  # each job has its own id, and is woken a little later than the one before
        other = replace(job, id=f"{job.id[:24]}{number:012x}")
        woken = decide(other, Wake(), MIDNIGHT + number * timedelta(microseconds=100)).changes
        assert isinstance(woken[0].event, RunRequested)
    assert searches() == before + 1
    assert woken[0].event.next_for == MIDNIGHT + timedelta(days=1)
