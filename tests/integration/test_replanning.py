"""Newer zone tables: jobs that have moved are planned anew by the timers, once, and by nobody with older ones."""

import contextlib
from datetime import timedelta

import pytest

from services.timer import replanning, service
from services.timer.replanning import Replanning
from shared.clock import SystemClock
from shared.domain import ids
from shared.domain import replanning as domain
from shared.domain.commands import CreateJob, PauseJob
from shared.domain.job import Status
from shared.domain.schedule import searches
from shared.eventlog import replan, snapshot
from shared.eventlog.replan import Planned
from shared.loop import Stop
from shared.testing import TESTER, a_job_id, a_spec, wait_until
from tests.zone_tables import WITHOUT_DST, tables

from .test_timer import Running

BERLIN = {"timezone": "Europe/Berlin"}
SUMMER = {"cron": "30 2 1 7 *", **BERLIN}  # every 1 July: in summer time, whenever this test runs
WINTER = {"cron": "30 2 1 12 *", **BERLIN}
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(replanning, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(replan, "REST_S", 0)


async def a_job(bench, partition=0, **spec):
    job_id = a_job_id(partition, bench.log.now())
    command = CreateJob(job_id=job_id, spec=a_spec(**spec), owner="ann", tenant="t")
    return await bench.decider.decide(f"job:{job_id}", command, TESTER, held=snapshot.NOTHING)


async def state_of(bench, made):
    return (await bench.log.load(made.ref))[made.ref].state


async def replanned(bench):
    """What was planned anew: subject → data, of all partitions."""
    found = []
    for partition in range(bench.partitions):
        for _, fields in await bench.redis.xrange(bench.log.keys(partition).log):
            if fields[b"type"] == b"ScheduleReplanned":
                found.append((fields[b"subject"].decode().replace("/", ":"), fields[b"data"].decode()))
    return found


async def noted(bench, partition=0):
    told = await bench.redis.hgetall(bench.log.keys(partition).tzdata)
    return {name.decode(): value.decode() for name, value in told.items()}


@contextlib.asynccontextmanager
async def a_timer(bench, valkey, monkeypatch, version, name="timer"):
    """A whole timer that has its zones from a version of the tables."""
    monkeypatch.setattr(service, "tables_version", lambda: version)
    async with Running(bench, valkey.endpoint.url, name, SystemClock()) as running:
        yield running


async def walked(bench, version):
    async def is_done():
        told = [await noted(bench, partition) for partition in range(bench.partitions)]
        return all((each.get("version"), each.get("walked")) == (version, "1") for each in told)

    await wait_until(is_done, f"all partitions are planned by {version}")


async def test_a_country_gives_up_summer_time_and_what_moves_is_planned_anew(bench, valkey, monkeypatch):
    async with a_timer(bench, valkey, monkeypatch, "2026.1"):
        await walked(bench, "2026.1")
    moving = [await a_job(bench, partition, **SUMMER) for partition in range(bench.partitions)]
    paused = await a_job(bench, **SUMMER)
    await bench.decider.decide(paused.ref, PauseJob(by="ann"), TESTER)
    staying = [await a_job(bench, **spec) for spec in (WINTER, {"every": 60}, {"cron": "0 9 * * *"}, {})]
    before = {each.ref: await state_of(bench, each) for each in (*moving, paused, *staying)}
    with tables(WITHOUT_DST):
        async with a_timer(bench, valkey, monkeypatch, "2026.2"):
            await walked(bench, "2026.2")
    told = dict(await replanned(bench))
    assert told.keys() == {each.ref for each in (*moving, paused)}
    for ref, data in told.items():
        assert '"reason":"tzdata","from":"2026.1","to":"2026.2"' in data
        after = (await bench.log.load(ref))[ref].state
        assert after.next_for == before[ref].next_for + HOUR
    assert (await state_of(bench, paused)).status is Status.PAUSED
    for each in moving:
        score = await bench.redis.zscore(bench.log.keys(bench.log.partition_of(each.ref)).due, each.ref)
        assert score == ids.to_ms(before[each.ref].next_for + HOUR)
    for each in staying:
        assert await state_of(bench, each) == before[each.ref]


async def test_an_old_timer_and_a_new_one_do_not_plan_to_and_fro(bench, valkey, monkeypatch):
    made = await a_job(bench, **SUMMER)
    with tables(WITHOUT_DST):
        async with a_timer(bench, valkey, monkeypatch, "2026.10"):
            await walked(bench, "2026.10")
    moved = await state_of(bench, made)
    async with a_timer(bench, valkey, monkeypatch, "2026.9") as old:
        await wait_until(lambda: len(old.timer._share.owned) == bench.partitions, "the old timer owns all")
        await wait_until(lambda: len(old.timer._replanning._next_s) == bench.partitions, "and has looked")
    assert await state_of(bench, made) == moved
    assert len(await replanned(bench)) == 1
    assert (await noted(bench))["version"] == "2026.10"


class Owning:
    """A share of these partitions."""

    def __init__(self, *partitions):
        self.owned = frozenset(partitions)


def a_replanning(bench, version, share=None, clock=None):
    return Replanning(
        bench.log,
        bench.decider,
        share or Owning(0),
        clock=clock or SystemClock(),
        metrics=bench.metrics,
        tables=version,
    )


async def test_a_timer_that_dies_half_way_leaves_the_rest_to_the_next(bench, monkeypatch):
    made = [await a_job(bench, **SUMMER) for _ in range(5)]
    monkeypatch.setattr(replan, "AT_ONCE", 1)
    share = Owning(0)
    decide, done = bench.decider.decide, []

    async def dying(*args, **kwargs):
        if len(done) == 2:
            share.owned = frozenset()  # its lease is lost
        done.append(args)
        return await decide(*args, **kwargs)

    with tables(WITHOUT_DST):
        monkeypatch.setattr(bench.decider, "decide", dying)
        await a_replanning(bench, "2026.2", share).run_once(Stop())
        assert (len(done), (await noted(bench))["walked"]) == (3, "0")
        monkeypatch.setattr(bench.decider, "decide", decide)
        await a_replanning(bench, "2026.2").run_once(Stop())
    assert sorted(ref for ref, _ in await replanned(bench)) == sorted(each.ref for each in made)
    assert (await noted(bench))["walked"] == "1"


async def test_a_walk_of_yesterday_that_was_broken_off_is_done_again(bench):
    made = await a_job(bench, **SUMMER)
    note = {"version": "2026.2", "before": "2026.1", "since": "1", "walked": "0"}
    await bench.redis.hset(bench.log.keys(0).tzdata, mapping=note)
    with tables(WITHOUT_DST):
        await a_replanning(bench, "2026.2").run_once(Stop())
    ((ref, data),) = await replanned(bench)
    assert ref == made.ref
    assert '"from":"2026.1","to":"2026.2"' in data
    assert (await noted(bench))["walked"] == "1"


async def test_what_an_older_replica_announces_meanwhile_is_found_within_the_hour(bench):
    class Passing(SystemClock):
        passed_s = 0.0

        def monotonic(self):
            return super().monotonic() + self.passed_s

    clock = Passing()
    timer = a_replanning(bench, "2026.2", clock=clock)
    with tables(WITHOUT_DST):
        await timer.run_once(Stop())
    made = await a_job(bench, **SUMMER)  # by the tables that were
    with tables(WITHOUT_DST):
        await timer.run_once(Stop())
        assert await replanned(bench) == []
        clock.passed_s = replanning.AGAIN_EVERY_S
        await timer.run_once(Stop())
        assert [ref for ref, _ in await replanned(bench)] == [made.ref]
        await bench.redis.hincrby(bench.log.keys(0).tzdata, "since", -replanning.AGAIN_FOR_MS)
        clock.passed_s *= 2
        await timer.run_once(Stop())  # a day later it is looked at once more, and then never again
        assert timer._next_s == {0: float("inf")}


async def test_a_note_that_was_lost_costs_a_walk_and_no_event(bench):
    await a_job(bench, **SUMMER)
    timer = a_replanning(bench, "2026.2")
    with tables(WITHOUT_DST):
        await timer.run_once(Stop())
        await bench.redis.delete(bench.log.keys(0).tzdata)
        await a_replanning(bench, "2026.2").run_once(Stop())
    assert len(await replanned(bench)) == 1
    assert (await noted(bench))["before"] == ""


async def test_of_two_that_note_at_once_one_is_told_to_look_again(bench):
    planning = replan.Replan(bench.log, bench.decider, tables="2026.2")
    seen = await planning.planned(0)
    newer = replan.Replan(bench.log, bench.decider, tables="2026.3")
    assert await newer(0, seen, TESTER) is not None
    assert await planning(0, seen, TESTER) is None
    assert planning.is_older(await planning.planned(0))
    assert (await noted(bench))["version"] == "2026.3"
    assert seen == Planned()


async def test_a_job_that_can_not_be_planned_does_not_stop_the_others(bench, monkeypatch):
    bad, good = await a_job(bench, **SUMMER), await a_job(bench, **SUMMER)
    has_moved = domain.has_moved

    def failing(job, now):
        if f"job:{job.id}" == bad.ref:
            raise ValueError("its zone is no more")
        return has_moved(job, now)

    monkeypatch.setattr(replan, "has_moved", failing)
    with tables(WITHOUT_DST):
        await a_replanning(bench, "2026.2").run_once(Stop())
    assert [ref for ref, _ in await replanned(bench)] == [good.ref]


async def test_where_nothing_has_moved_nothing_is_written_and_little_is_searched(bench):
    for _ in range(30):
        await a_job(bench, cron="0 0 * * *", **BERLIN)
    before = await bench.redis.xlen(bench.log.keys(0).log)
    searched = searches()
    await a_replanning(bench, "2026.2").run_once(Stop())
    assert await bench.redis.xlen(bench.log.keys(0).log) == before
    assert searches() - searched <= 1
    assert (await noted(bench))["walked"] == "1"
