"""The permits of concurrency keys and the turns of job types, script by script, on a real server."""

import pytest
from msgspec.structs import replace

from shared.domain.run import Hold
from shared.domain.spec import run_spec
from shared.eventlog import permits
from shared.eventlog.limiter import Limiters
from shared.eventlog.permits import Permits, Unseen
from shared.rate import Rate
from shared.testing import LEASE, Bench, a_job_id, a_spec, at
from tests.unit.test_run import a_run


@pytest.fixture
async def bench(valkey):
    """A log of two partitions on a real server."""
    made = await Bench.on(valkey.endpoint.url)
    yield made
    await made.close()


def a_limited_run(limit=1, key="k", since_s=None):
    """A run of its own, held since then."""
    spec = run_spec(a_spec(concurrency_key=key, concurrency_limit=limit), tenant="t")
    hold = None
    if since_s is not None:
        hold = Hold(reason="concurrency", key=key, until=at(since_s + 60), since=at(since_s))
    return replace(a_run(), id=a_job_id(), spec=spec, hold=hold)


def entry(number):
    return f"1700000000000-{number}"


class Crane:
    """One key, as executors see it."""

    def __init__(self, bench, run):
        self.of = run.spec.concurrency
        self.bench, self.permits = bench, Permits(bench.log, LEASE)
        self.keys = bench.log.keys(permits.partition_of(self.of.pool, bench.partitions))

    async def take(self, run, number):
        return (await self.permits.take(run, run.spec.concurrency, entry(number))).outcome

    async def wait(self, run):
        return await self.permits.wait(run, run.spec.concurrency)

    async def free(self, run, upto, *, over=True):
        return await self.permits.free(run.id, run.spec.concurrency, upto, over=over)

    async def holders(self):
        found = await self.bench.redis.hgetall(self.keys.holders(self.of.pool))
        return {run.decode(): by.decode() for run, by in found.items()}

    async def time_is_up(self, run):
        await self.bench.redis.zadd(self.keys.permits(self.of.pool), {run.id: 1})


async def test_a_permit_goes_to_who_asks_first_and_asking_twice_is_as_asking_once(bench):
    one, two = a_limited_run(), a_limited_run()
    crane = Crane(bench, one)
    assert [await crane.take(one, 1), await crane.take(one, 1), await crane.take(two, 2)] == [
        "granted", "granted", "refused",
    ]  # fmt: skip
    assert await crane.free(one, entry(1)) == ()
    assert await crane.take(two, 2) == "granted"


async def test_who_comes_late_neither_takes_over_nor_gives_back_what_a_later_start_has(bench):
    run = a_limited_run()
    crane = Crane(bench, run)
    assert await crane.take(run, 9) == "granted"
    assert await crane.take(run, 8) == "stale"
    await crane.free(run, entry(8))
    assert await crane.holders() == {run.id: entry(9)}
    later = "1700000000001-1"
    assert await crane.take(replace(run, attempt=2), 10) == "granted"
    await crane.free(run, entry(9))
    assert await crane.holders() == {run.id: entry(10)}
    await crane.free(run, later)  # a later epoch is later than any position before it
    assert await crane.holders() == {}


async def test_each_start_goes_by_the_limit_of_its_own_job_and_the_first_in_line_by_its_own(bench):
    wide, narrow, next_wide = a_limited_run(limit=3), a_limited_run(limit=1), a_limited_run(limit=3)
    crane = Crane(bench, wide)
    assert await crane.take(wide, 1) == "granted"
    assert await crane.take(narrow, 2) == "refused"
    assert await crane.take(next_wide, 3) == "granted"
    await crane.wait(replace(narrow, hold=a_limited_run(since_s=1).hold))
    assert await crane.take(a_limited_run(limit=3), 4) == "refused", "nobody overtakes who waits"
    assert await crane.free(wide, entry(1)) == ()
    assert await crane.free(next_wide, entry(3)) == (narrow.id,)


async def test_a_permit_is_kept_for_who_is_called_and_for_a_moment_only(bench):
    one, first, second = a_limited_run(), a_limited_run(since_s=1), a_limited_run(since_s=2)
    crane = Crane(bench, one)
    await crane.take(one, 1)
    await crane.wait(second)
    await crane.wait(first)
    assert await crane.free(one, entry(1)) == (first.id,)
    assert await crane.take(a_limited_run(), 2) == "refused"
    await crane.time_is_up(first)  # nobody serves its queue
    assert (await crane.permits.take(a_limited_run(), crane.of, entry(3))).called == (second.id,)
    assert await crane.take(first, 4) == "refused"
    assert await crane.take(second, 5) == "granted"
    await crane.free(second, entry(5))
    assert await crane.take(first, 4) == "granted"


async def test_a_permit_whose_time_is_up_is_told_and_not_taken_away(bench):
    one, two = a_limited_run(), a_limited_run()
    crane = Crane(bench, one)
    await crane.take(one, 1)
    await crane.time_is_up(one)
    answer = await crane.permits.take(two, crane.of, entry(2))
    assert (answer.outcome, answer.unseen) == ("refused", (Unseen(one.id, entry(1)),))
    await crane.permits.keep(crane.of, answer.unseen[0])
    assert (await crane.permits.take(two, crane.of, entry(2))).unseen == ()


async def test_a_run_that_has_begun_again_needs_no_second_permit(bench):
    run = a_limited_run()
    crane = Crane(bench, run)
    assert [await crane.take(run, 1), await crane.take(run, 2)] == ["granted", "granted"]
    assert await crane.holders() == {run.id: entry(2)}


async def test_after_an_opening_nothing_is_granted_for_a_lease_and_who_is_at_work_puts_its_permit_back(
    bench,
):
    running, other = a_limited_run(), a_limited_run()
    crane = Crane(bench, running)
    await crane.take(running, 1)
    meta = crane.keys.meta
    await bench.redis.hset(meta, "incarnation", "another's")  # as after a restart
    assert await crane.take(other, 2) == "closed"
    pool = crane.of.pool
    await bench.redis.delete(crane.keys.permits(pool), crane.keys.holders(pool))  # what it did last is lost
    await bench.open(crane.keys.partition)
    answer = await crane.permits.take(other, crane.of, entry(2))
    assert answer.outcome == "closed"
    assert 14_000 < answer.again_ms <= 15_000
    await crane.permits.keep(crane.of, Unseen(running.id, entry(1)))
    await bench.redis.hset(meta, "granting_ms", "1")  # that lease later
    assert await crane.take(other, 2) == "refused"
    await crane.free(running, entry(1))
    await crane.permits.keep(crane.of, Unseen(running.id, entry(1)))  # a heartbeat that crossed its end
    assert await crane.holders() == {}
    assert await crane.take(other, 2) == "granted"


async def test_what_was_never_opened_before_grants_at_once(bench):
    run = a_limited_run()
    assert await Crane(bench, run).take(run, 1) == "granted"


# Rates.


async def test_turns_are_given_one_by_one_as_far_apart_as_the_rate_says(bench):
    limiters, rate = Limiters(bench.log), Rate(2, 1)
    turns = [await limiters.turn("type", "t", rate, patience_s=0.1, had=False) for _ in range(5)]
    assert [each.granted for each in turns] == [True, False, False, False, False]
    waits = [each.wait_s for each in turns]
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(2.0, abs=0.2)
    assert not (await limiters.turn("type", "t", rate, patience_s=3, had=False)).granted, "others wait"
    assert (await limiters.turn("type", "another", rate, patience_s=0, had=False)).granted


async def test_who_comes_at_its_turn_is_granted_it_though_others_wait(bench):
    limiters, rate = Limiters(bench.log), Rate(20, 1)
    for _ in range(3):
        await limiters.turn("type", "t", rate, patience_s=0, had=False)
    at_its_turn = await limiters.turn("type", "t", rate, patience_s=0.06, had=True)
    assert at_its_turn.granted
    assert at_its_turn.wait_s <= 0.05
