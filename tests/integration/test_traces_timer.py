"""Traces of the timer: its clock is its own, an edit or an outage takes nothing from it and gives nothing twice."""

from datetime import timedelta

import pytest

from services.timer import service
from shared.domain import ids
from shared.domain.commands import PauseJob, StartRun, Wake
from shared.testing import TESTER, wait_until
from tests.integration.test_commit import a_run
from tests.integration.test_timer import Running, SystemClock, a_job, decisions
from tests.integration.trace_kit import (
    Deaf,
    a_rewindable_office,
    a_timer,
    another_process,
    back,
    kinds,
    logged,
    newer,
)


@pytest.fixture
def timer(bench, valkey):
    return Running(bench, valkey.endpoint.url, "timer", SystemClock())


@pytest.fixture
def deaf(timer):
    """A timer to which no bell rings."""
    timer.timer._bells = [Deaf(timer.stop)] * 2
    return timer


async def is_asleep(timer):
    await wait_until(lambda: len(timer.timer._share.owned) == 2, "it owns all")
    await timer.log.sync()
    now = timer.log.now().timestamp()
    tick = timer.timer._metrics.timer_last_tick_timestamp_seconds._value
    await wait_until(lambda: tick.get() > now - 0.05 and not timer.timer._rung.is_set(), "it has looked")


async def test_a_timer_that_lost_against_an_edit_decides_nothing_a_second_time(bench):
    """Trace 9: due; the pause is committed first and decides the occurrence; the timer comes with what it had read."""
    made = await a_job(bench, every=1)
    due = made.after.state.next_for
    await wait_until(lambda: bench.log.now() > due + timedelta(milliseconds=2), "it is due")
    await bench.decider.decide(made.ref, PauseJob(by="ann"), TESTER)
    late = another_process(bench, "timer")
    await late._log.sync()
    woken = await late.decide(made.ref, Wake(), TESTER, held=made.after, woken=str(ids.to_ms(due)))
    assert woken.last is None
    assert (await kinds(bench.redis, bench.log.keys(0)))[2:] == ["RunRequested", "JobPaused"]


async def test_an_occurrence_is_on_time_though_no_bell_rings_and_no_blocking_read_ends(
    bench, deaf, monkeypatch
):
    """Trace 14: the sleep until the head of `due` is the timer's own; a server's time-out would be half a minute."""
    monkeypatch.setattr(service, "IDLE_MAX_S", 30.0)
    made = await a_job(bench, once=bench.log.now() + timedelta(seconds=1))
    async with deaf:
        await wait_until(lambda: decisions(bench), "the job fired", timeout_s=10)
    (requested,) = [e for e in await logged(bench.redis, bench.log.keys(0)) if e.type == "RunRequested"]
    assert 0 <= requested.at - ids.to_ms(made.after.state.next_for) < 1000


async def test_a_ring_that_is_lost_costs_no_more_than_the_idle_cap(bench, deaf):
    """Trace 14: the timer sleeps until a far head; something earlier is written, and nobody hears."""
    await a_job(bench, every=3600)
    async with deaf:
        await is_asleep(deaf)
        made = await a_job(bench, once=bench.log.now())
        await wait_until(lambda: decisions(bench), "the job fired", timeout_s=10)
    (requested,) = [e for e in await logged(bench.redis, bench.log.keys(0)) if e.type == "RunRequested"]
    late_s = (requested.at - ids.to_ms(made.after.state.next_for)) / 1000
    assert 0 <= late_s < service.IDLE_MAX_S + 1


async def test_an_outage_longer_than_the_lease_loses_no_run_whose_worker_lives(postgres, tmp_path):
    """Trace 15: all leases are past when Redis is back; the timer is the first to come, its worker reports later."""
    async with a_rewindable_office(postgres, tmp_path) as (office, server):
        run_id = await office.trigger(await office.create())
        fence = await office.start(run_id)
        await office.create(once=office.log.now())
        keys = office.keys(0)
        await office.redis.zadd(keys.due, {f"run:{run_id}": 5})  # what a long outage leaves
        server.crash()
        await back(office.redis)
        before = await kinds(office.redis, keys)
        async with a_timer(office):

            async def it_has_decided():
                return (await kinds(office.redis, keys))[len(before) :].count("RunRequested")

            await wait_until(it_has_decided, "the timer has opened the log and decided what was due")
        after = (await kinds(office.redis, keys))[len(before) :]
        assert after[0] == "LogOpened"
        assert "RunLost" not in after
        assert (
            await office.redis.zscore(keys.due, f"run:{run_id}") > ids.to_ms(await office.log.sync()) + 5000
        )
        await office.succeed(run_id, fence)


async def test_a_job_that_a_newer_version_has_written_is_left_to_the_newer_timer(bench, timer):
    """Trace 26: a rolling upgrade; this timer puts it off, unchanged, and serves the others."""
    theirs = await a_job(bench, once=bench.log.now())
    text = await newer(bench, theirs.ref)
    ours = await a_job(bench, once=bench.log.now())
    keys = bench.log.keys(0)
    async with timer:
        await wait_until(lambda: decisions(bench), "ours fired")

        async def put_off():
            return await bench.redis.zscore(keys.due, theirs.ref) > ids.to_ms(bench.log.now()) + 50_000

        await wait_until(put_off, "theirs comes again in a minute")
    assert await bench.redis.hget(keys.aggregate(theirs.ref), "state") == text
    (requested,) = [e for e in await logged(bench.redis, keys) if e.type == "RunRequested"]
    assert f"job:{requested.job}" == ours.ref


async def test_a_full_redis_keeps_no_lost_run_and_drops_no_occurrence(bench, timer):
    """Trace 28: RunLost doesn't ride with RunRequested; the refused wake comes again by itself."""
    ref, _ = await a_run(bench, overlap_policy="allow")
    await bench.decider.decide(ref, StartRun(worker="dead"), TESTER)
    await bench.redis.zadd(bench.log.keys(0).due, {ref: 1000})
    await a_job(bench, once=bench.log.now())
    before = await decisions(bench)
    used = (await bench.redis.info("memory"))["used_memory"]
    await bench.redis.config_set("maxmemory", used // 2)
    try:
        async with timer:

            async def lost():
                return "RunLost" in await kinds(bench.redis, bench.log.keys(0))

            await wait_until(lost, "the run is given back to the queue")
            assert await decisions(bench) == before, "the occurrence is refused"
            await bench.redis.config_set("maxmemory", 0)

            async def fired():
                return await decisions(bench) == before + 1

            await wait_until(fired, "the job fired")
    finally:
        await bench.redis.config_set("maxmemory", 0)
