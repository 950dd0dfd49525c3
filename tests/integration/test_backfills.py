"""A backfill at work, on real servers: each occurrence once, never more at a time than may be, whatever dies."""

import asyncio
import contextlib
from collections import Counter
from datetime import timedelta
from functools import partial

import pytest

from services.projector.audit import verify
from shared.domain import ids
from shared.domain.commands import CancelBackfill, DeleteJob, RequestBackfill, StartRun, SucceedRun, Wake
from shared.domain.events import TERMINAL
from shared.eventlog import writer
from shared.eventlog.decider import Decider
from shared.eventlog.envelope import Context
from shared.eventlog.writer import LogFull
from shared.readmodel import archive
from shared.recovery.brought_forward import Balance
from shared.testing import LEASE, TESTER, a_job_id, chance, wait_until
from tests.integration.archive_kit import all_of, an_office
from tests.integration.hall import NO_RETRIES, Hall
from tests.integration.heal_kit import wipe
from tests.integration.trace_kit import a_timer, opened_by

ENDS = {event.__name__ for event in TERMINAL}
COUNT, PARALLEL = 200, 3


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


class Filled:
    """A job with a backfill of the minutes of some hours ago."""

    def __init__(self, office, job_id, count, max_parallel):
        self.office, self.job_id, self.max_parallel = office, job_id, max_parallel
        self.id = a_job_id(0, office.log.now())
        self.ref = f"backfill:{self.id}"
        begin = office.log.now().replace(second=0, microsecond=0) - timedelta(days=1)
        self.times = tuple(ids.to_ms(begin + timedelta(minutes=each)) for each in range(count))

    async def request(self):
        command = RequestBackfill(
            backfill_id=self.id, which="missing", from_=ids.from_ms(self.times[0]), to=self.office.log.now(),
            times=self.times, max_parallel=self.max_parallel, by="ann", correlation_id="c",
        )  # fmt: skip
        await self.office.decider.decide(f"job:{self.job_id}", command, TESTER)
        return self

    async def state(self):
        return (await self.office.log.load(self.ref))[self.ref].state

    async def wake(self):
        return await self.office.decider.decide(self.ref, Wake(), TESTER)

    async def start(self, run):
        return await self.office.decider.decide(f"run:{run}", StartRun(worker="w"), TESTER)

    async def end(self, run, started, decider=None):
        """Report as executors do: the cause is the start that is answered."""
        context = Context(actor="executor", cause=started.event_ids[-1])
        command = SucceedRun(fence=started.after.fence)
        await (decider or self.office.decider).decide(f"run:{run}", command, context)

    async def run(self, run, decider=None):
        await self.end(run, await self.start(run), decider)

    async def finish(self):
        """Run what it asks for until it is over."""
        while not (state := await self.state()).over:
            for run in state.unfinished:
                await self.run(run)
            await self.wake()

    async def story(self):
        """What the archive tells: occurrences asked for, in order; most at a time; how it counted; its last word."""
        unfinished, most, asked, ends = set(), 0, [], Counter()
        last = None
        for recorded in await self.office.archived():
            event, run = recorded.change().event, recorded.subject.removeprefix("run/")
            if recorded.type == "RunRequested" and event.backfill == self.id:
                asked.append(ids.to_ms(event.scheduled_for))
                unfinished.add(run)
            elif recorded.type in ENDS and run in unfinished:
                unfinished.remove(run)
                ends[recorded.type] += 1
            elif recorded.subject == f"backfill/{self.id}":
                last = event
            most = max(most, len(unfinished))
        return asked, most, ends, last


async def filled(office, count, max_parallel, **spec):
    job_id = await office.create(**spec)  # without a schedule of its own, that would run meanwhile
    return await Filled(office, job_id, count, max_parallel).request()


@contextlib.asynccontextmanager
async def at_work(office, handlers):
    """A timer and two executors, which are gone at the end as if they had been killed."""
    hall = Hall(office.bench, office.url)
    hall.handlers = handlers
    made = [hall.executor(name=f"w{number}-{chance()}", lease=1.0) for number in range(2)]
    for each in made:
        opened_by(each._log, office.open)
    tasks = [hall.start(each).task for each in made]
    running = a_timer(office, f"timer-{chance()}")
    tasks.append(asyncio.create_task(running.timer.run(running.stop)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await running.log.close()
        await running.bells.aclose()
        with contextlib.suppress(Exception):  # what a dead timer holds runs out by itself
            await office.redis.delete(*(office.keys(each).lease("timer") for each in range(2)))


async def audited(office):
    """What an audit finds, by line."""
    await archive.record_deployment(office.pool, partitions=office.partitions, prefix=office.bench.prefix)
    found = await verify(office.pool, office.redis)
    return {line.name: line.first for line in found.lines if line.violations}


async def is_over(fill):
    return (await fill.state()).over


@pytest.mark.timeout(180)
async def test_each_occurrence_runs_once_and_never_more_than_may_though_all_is_killed_and_wiped(office):
    ran, most = Counter(), 60

    async def sometimes(run):
        """Fail now and then; stand still once so many have run, so that there is somebody to be killed."""
        ran[ids.to_ms(run.scheduled_for)] += 1
        if len(ran) > most:
            await asyncio.Event().wait()
        if ids.to_ms(run.scheduled_for) // 60_000 % 10 == 0:
            raise OSError("no")

    fill = await filled(office, COUNT, PARALLEL, job_type="test_0", job_data={}, retry=NO_RETRIES)
    projector = office.projector()

    def is_still():
        return len(ran) == most + PARALLEL

    async with at_work(office, {"test_0": sometimes}):
        await wait_until(is_still, "60 have ended", timeout_s=60)
    most = 120
    async with at_work(office, {"test_0": sometimes}):
        await wait_until(is_still, "120 have ended", timeout_s=60)
    await all_of(projector)
    await wipe(office)
    await office.open(0, lease=timedelta(seconds=1))
    most = COUNT
    async with at_work(office, {"test_0": sometimes}):
        await wait_until(partial(is_over, fill), "all have ended", timeout_s=60)
    await all_of(projector)
    asked, at_once, ends, last = await fill.story()
    assert asked == list(fill.times)
    assert at_once == PARALLEL
    assert ran.keys() == set(fill.times)
    assert (ends["RunSucceeded"], ends["RunFailed"], ends.total()) == (COUNT * 9 // 10, COUNT // 10, COUNT)
    assert (last.succeeded, last.failed) == (COUNT * 9 // 10, COUNT // 10)
    row = await office.pool.fetchrow("select * from ledger.backfills")
    assert (row["status"], row["requested"], row["succeeded"], row["failed"]) == ("completed", COUNT, 180, 20)
    assert await audited(office) == {}


async def hashes(office):
    """Backfills and the due index of partition 0."""
    keys = office.keys(0)
    held = {
        name: await office.redis.hgetall(name)
        async for name in office.redis.scan_iter(match=keys.aggregate("backfill:*"))
        if await office.redis.pttl(name) < 0
    }
    due = dict(await office.redis.zrange(keys.due, 0, -1, withscores=True))
    return held, {ref: at for ref, at in due.items() if ref.startswith((b"backfill:", b"job:"))}


async def test_what_a_heal_makes_of_it_equals_what_was_wiped_to_the_byte(office):
    waiting = await filled(office, 5, 2)
    midway = await filled(office, 5, 2)
    await midway.wake()
    await midway.run((await midway.state()).unfinished[0])
    full = await filled(office, 3, 3)
    await full.wake()
    called_off = await filled(office, 5, 2)
    await called_off.wake()
    await office.decider.decide(called_off.ref, CancelBackfill(by="bob", reason="no"), TESTER)
    over = await filled(office, 1, 1)
    await over.wake()
    await over.run((await over.state()).unfinished[0])
    await all_of(office.projector())
    before, states = (
        await hashes(office),
        [await each.state() for each in (waiting, midway, full, called_off)],
    )
    assert len(before[0]) == 4
    assert {ref for ref in before[1] if ref.startswith(b"backfill")} == {
        each.ref.encode() for each in (waiting, midway)
    }
    await wipe(office)
    await office.open(0)
    assert await hashes(office) == before
    assert [await each.state() for each in (waiting, midway, full, called_off)] == states
    for each in (waiting, midway, full, called_off):
        await each.finish()
    await all_of(office.projectors[0])
    assert await audited(office) == {}


async def test_ends_at_one_moment_are_each_counted_once(office):
    """A finish that meets another's is decided again, from what that has left."""
    fill = await filled(office, 40, 20)
    await fill.wake()
    runs = (await fill.state()).unfinished
    others = [Decider(office.bench.another_log(f"p{each}"), lease=LEASE, chance=chance) for each in range(2)]
    await asyncio.gather(*(fill.run(run, others[number % 2]) for number, run in enumerate(runs)))
    state = await fill.state()
    assert (state.succeeded, state.unfinished, state.requested) == (20, (), 20)
    await asyncio.gather(*(decider.decide(fill.ref, Wake(), TESTER) for decider in others))
    assert len((await fill.state()).unfinished) == 20
    for each in others:
        await each._log.close()


async def test_a_run_ends_though_there_is_no_room_for_new_work(office, monkeypatch):
    """Its end only counts; what it makes room for is asked for by a wake, which may be refused for a while."""
    fill = await filled(office, 3, 1)
    await fill.wake()
    (run,) = (await fill.state()).unfinished
    started = await fill.start(run)
    submit = writer.Writer.submit

    def refusing(self, partition, unit):
        if unit.adds_work:
            raise LogFull("Redis is out of memory")
        return submit(self, partition, unit)

    monkeypatch.setattr(writer.Writer, "submit", refusing)
    await fill.end(run, started)
    with pytest.raises(LogFull):
        await fill.wake()
    monkeypatch.undo()
    assert len((await fill.wake()).changes) == 2


async def test_the_archive_can_forget_it_and_keeps_what_goes_on(office):
    going, over = await filled(office, 5, 2), await filled(office, 1, 1)
    for each in (going, over):
        await each.wake()
        await each.run((await each.state()).unfinished[0])
    await all_of(office.projector())
    balance = Balance()
    for recorded in await office.archived():
        balance.take(recorded)
    brought = {each.ref: each.state for each in balance.standing()}
    assert brought[going.ref] == await going.state()
    assert over.ref not in brought
    assert over.ref in balance.ended


async def test_deleting_the_job_of_one_at_work_meets_its_ends(office):
    fill = await filled(office, 30, 10)
    await fill.wake()
    runs = (await fill.state()).unfinished
    delete = office.decider.decide(f"job:{fill.job_id}", DeleteJob(by="ann"), TESTER)
    await asyncio.gather(delete, *(fill.run(run) for run in runs), fill.wake())
    for run in (await fill.state()).unfinished:
        await fill.run(run)
    state = await fill.state()
    assert (state.status, state.over, state.cancel.reason) == ("cancelled", True, "its job was deleted")
    await all_of(office.projector())
    asked, most, _, _ = await fill.story()
    assert asked == list(fill.times[: len(asked)])
    assert most == 10
    assert await audited(office) == {}
