"""Pauses over a real log: the timer ends them and does what they left, and runs that keep failing begin one."""

from datetime import timedelta

import pytest

from services.projector.audit import verify
from shared.clock import SystemClock
from shared.domain import ids
from shared.domain.commands import FailRun, PauseJob, ResumeJob, StartRun, TriggerJob, Wake
from shared.domain.events import Failure
from shared.domain.refusals import LostLease
from shared.eventlog import envelope
from shared.eventlog.decider import Decider
from shared.readmodel import archive
from shared.testing import LEASE, TESTER, chance, wait_until
from tests.integration.archive_kit import all_of, an_office
from tests.integration.audit_kit import Author
from tests.integration.hall import NO_RETRIES
from tests.integration.test_timer import Running, a_job

REASON = "3 runs in a row have failed"


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


async def events(bench, partition=0):
    entries = await bench.redis.xrange(bench.log.keys(partition).log)
    return [envelope.from_entry(partition, *entry) for entry in entries]


async def state_of(bench, ref):
    return (await bench.log.load(ref))[ref].state


async def test_a_timer_ends_a_pause_at_its_time_and_catches_up(bench, valkey):
    async with Running(bench, valkey.endpoint.url, "timer-1", SystemClock()):
        made = await a_job(bench, every=1, overlap_policy="allow")
        until = made.after.state.next_for + timedelta(milliseconds=250)
        pause = PauseJob(by="ann", until=until, catch_up="all")
        await bench.decider.decide(made.ref, pause, TESTER)

        async def goes_on():
            return (await state_of(bench, made.ref)).runs >= 2

        await wait_until(goes_on, "it has caught up, and goes on")
    resumed, caught, fresh = [
        each for each in await events(bench) if each.type in {"JobResumed", "RunRequested"}
    ][:3]
    assert resumed.change().event.resumed_at == until
    assert 0 <= resumed.at - ids.to_ms(until) < 500
    assert caught.change().event.scheduled_for == made.after.state.next_for < until
    assert fresh.change().event.scheduled_for > until


async def test_a_long_catch_up_goes_on_where_a_timer_that_died_has_left_it(bench, valkey, monkeypatch):
    made = await a_job(bench, every=1, overlap_policy="allow", misfire_policy="skip")
    await bench.decider.decide(made.ref, PauseJob(by="ann"), TESTER)
    now = bench.log.now
    monkeypatch.setattr(type(bench.log), "now", lambda *_: _later(now, seconds=200))
    await bench.decider.decide(made.ref, ResumeJob(by="ann", catch_up="all"), TESTER)
    state = await state_of(bench, made.ref)
    to, wanted = state.catching_up.to, 200
    for name in ("one", "another", "a third", "a fourth"):  # each does one unit and is gone
        other = bench.another_log(name)
        await _wake(other, made.ref)
        await other.close()
    state = await state_of(bench, made.ref)
    assert (state.catching_up, state.runs in {wanted - 1, wanted, wanted + 1}) == (None, True)
    assert state.decided_to <= to
    told = [each for each in await events(bench) if each.type in {"RunRequested", "OccurrencesSkipped"}]
    assert {each.type for each in told} == {"RunRequested"}
    assert len({each.subject for each in told}) == state.runs


def _later(now, **span):
    return now() + timedelta(**span)


async def _wake(log, ref):
    await Decider(log, lease=LEASE, chance=chance).decide(ref, Wake(), TESTER)


async def test_runs_that_keep_failing_pause_their_job_in_the_unit_of_the_last_of_them(hall):
    first = await hall.a_run(
        job_data={"operation": "fail"}, retry=NO_RETRIES, pause_after_failures=3, overlap_policy="allow"
    )
    bench, ref = hall.bench, f"job:{(await hall.state(first)).job_id}"
    hall.start()
    await hall.ended(first)
    for number in (2, 3):
        await hall.ended(await _triggered(hall, ref))
        paused = (await state_of(bench, ref)).status == "paused"
        assert paused is (number == 3), "no run more, and none less"
    told = await events(bench)
    at = next(index for index, each in enumerate(told) if each.type == "JobPaused")
    failed, pause = told[at - 1], told[at]
    assert (failed.type, pause.change().event.reason, pause.change().event.by) == (
        "RunFailed",
        REASON,
        "daybook",
    )
    assert failed.at == pause.at
    assert pause.position.pos == failed.position.pos + 1
    await bench.decider.decide(ref, ResumeJob(by="ann"), TESTER)
    await hall.ended(await _triggered(hall, ref))
    state = await state_of(bench, ref)
    assert (state.status, state.failures) == ("pending", 1), "it is counted anew"


async def _triggered(hall, ref):
    run = ids.chance_id(hall.bench.log.now(), 0, chance())
    await hall.bench.decider.decide(ref, TriggerJob(run_id=run, correlation_id="c"), TESTER)
    return run


async def test_a_finish_that_is_refused_pauses_nothing(office):
    """Whoever reports a lost start, or reports twice, has no second failure counted."""
    job_id = await office.create(pause_after_failures=2, overlap_policy="allow", retry=NO_RETRIES)
    run = await office.trigger(job_id)
    fence = (await office.decider.decide(f"run:{run}", StartRun(worker="w"), TESTER)).after.fence
    report = FailRun(
        fence=fence, error=Failure(class_="E", message="no"), names=("E",), draw=0.5, give_up=True
    )
    await office.decider.decide(f"run:{run}", report, TESTER)
    with pytest.raises(LostLease):
        await office.decider.decide(f"run:{run}", report, TESTER)
    state = await state_of(office, f"job:{job_id}")
    assert (state.status, state.failures) == ("pending", 1)


async def test_a_book_with_pauses_of_all_kinds_balances(office):
    """Ends, catching up, switches and pauses by failures: all that the audit knows holds, and the ledgers are right."""
    author = Author(office)
    now, does = author.time, author.does
    jobs = {
        name: f"job:{await office.create(every=10, **spec)}"
        for name, spec in {
            "ended": {},
            "caught": {"overlap_policy": "allow", "jitter_seconds": 5},
            "latest": {"misfire_policy": "skip"},
            "switched": {"end_at": now + timedelta(seconds=95)},
            "still": {},
            "failing": {"pause_after_failures": 1, "overlap_policy": "allow", "retry": NO_RETRIES},
        }.items()
    }
    await does(jobs["ended"], PauseJob(by="ann", until=now + timedelta(seconds=45), catch_up="skip"))
    await does(jobs["caught"], PauseJob(by="ann", until=now + timedelta(seconds=77), catch_up="all"))
    await does(jobs["latest"], PauseJob(by="ann", reason="x"))
    await does(jobs["switched"], PauseJob(by="ann", switch="all"))
    await does(jobs["still"], PauseJob(by="ann", switch="all", until=now + timedelta(days=5)))
    await author.fails(await author.triggers(jobs["failing"].removeprefix("job:")))
    author.passes(100)
    await does(jobs["latest"], PauseJob(by="bob", reason="y"))
    await does(jobs["latest"], ResumeJob(by="bob", catch_up="latest"))
    await does(jobs["switched"], ResumeJob(by="bob", switch="all"))
    for _ in range(4):
        for ref in jobs.values():
            await _wake(office.log, ref)
    await archive.record_deployment(office.pool, partitions=office.partitions, prefix=office.bench.prefix)
    for partition in range(office.partitions):
        await all_of(office.projector(f"p{partition}"), partition)
    report = await verify(office.pool, office.redis)
    assert {line.name: line.first for line in report.lines if line.violations} == {}
    rows = {
        f"job:{row['id']}": row["state"]
        for row in await office.pool.fetch("select id::text, state from ledger.jobs")
    }
    assert [rows[ref] for ref in jobs.values()] == [
        "pending", "pending", "pending", "completed", "paused", "paused",
    ]  # fmt: skip
