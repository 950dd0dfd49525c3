"""Whose jobs may follow on whose."""

import pytest
from msgspec.structs import replace

from services.api.chains import Chains
from shared.domain import deciding, job
from shared.domain.commands import CreateJob
from shared.domain.spec import Chain
from shared.eventlog.snapshot import NOTHING, Snapshot
from shared.testing import NOON, a_job_id, a_spec


class Log:
    """Has some jobs."""

    partitions = 1

    def __init__(self, *jobs):
        self._held = {f"job:{each.id}": Snapshot(state=each, version="1-1", fence="") for each in jobs}

    async def load(self, *refs):
        return {ref: self._held.get(ref, NOTHING) for ref in refs}


def a_job(tenant, *followers):
    spec = a_spec(chain=Chain(on_success=followers) if followers else None)
    command = CreateJob(job_id=a_job_id(), spec=spec, owner="ann", tenant=tenant)
    (created,) = deciding.decide(None, command, NOON).changes
    return job.evolve(None, created)


OURS, THEIRS, NEXT_TO_THEIRS = a_job("a"), a_job("b"), a_job("b")
FOLLOWED = a_job("b", THEIRS.id)
NOBODY = a_job_id()


async def pointers(job_id, *followers):
    """What is found wrong when tenant `a` gives these followers to a job."""
    spec = replace(a_spec(), chain=Chain(on_failure=followers))
    faults = await Chains(Log(OURS, THEIRS, NEXT_TO_THEIRS, FOLLOWED)).faults(job_id, spec, "a")
    return [fault.pointer for fault in faults]


@pytest.fixture
def walled(monkeypatch):
    """For tenant `a` there is nothing but its own; else auth is off."""
    monkeypatch.setattr("services.api.chains.wall", lambda: "a")


async def test_whoever_makes_a_job_has_it_followed_by_jobs_of_the_own_tenant(walled):
    assert await pointers(a_job_id(), OURS.id) == []
    assert await pointers(a_job_id(), OURS.id, THEIRS.id, NOBODY) == ["#/on_failure/1", "#/on_failure/2"]


@pytest.mark.parametrize("follower", [OURS.id, THEIRS.id, NOBODY], ids=["ours", "theirs", "nobodys"])
async def test_what_is_said_of_another_tenants_job_is_what_is_said_of_none(walled, follower):
    assert await pointers(FOLLOWED.id, follower) == await pointers(NOBODY, follower)


async def test_where_auth_is_off_a_job_is_followed_by_jobs_of_its_own_tenant():
    assert await pointers(FOLLOWED.id, NEXT_TO_THEIRS.id) == []
    assert await pointers(FOLLOWED.id, OURS.id) == ["#/on_failure/0"]
