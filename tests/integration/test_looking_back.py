"""What jobs once were: folded from waypoints, from what was brought forward or from the beginning, it is the same."""

import time
import uuid

import pytest

from services.projector import job_rows, projections
from services.projector.rows import statement, waypoints
from shared.domain.commands import DeleteJob, PauseJob, ResumeJob, UpdateJob
from shared.readmodel import cuts
from shared.readmodel.database import columns
from shared.recovery import looking_back
from shared.recovery.looking_back import Span, TooFar, jobs_as_of
from shared.testing import TESTER, a_spec
from tests.integration.archive_kit import all_of, an_office
from tests.integration.retention_kit import drop, moment, split

RUN = 3  # events: requested, started, ended
LONG = 100_000  # events of one job, of which the state before any must be told within 200 ms


AGAIN = """
    insert into book.events (
        partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data, chain
    )
    select
        partition, epoch, pos + 3 * n, id || n, type, v, subject, job, advances, at, actor, cause, corr, trace, data,
        chain
    from (select * from book.events where partition = 0 order by pos desc limit 3) as last
    cross join generate_series(1, $1) as n
"""


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


async def a_life(office, job_id, **spec):
    """All that can happen to a job, and runs of it that don't advance it."""
    ref = f"job:{job_id}"
    for command in (
        PauseJob(by="ann", reason="why"),
        ResumeJob(by="ann"),
        UpdateJob(spec=a_spec(name="renamed", **spec)),
    ):
        await office.run(job_id)
        await office.decider.decide(ref, command, TESTER)
    run_id = await office.trigger(job_id)
    await office.fail(run_id, await office.start(run_id))  # and will be tried again: it is active


async def told(office, job_id, upto, since=0):
    known, _ = await jobs_as_of(office.pool, {job_id: Span(since, upto)})
    return known.get(job_id)


def of(brought):
    """What is shown of it, without where it comes from."""
    if brought is None:
        return None
    last = brought.last_run and (str(brought.last_run.id), *brought.last_run[1:])
    return brought.state, brought.version, brought.active_runs, last


async def ledger_at_each_place(office, job_ids):
    """Project event by event; what book and ledger say of the jobs after each."""
    end, seen = (await office.archived())[-1].position.pos, {}
    for upto in range(end + 1):
        seen[upto] = {job_id: of(await told(office, job_id, upto)) for job_id in job_ids}
    return seen


@pytest.mark.parametrize("apart", [1, 3])
async def test_waypoints_change_nothing_of_what_jobs_were_at_any_place(office, monkeypatch, apart):
    monkeypatch.setattr(job_rows, "APART", apart)
    first, second = await office.create(), await office.create(overlap_policy="allow")
    await a_life(office, first)
    await a_life(office, second, overlap_policy="allow")
    await office.decider.decide(f"job:{first}", DeleteJob(by="ann"), TESTER)
    await all_of(office.projector())
    assert await office.pool.fetchval("select count(*) from book.waypoints") >= 10 / apart
    with_them = await ledger_at_each_place(office, (first, second))
    row = await office.pool.fetchrow("select * from ledger.jobs where id = $1", uuid.UUID(second))
    state, _, active_runs, last_run = with_them[max(with_them)][second]
    assert (row["name"], row["active_runs"], str(row["last_run_id"])) == (
        state.spec.name,
        active_runs,
        last_run[0],
    )
    await office.pool.execute("delete from book.waypoints")
    assert await ledger_at_each_place(office, (first, second)) == with_them
    assert len({str(each) for each in with_them.values()}) > len(with_them) / 2, "every place is the same"


async def test_what_a_job_was_after_a_cut_is_folded_onto_what_was_brought_forward(office, monkeypatch):
    monkeypatch.setattr(job_rows, "APART", 1)
    job_id = await office.create(overlap_policy="allow")
    await a_life(office, job_id, overlap_policy="allow")
    projector = office.projector()
    await all_of(projector)
    then = await moment(office)
    before = (await office.archived())[-1].position.pos
    at_the_cut = of(await told(office, job_id, before))
    await a_life(office, job_id, overlap_policy="allow")
    await all_of(projector)
    end = (await office.archived())[-1].position.pos
    kept = {upto: of(await told(office, job_id, upto)) for upto in range(before, end + 1)}
    await split(office.pool, "book.events", [then])
    await drop(office.database_url, then, monkeypatch)
    cut = await cuts.cut_of(office.pool, 0)
    assert cut.pos == before
    assert await office.pool.fetchval("select min(pos) from book.waypoints") >= before, "of no use any more"
    for _ in ("with waypoints", "without"):
        assert {upto: of(await told(office, job_id, upto, before)) for upto in range(before, end + 1)} == kept
        await office.pool.execute("delete from book.waypoints")
    assert kept[before] == at_the_cut


async def a_long_life(office, job_id, count):
    """Tell the runs of a job again and again in its archive, with the waypoints that a projector leaves."""
    await office.pool.execute(AGAIN, count // RUN)
    events = await office.archived()
    jobs, runs = {}, {}
    passed = waypoints(projections.fold(events, jobs, runs), 0)
    await office.pool.execute(statement("save_waypoints"), *columns(passed))
    await office.pool.execute("analyze book.events, book.waypoints")
    return events[-1].position.pos


@pytest.mark.long
async def test_any_state_of_a_job_of_100_000_events_is_told_within_200_ms(office):
    job_id = await office.create()
    await office.run(job_id)
    await all_of(office.projector())
    end = await a_long_life(office, job_id, LONG)
    assert end > LONG
    took_ms = []
    for n in range(100):
        began_s = time.perf_counter()
        found = await told(office, job_id, upto := end - n * 991)
        took_ms.append((time.perf_counter() - began_s) * 1000)
        assert upto - found.told.pos < RUN
    print(f"p50 {sorted(took_ms)[50]:.1f} ms, at most {max(took_ms):.1f} ms")
    assert max(took_ms) < 200
    await office.pool.execute("delete from book.waypoints")
    began_s = time.perf_counter()
    await told(office, job_id, end)
    print(f"without waypoints {time.perf_counter() - began_s:.1f} s")


async def test_a_fold_without_waypoints_reads_on_and_ends_somewhere(office, monkeypatch):
    job_id = await office.create()
    await a_life(office, job_id)
    await all_of(office.projector())
    end = (await office.archived())[-1].position.pos
    expected = of(await told(office, job_id, end))
    monkeypatch.setattr(looking_back, "READ", 2)
    assert of(await told(office, job_id, end)) == expected
    monkeypatch.setattr(looking_back, "EVENTS_MAX", 5)
    with pytest.raises(TooFar):
        await told(office, job_id, end)
