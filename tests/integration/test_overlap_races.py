"""Timer, executors and clients race for the runs of a job that limits overlap: what the log says afterwards."""

from datetime import timedelta

import pytest

from shared.domain import ids
from shared.domain.commands import CancelRun, StartRun, SucceedRun, TriggerJob, Wake
from shared.domain.run import Status
from shared.testing import TESTER, chance

from .overlap_crowd import LIMITING, Crowd, states_of


async def race(bench, seed, **options):
    crowd = Crowd(bench, seed)
    for number, policy in enumerate(LIMITING * 2):  # each is due at another moment of the second
        await crowd.create(policy, start_at=bench.log.now() + timedelta(seconds=0.1 * (number + 1)))
    await crowd.play(**options)
    assert await crowd.audit() == []
    told = states_of(await crowd.recorded())
    for name in ("RunQueued", "RunCancelRequested", "RunCancelled", "RunLost", "RunSucceeded"):
        assert told.get(name), f"no {name}: the race was none"


async def test_whoever_races_one_run_of_a_job_is_active_and_nobody_is_forgotten(bench):
    await race(bench, 1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
async def test_many_races(bench, seed):
    await race(bench, seed, timers=3, executors=5, clients=6, steps=150)


@pytest.fixture
async def crowd(bench):
    return Crowd(bench, 0)


async def look(bench, ref):
    return (await bench.log.load(ref))[ref]


async def triggered(bench, job_id, policy=None, **options):
    run_id = ids.chance_id(bench.log.now(), 0, chance())
    command = TriggerJob(run_id=run_id, correlation_id="c", overlap_policy=policy)
    return await bench.decider.decide(f"job:{job_id}", command, TESTER, **options), run_id


async def work(bench):
    """Ids of the runs in the work stream."""
    entries = await bench.redis.xrange(bench.log.keys(0).work("default", 5))
    return [fields[b"run"].decode() for _, fields in entries]


async def test_occurrences_that_another_timer_has_decided_meanwhile_are_replaced_like_any_run(
    bench, crowd, monkeypatch
):
    with monkeypatch.context() as past:
        now = bench.log.now
        past.setattr(bench.log, "now", lambda p=None: now(p) - timedelta(seconds=10))
        job_id = await crowd.create("replace")
    before = await look(bench, f"job:{job_id}")
    await bench.decider.decide(f"job:{job_id}", Wake(), TESTER)
    (scheduled,) = (await look(bench, f"job:{job_id}")).state.active
    # What the caller holds says that the same occurrences are due; its first commit meets the timer's.
    _, ours = await triggered(bench, job_id, held=before)
    job = (await look(bench, f"job:{job_id}")).state
    assert (job.active, job.waiting) == ((scheduled,), (ours,))
    assert (await look(bench, f"run:{scheduled}")).state.dropped


async def test_a_queued_run_that_is_replaced_leaves_its_work_stream_and_is_due_at_once(bench, crowd):
    job_id = await crowd.create("replace", every=None)
    _, first = await triggered(bench, job_id)
    assert await work(bench) == [first]
    claimed = await look(bench, f"run:{first}")  # by an executor that is about to start it
    _, second = await triggered(bench, job_id)
    assert await work(bench) == []
    score = await bench.redis.zscore(bench.log.keys(0).due, f"run:{first}")
    assert score <= ids.to_ms(bench.log.now())
    decided = await bench.decider.decide(f"run:{first}", StartRun(worker="w"), TESTER, held=claimed)
    assert decided.after.state.status is Status.CANCELLED
    assert [run.id for run in decided.ended] == [first]
    assert await work(bench) == [second]


async def test_an_end_that_knows_an_older_job_releases_who_waits_now(bench, crowd):
    job_id = await crowd.create("queue_all", every=None)
    _, first = await triggered(bench, job_id)
    started = await bench.decider.decide(f"run:{first}", StartRun(worker="w"), TESTER)
    _, second = await triggered(bench, job_id)
    older = await look(bench, f"job:{job_id}")
    _, third = await triggered(bench, job_id)
    await bench.decider.decide(f"run:{second}", CancelRun(by="ann"), TESTER)
    report = SucceedRun(fence=started.after.fence)
    decided = await bench.decider.decide(
        f"run:{first}", report, TESTER, held=started.after, beside={f"job:{job_id}": older}
    )
    job = decided.states[f"job:{job_id}"].state
    assert (job.active, job.waiting) == ((third,), ())
    assert await work(bench) == [third]
    events = [each for each in await crowd.recorded() if each.subject == f"run/{third}"]
    assert [each.type for each in events] == ["RunRequested", "RunQueued"]
    assert {each.corr for each in events} == {"c"}
    entries = await bench.redis.xrange(bench.log.keys(0).work("default", 5))
    assert entries[0][1][b"job"].decode() == job_id, "its end must find the job"
