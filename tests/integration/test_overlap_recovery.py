"""Runs that wait come back when Redis has lost everything: nothing but the archive tells of them."""

import pytest

from shared.domain.commands import DeleteJob, Wake
from shared.domain.run import Status
from shared.testing import TESTER
from tests.integration.archive_kit import all_of, an_office
from tests.integration.heal_kit import wipe, write_side


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


async def job_of(office, job_id):
    return (await office.log.load(f"job:{job_id}"))[f"job:{job_id}"].state


async def run_of(office, run_id):
    return (await office.log.load(f"run:{run_id}"))[f"run:{run_id}"].state


async def test_who_waits_waits_again_and_has_his_turn(office):
    waiting = await office.create(overlap_policy="queue_all", start_deadline_seconds=3600)
    first, second, third = [await office.trigger(waiting) for _ in range(3)]
    fence = await office.start(first)
    replacing = await office.create(overlap_policy="replace")
    replaced, other = [await office.trigger(replacing) for _ in range(2)]
    await all_of(office.projector())
    before = await write_side(office)
    assert before["due"].keys() == {f"run:{second}", f"run:{third}", f"run:{replaced}"}
    assert not any(before["work"].values()), "one runs, one was taken back"
    await wipe(office)
    await office.open(0)
    assert await write_side(office) == before
    await office.succeed(first, fence)
    await office.decider.decide(f"run:{replaced}", Wake(), TESTER)
    assert [(await job_of(office, job)).active for job in (waiting, replacing)] == [(second,), (other,)]
    assert (await job_of(office, waiting)).waiting == (third,)
    await office.succeed(other, await office.start(other))
    await all_of(office.projectors[0])
    rows = await office.pool.fetch("select id::text, status from ledger.runs")
    assert {row["id"]: row["status"] for row in rows} == {
        first: "succeeded",
        second: "queued",
        third: "held",
        replaced: "cancelled",
        other: "succeeded",
    }


async def test_a_deleted_job_leaves_redis_once_its_last_run_has_ended(office):
    job_id = await office.create(overlap_policy="queue_all")
    first, second = [await office.trigger(job_id) for _ in range(2)]
    await office.decider.decide(f"job:{job_id}", DeleteJob(by="ann"), TESTER)
    assert (await run_of(office, second)).status is Status.CANCELLED
    name = office.keys(0).aggregate(f"job:{job_id}")
    assert await office.redis.pttl(name) == -1
    await office.succeed(first, await office.start(first))
    assert await office.redis.pttl(name) > 0
