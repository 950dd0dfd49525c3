"""Traces of the log: numbers are never given out twice, a repeat is exact, nothing moves without an event."""

import asyncio

import pytest
from msgspec.structs import replace

from shared.domain import ids
from shared.domain.commands import (
    CreateJob,
    FailRun,
    PauseJob,
    ResumeJob,
    StartRun,
    SucceedRun,
    TriggerJob,
    Wake,
)
from shared.domain.events import Failure
from shared.domain.refusals import LostLease
from shared.eventlog.snapshot import NOTHING, NewerShape
from shared.eventlog.unit import Answered, Committed, Once
from shared.eventlog.writer import BYTES_MAX, UNITS_MAX, LogFull
from shared.testing import TESTER, a_job_id, a_spec, wait_until
from tests.integration.archive_kit import all_of
from tests.integration.test_commit import a_job, a_run, a_unit, losing_the_first_reply
from tests.integration.trace_kit import a_rewindable_office, another_process, back, kinds, newer


@pytest.fixture
async def set_back(postgres, tmp_path):
    """An office, and its server, which can be set back."""
    async with a_rewindable_office(postgres, tmp_path) as made:
        yield made


async def test_the_owner_of_a_run_after_a_rollback_is_told_from_the_one_before(set_back):
    """Trace 2: the start that was rolled back had attempt 1 too, and stood at the same number."""
    office, server = set_back
    run_id = await office.trigger(await office.create())
    await all_of(office.projector())
    server.remember()
    gone = await office.start(run_id)
    server.rewind()
    await back(office.redis)
    true_owner = await office.start(run_id)
    assert (await office.log.load(f"run:{run_id}"))[f"run:{run_id}"].state.attempt == 1
    assert true_owner > gone
    with pytest.raises(LostLease):
        await office.succeed(run_id, gone)
    await office.succeed(run_id, true_owner)
    assert (await kinds(office.redis, office.keys(0)))[3:] == ["LogOpened", "RunStarted", "RunSucceeded"]


async def test_a_finish_that_was_decided_before_a_rollback_meets_another_version(set_back):
    """Trace 2: its snapshot is of a version that was given out once only."""
    office, server = set_back
    run_id = await office.trigger(await office.create())
    server.remember()
    gone = await office.start(run_id)
    held = (await office.log.load(f"run:{run_id}"))[f"run:{run_id}"]
    server.rewind()
    await back(office.redis)
    await office.start(run_id)
    with pytest.raises(LostLease):
        await office.decider.decide(f"run:{run_id}", SucceedRun(fence=gone), TESTER, held=held)
    assert "RunSucceeded" not in await kinds(office.redis, office.keys(0))


async def test_a_pause_sent_again_does_not_undo_the_resume_that_came_in_between(bench, monkeypatch):
    """Trace 7: pause applied, its reply lost, somebody else's resume answered, pause sent again."""
    made = await a_job(bench, every=3600)
    other = another_process(bench, "other")

    async def meanwhile():
        await other.decide(made.ref, ResumeJob(by="bob"), TESTER)

    losing_the_first_reply(bench, monkeypatch, meanwhile)
    paused = await bench.decider.decide(made.ref, PauseJob(by="ann"), TESTER)
    assert paused.after.state.paused.by == "ann"
    assert (await bench.log.load(made.ref))[made.ref].state.paused is None
    assert (await kinds(bench.redis, bench.log.keys(0)))[2:] == ["JobPaused", "JobResumed"]


async def test_a_trigger_sent_again_makes_no_second_run_though_the_first_has_come_and_gone(
    bench, monkeypatch
):
    """Trace 7: the run was started, ended, and its key expired before the trigger was sent again."""
    made = await a_job(bench, overlap_policy="allow")
    run_id = ids.chance_id(bench.log.now(), 0, 7)
    ref = f"run:{run_id}"
    other = another_process(bench, "executor")

    async def meanwhile():
        start = await other.decide(ref, StartRun(worker="w"), TESTER)
        await other.decide(ref, SucceedRun(fence=start.after.fence), TESTER)
        await bench.redis.delete(bench.log.keys(0).aggregate(ref))  # as `expire` does after a minute

    losing_the_first_reply(bench, monkeypatch, meanwhile)
    await bench.decider.decide(made.ref, TriggerJob(run_id=run_id, correlation_id="c"), TESTER)
    assert (await kinds(bench.redis, bench.log.keys(0)))[2:] == ["RunRequested", "RunStarted", "RunSucceeded"]
    assert not await bench.redis.exists(bench.log.keys(0).aggregate(ref))


async def test_two_timers_that_wake_a_retrying_run_queue_it_once(bench):
    """Trace 6: the move has an event, so the second timer meets another version; the work entry is that event."""
    ref, _ = await a_run(bench)
    keys = bench.log.keys(0)
    await bench.redis.delete(keys.work("default", 5))
    start = await bench.decider.decide(ref, StartRun(worker="w"), TESTER)
    error = Failure(class_="E", message="m")
    failed = await bench.decider.decide(
        ref, FailRun(fence=start.after.fence, error=error, names=("E",), draw=0.5), TESTER
    )
    score = str(ids.to_ms(failed.after.state.wake_at))
    await wait_until(lambda: ids.to_ms(bench.log.now()) > int(score) + 2, "the back-off has passed")
    timers = [another_process(bench, name) for name in ("t1", "t2")]
    for timer in timers:
        await timer._log.sync()
    held = failed.after
    woken = await asyncio.gather(
        *(timer.decide(ref, Wake(), TESTER, held=held, woken=score) for timer in timers)
    )
    assert sorted(bool(each.last) for each in woken) == [False, True]
    assert (await kinds(bench.redis, keys)).count("RunQueued") == 1
    ((entry, _),) = await bench.redis.xrange(keys.work("default", 5))
    assert entry.decode() == (await bench.log.load(ref))[ref].version
    assert await bench.redis.zscore(keys.due, ref) is None


async def test_of_two_creates_at_once_under_one_key_the_second_gets_the_firsts_answer(bench):
    """Traces 12, 16: `once` stands in the commit itself, with the position a repeat has to wait for."""
    processes = [another_process(bench, name) for name in ("p2", "p3")]
    jobs = [a_job_id(0), a_job_id(0)]
    both = await asyncio.gather(
        *(
            process.decide(
                f"job:{job}",
                CreateJob(job_id=job, spec=a_spec(), owner="ann", tenant="t"),
                TESTER,
                held=NOTHING,
                once=(Once(digest="key", fingerprint="f", answer=job),),
            )
            for process, job in zip(processes, jobs, strict=True)
        )
    )
    (first,) = [each for each in both if each.answered is None]
    (second,) = [each for each in both if each.answered is not None]
    expected = Answered(
        digest="key", fingerprint="f", answer=first.ref.removeprefix("job:"), position=first.last
    )
    assert second.answered == expected
    assert (await kinds(bench.redis, bench.log.keys(0))).count("JobCreated") == 1
    assert (await bench.log.load(second.ref))[second.ref] is NOTHING


async def test_a_run_is_found_by_its_id_alone(bench):
    """Trace 12: the id names its partition, so starting and ending it needs no table that knows it."""
    made = await a_job(bench, partition=1)
    run_id = ids.chance_id(bench.log.now(), 1, 7)
    await bench.decider.decide(made.ref, TriggerJob(run_id=run_id, correlation_id="c"), TESTER)
    other = another_process(bench, "executor")
    start = await other.decide(f"run:{run_id}", StartRun(worker="w"), TESTER)
    assert start.partition == bench.log.partition_of(made.ref) == 1
    assert (await kinds(bench.redis, bench.log.keys(1)))[-1] == "RunStarted"


@pytest.mark.parametrize(("units", "size"), [(450, 10), (40, 60_000)])
async def test_a_batch_is_never_longer_than_a_script_may_take(bench, monkeypatch, units, size):
    """Trace 19: 200 units and a megabyte at most, whatever is submitted at once."""
    real = bench.log._writer._sent
    batches = []

    async def counting(sent):
        batches.extend((len(each.submitted), sum(len(text) for text in each.args)) for each in sent)
        return await real(sent)

    monkeypatch.setattr(bench.log._writer, "_sent", counting)
    await bench.log.commit(0, a_unit("job:" + a_job_id()))  # loads the script
    batches.clear()
    made = [a_unit("job:" + a_job_id(), state="x" * size) for _ in range(units)]
    outcomes = await asyncio.gather(*(bench.log.commit(0, unit) for unit in made))
    assert {type(outcome) for outcome in outcomes} == {Committed}
    assert sum(count for count, _ in batches) == units
    assert max(count for count, _ in batches) <= UNITS_MAX == 200
    assert max(length for _, length in batches) <= BYTES_MAX == 1_000_000
    assert len(batches) <= 1 + units / min(UNITS_MAX, BYTES_MAX // (size + 400)) + 1


async def test_a_snapshot_of_a_newer_version_is_left_as_it_is(bench):
    """Trace 26: loaded, evolved and written back, it would have lost what the newer version put in."""
    made = await a_job(bench, every=3600)
    text = await newer(bench, made.ref)
    with pytest.raises(NewerShape):
        await bench.decider.decide(made.ref, PauseJob(by="ann"), TESTER)
    with pytest.raises(NewerShape):  # it learns of it by the conflict
        await bench.decider.decide(
            made.ref, PauseJob(by="ann"), TESTER, held=replace(made.after, version="1-1")
        )
    assert await bench.redis.hget(bench.log.keys(0).aggregate(made.ref), "state") == text
    assert (await kinds(bench.redis, bench.log.keys(0))) == ["LogOpened", "JobCreated"]


async def test_one_newer_snapshot_in_a_batch_is_its_own_callers_trouble(bench):
    """Trace 26: the others in the batch are committed and told so."""
    made = await a_job(bench, every=3600)
    await newer(bench, made.ref)
    refs = ["job:" + a_job_id() for _ in range(2)]
    units = [a_unit(refs[0]), a_unit(made.ref, version="1-1"), a_unit(refs[1])]
    outcomes = await asyncio.gather(*(bench.log.commit(0, unit) for unit in units), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Committed, NewerShape, Committed]


async def test_what_ends_work_goes_through_a_full_redis_beside_what_adds_some(bench):
    """Trace 28: a finish and a lost lease, submitted together with a create; batches are formed by flavour."""
    ending, losing = [(await a_run(bench, overlap_policy="allow"))[0] for _ in range(2)]
    start = await bench.decider.decide(ending, StartRun(worker="w"), TESTER)
    await bench.decider.decide(losing, StartRun(worker="w"), TESTER)
    await bench.redis.zadd(bench.log.keys(0).due, {losing: 1000})
    used = (await bench.redis.info("memory"))["used_memory"]
    await bench.redis.config_set("maxmemory", used // 2)
    try:
        created, ended, lost = await asyncio.gather(
            a_job(bench),
            bench.decider.decide(ending, SucceedRun(fence=start.after.fence), TESTER),
            bench.decider.decide(losing, Wake(), TESTER, woken="1000"),
            return_exceptions=True,
        )
    finally:
        await bench.redis.config_set("maxmemory", 0)
    assert isinstance(created, LogFull)
    assert ended.after.state.ended
    assert [type(change.event).__name__ for change in lost.changes] == ["RunLost", "RunQueued"]
