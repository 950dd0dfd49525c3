"""The timer: on time, once, and never stopped by one bad job."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from services.timer import due as due_module
from services.timer import service as service_module
from services.timer.due import Due, DueIndex, Sight
from services.timer.service import PACE_S, TROUBLES_MAX, Timer
from shared.clock import SystemClock
from shared.domain import ids, settling
from shared.domain.commands import CreateJob, StartRun, SucceedRun, TriggerJob
from shared.domain.spec import Chain
from shared.eventlog import snapshot
from shared.eventlog.connection import connect
from shared.eventlog.decider import Decider
from shared.lease import Share
from shared.loop import Stop
from shared.ops import Health
from shared.testing import LEASE, TESTER, a_job_id, a_spec, chance, wait_until


class Skewed(SystemClock):
    """A clock that is wrong by `by`."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def now(self):
        return super().now() + self.by


class Stopped(SystemClock):
    """A clock whose `monotonic` goes on by `each_s` whenever it is asked, and not otherwise."""

    def __init__(self, each_s=0.0):
        super().__init__()
        self._each_s = each_s
        self._at = 0.0

    def monotonic(self):
        self._at += self._each_s
        return self._at


class Running:
    """A timer in this process, over a bench."""

    def __init__(self, bench, url, name, clock):
        self.log = bench.another_log(name)
        self.bells = connect(url, blocking=True)
        leases = {p: self.log.keys(p).lease("timer") for p in range(bench.partitions)}
        self.health = Health()
        self.timer = Timer(
            log=self.log,
            decider=Decider(self.log, lease=LEASE, chance=chance),
            bells=self.bells,
            share=Share(bench.redis, leases, f"{bench.prefix}:members:timer", name),
            clock=clock,
            metrics=bench.metrics,
            health=self.health,
        )
        self.stop = Stop()
        self.task = None

    async def __aenter__(self):
        self.task = asyncio.create_task(self.timer.run(self.stop))
        return self

    async def __aexit__(self, *_):
        self.stop.set()
        await asyncio.wait_for(self.task, 10)
        await self.log.close()
        await self.bells.aclose()


@pytest.fixture
def timer(bench, valkey):
    def make(name="timer-1", clock=None):
        return Running(bench, valkey.endpoint.url, name, clock or SystemClock())

    return make


async def a_job(bench, partition=0, **spec):
    await bench.log.sync()
    job_id = a_job_id(partition, bench.log.now())
    command = CreateJob(job_id=job_id, spec=a_spec(**spec), owner="ann", tenant="t")
    return await bench.decider.decide(f"job:{job_id}", command, TESTER, held=snapshot.NOTHING)


@contextlib.asynccontextmanager
async def a_timer(bench, url, clock):
    """A timer that owns all partitions and does its rounds when it is told to."""
    running = Running(bench, url, "by-hand", clock)
    await running.timer._share.renew()
    yield running.timer
    await running.timer._share.release_all()
    await running.log.close()
    await running.bells.aclose()


@pytest.fixture
def url(valkey):
    return valkey.endpoint.url


async def refs_due(bench, partition=0):
    return [ref.decode() for ref in await bench.redis.zrange(bench.log.keys(partition).due, 0, -1)]


async def kinds(bench, partition=0):
    return [fields[b"type"].decode() for _, fields in await bench.redis.xrange(bench.log.keys(partition).log)]


async def decisions(bench):
    seen = [await kinds(bench, partition) for partition in range(bench.partitions)]
    return sum(each.count("RunRequested") + each.count("OccurrencesSkipped") for each in seen)


async def test_a_job_fires_at_its_time_and_its_run_stands_in_the_work_stream(bench, timer):
    async with timer():
        made = await a_job(bench, once=bench.log.now() + timedelta(seconds=1))
        await wait_until(lambda: decisions(bench), "the job fired")
    keys = bench.log.keys(0)
    events = await bench.redis.xrange(keys.log)
    requested = next(fields for _, fields in events if fields[b"type"] == b"RunRequested")
    late_ms = int(requested[b"at"]) - ids.to_ms(made.after.state.next_for)
    assert 0 <= late_ms < 500
    assert await bench.redis.xlen(keys.work("default", 5)) == 1
    assert await bench.redis.zcard(keys.due) == 0


async def test_an_earlier_job_made_while_the_timer_sleeps_is_not_slept_through(bench, timer):
    async with timer():
        await a_job(bench, every=3600)
        await a_job(bench, once=bench.log.now() - timedelta(milliseconds=1))
        await wait_until(lambda: decisions(bench), "the bell woke the timer", timeout_s=3)


async def test_two_timers_share_the_partitions_and_decide_each_occurrence_once(bench, timer):
    made = [await a_job(bench, partition, every=1) for partition in (0, 1) for _ in range(10)]
    until = bench.log.now() + timedelta(seconds=4)
    async with timer("a") as first, timer("b") as second:
        await wait_until(
            lambda: len(first.timer._share.owned) == len(second.timer._share.owned) == 1, "one each"
        )
        await wait_until(lambda: bench.log.now() >= until, "four seconds have passed")
    states = await bench.log.load(*(each.ref for each in made))
    for each in made:
        decided = (states[each.ref].state.next_for - each.after.state.anchor_at).total_seconds() - 1
        assert decided >= 3
        count = 0
        for partition in (0, 1):
            for _, fields in await bench.redis.xrange(bench.log.keys(partition).log):
                about = fields[b"subject"] if fields[b"type"] == b"OccurrencesSkipped" else fields[b"job"]
                if (
                    fields[b"type"] in {b"RunRequested", b"OccurrencesSkipped"}
                    and each.ref[4:].encode() in about
                ):
                    count += 1
        assert count == decided


async def test_a_lease_that_ran_out_gives_the_run_back_to_the_queue(bench, timer):
    made = await a_job(bench)
    run_id = ids.chance_id(bench.log.now(), 0, chance())
    await bench.decider.decide(made.ref, TriggerJob(run_id=run_id, correlation_id="c"), TESTER)
    short = Decider(bench.log, lease=timedelta(milliseconds=50), chance=chance)
    await short.decide(f"run:{run_id}", StartRun(worker="dead"), TESTER)
    async with timer():

        async def queued():
            return (await bench.log.load(f"run:{run_id}"))[f"run:{run_id}"].state.status == "queued"

        await wait_until(queued, "the run is queued again")
    assert (await kinds(bench))[-2:] == ["RunLost", "RunQueued"]
    assert bench.metrics.leases_lost_total._value.get() == 1


async def test_a_job_that_cannot_be_decided_does_not_stop_the_others_and_is_paused_in_the_end(
    bench, timer, monkeypatch
):
    """Trace 18: a poison aggregate at the head of the index."""
    poison = await a_job(bench, every=1, name="poison")
    good = await a_job(bench, every=1, name="good")
    real = settling.Settling.settle

    def settle(self):
        if self.job.spec.name == "poison":
            raise ZeroDivisionError("no such zone any more")
        real(self)

    monkeypatch.setattr(settling.Settling, "settle", settle)
    keys = bench.log.keys(0)
    async with timer() as running:
        for times in range(1, TROUBLES_MAX + 1):
            await wait_until(
                lambda n=times: running.timer._troubles[poison.ref] in {n, 0}, f"trouble {times}"
            )
            if times < TROUBLES_MAX:

                async def postponed():
                    return (
                        await bench.redis.zscore(keys.due, poison.ref) > ids.to_ms(bench.log.now()) + 50_000
                    )

                await wait_until(postponed, "it comes again in a minute, alone")
                await bench.redis.zadd(keys.due, {poison.ref: 1})
                await bench.redis.rpush(keys.timer_bell, 1)

        async def paused():
            return (await bench.log.load(poison.ref))[poison.ref].state.paused

        pause = await wait_until(paused, "the poison job is paused")
    assert pause.by == "timer"
    assert "no such zone" in pause.reason
    assert (await bench.log.load(good.ref))[good.ref].state.next_for > good.after.state.next_for


async def test_a_timer_whose_clock_is_off_decides_nothing_and_says_so(bench, timer):
    await a_job(bench, once=bench.log.now())
    async with timer(clock=Skewed(timedelta(seconds=5))) as running:
        await wait_until(lambda: not running.health.ready().ok, "it is not ready")
        await wait_until(lambda: not running.timer._share.owned, "it owns nothing")
        assert await decisions(bench) == 0
    async with timer("right"):
        await wait_until(lambda: decisions(bench), "another timer decides")


async def test_an_entry_edited_meanwhile_is_not_postponed(bench):
    made = await a_job(bench, every=100)
    index = DueIndex(bench.log)
    entry_score = await bench.redis.zscore(bench.log.keys(0).due, made.ref)
    await index.postpone(Due(0, made.ref, "5"), by_ms=60_000)
    assert await bench.redis.zscore(bench.log.keys(0).due, made.ref) == entry_score
    await index.postpone(Due(0, made.ref, f"{entry_score:.0f}"), by_ms=60_000)
    assert await bench.redis.zscore(bench.log.keys(0).due, made.ref) < entry_score


async def test_what_falls_due_after_a_quiet_spell_is_decided_at_once_and_then_the_pace_is_kept(bench, url):
    made = await a_job(bench, once=bench.log.now())
    async with a_timer(bench, url, clock=Stopped()) as service:
        pause_s = await service.run_once()
        assert await decisions(bench) == 1, "the first round decides it, without waiting"
        assert pause_s == PACE_S
        assert made.ref not in await refs_due(bench)


async def test_a_round_that_lasted_longer_than_the_pace_is_followed_at_once(bench, url):
    await a_job(bench, once=bench.log.now())
    async with a_timer(bench, url, clock=Stopped(each_s=2 * PACE_S)) as service:
        assert await service.run_once() == 0.0
        assert await decisions(bench) == 1


async def test_a_round_with_nothing_to_do_has_slept_and_asks_for_no_pause(bench, url, monkeypatch):
    monkeypatch.setattr(service_module, "IDLE_MAX_S", 0.01)
    await a_job(bench, every=3600)
    async with a_timer(bench, url, clock=Stopped()) as service:
        assert await service.run_once() is None


async def test_a_look_brings_the_snapshots_of_what_is_due_and_the_time_of_the_first_to_come(bench):
    due = await a_job(bench, once=bench.log.now())
    later = await a_job(bench, 1, every=100)
    sight = await DueIndex(bench.log).look([0, 1])
    ((entry,),) = sight.due.values()
    assert (entry.partition, entry.ref) == (0, due.ref)
    assert entry.snapshot() == due.after
    assert int(entry.score) == ids.to_ms(due.after.state.next_for) == sight.head_ms
    assert sight.overdue == {0: 1, 1: 0}
    assert (await DueIndex(bench.log).look([1])).head_ms == ids.to_ms(later.after.state.next_for)
    assert await DueIndex(bench.log).look([]) == Sight(due={}, overdue={}, head_ms=None)


async def test_a_look_takes_what_one_batch_does_and_counts_the_rest(bench, monkeypatch):
    monkeypatch.setattr(due_module, "WAKES_MAX", 2)
    for _ in range(5):
        await a_job(bench, once=bench.log.now())
    sight = await DueIndex(bench.log).look([0, 1])
    assert (len(sight.due[0]), sight.overdue[0]) == (2, 5)


async def test_snapshots_too_large_for_one_round_are_left_for_the_next(bench, url, monkeypatch):
    monkeypatch.setattr(due_module, "BYTES_MAX", 1)
    for _ in range(3):
        await a_job(bench, once=bench.log.now())
    async with a_timer(bench, url, clock=Stopped()) as service:
        for done in (1, 2, 3):
            await service.run_once()
            assert await decisions(bench) == done
            assert service._metrics.jobs_overdue._value.get() == 4 - done


async def test_a_server_that_has_lost_its_scripts_is_given_them_again(bench):
    due = await a_job(bench, once=bench.log.now())
    await bench.redis.script_flush()
    sight = await DueIndex(bench.log).look([0])
    assert [entry.ref for entry in sight.due[0]] == [due.ref]


async def test_an_entry_whose_snapshot_is_gone_is_put_off_and_does_not_stop_the_others(bench, url):
    gone = await a_job(bench, once=bench.log.now())
    good = await a_job(bench, once=bench.log.now())
    keys = bench.log.keys(0)
    await bench.redis.delete(keys.aggregate(gone.ref))
    unknown = next(entry for entry in (await DueIndex(bench.log).look([0])).due[0] if entry.ref == gone.ref)
    assert unknown.snapshot() is None, "so the decider looks for it in the archive"
    async with a_timer(bench, url, clock=Stopped()) as service:
        await service.run_once()
    assert (await bench.log.load(good.ref))[good.ref].state.next_for is None
    assert await bench.redis.zscore(keys.due, gone.ref) > ids.to_ms(bench.log.now()) + 50_000


async def test_what_follows_on_a_run_in_another_partition_is_asked_without_anybody_waiting_for_it(
    bench, timer
):
    follower = await a_job(bench, partition=1)
    first = await a_job(bench, chain=Chain(on_success=(follower.ref.removeprefix("job:"),)))
    run_id = ids.chance_id(bench.log.now(), 0, chance())
    async with timer():
        await bench.decider.decide(first.ref, TriggerJob(run_id=run_id, correlation_id="c"), TESTER)
        started = await bench.decider.decide(f"run:{run_id}", StartRun(worker="w"), TESTER)
        await bench.decider.decide(f"run:{run_id}", SucceedRun(fence=started.after.fence), TESTER)

        async def told():
            return (await kinds(bench))[-1] == "ChainTriggered"

        await wait_until(told, "the relay was told", timeout_s=3)
    assert (await kinds(bench, 1))[-1] == "RunRequested"
    assert await refs_due(bench) == []
