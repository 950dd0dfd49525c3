"""Permits of concurrency keys where Redis has lost data: nobody starts beside a run that is still at work."""

from datetime import timedelta

import pytest

from services.executor.heartbeat import Heartbeat, Permit
from shared.domain.commands import HoldRun
from shared.eventlog import permits
from shared.testing import LEASE, TESTER
from tests.integration.archive_kit import all_of, an_office
from tests.integration.heal_kit import wipe


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


async def a_limited_run(office):
    """A queued run of a new job of the key, and the entry it stands under."""
    run_id = await office.trigger(await office.create(concurrency_key="the crane"))
    held = (await office.log.load(f"run:{run_id}"))[f"run:{run_id}"]
    return held.state, held.version


async def test_a_healed_partition_grants_nothing_for_a_lease_while_runs_at_work_put_their_permits_back(
    office,
):
    (working, entry), (waiting, other) = await a_limited_run(office), await a_limited_run(office)
    mine, of = office.decider.permits, working.spec.concurrency
    partition = permits.partition_of(of.pool, office.log.partitions)
    assert (await mine.take(working, of, entry)).outcome == "granted"
    fence = await office.start(working.id)
    projector = office.projector()
    for each in range(office.log.partitions):
        await all_of(projector, each)
    for each in range(office.log.partitions):
        await wipe(office, each)
        await office.open(each)
    answer = await mine.take(waiting, of, other)
    assert (answer.outcome, answer.again_ms) == (
        "closed",
        pytest.approx(LEASE.total_seconds() * 1000, abs=2_000),
    )
    beat = Heartbeat(office.url, office.log, lease=timedelta(seconds=60), on_found=lambda _: None)
    beat.hold(working.id, fence, Permit(of.pool, entry))
    assert beat.beat(extend=True) == ([], [])
    await office.redis.hset(office.keys(partition).meta, "granting_ms", "1")  # a lease later
    assert (await mine.take(waiting, of, other)).outcome == "refused"
    hold = HoldRun(reason="concurrency", key=of.key, until=office.log.now() + timedelta(minutes=1))
    held = (await office.decider.decide(f"run:{waiting.id}", hold, TESTER)).after.state
    assert await mine.wait(held, of) == ()
    await office.succeed(working.id, fence)
    assert (await office.log.load(f"run:{waiting.id}"))[f"run:{waiting.id}"].state.status == "queued"
    beat.stop()


async def test_permits_and_those_that_wait_are_left_alone_where_only_a_tail_was_lost(office):
    working, entry = await a_limited_run(office)
    of = working.spec.concurrency
    keys = office.keys(permits.partition_of(of.pool, office.log.partitions))
    await office.decider.permits.take(working, of, entry)
    await all_of(office.projector(), keys.partition)
    await office.redis.delete(keys.log)
    await office.redis.hset(keys.meta, "incarnation", "another's")
    await office.open(keys.partition)
    assert await office.redis.hget(keys.holders(of.pool), working.id) == entry.encode()
