"""Little batches of several partitions are written in one transaction, and none of them suffers from another."""

import asyncio
import math
import time

import pytest

from services.projector import committer as committing
from services.projector import partition as partitions
from shared.domain import calendar
from shared.domain.commands import CalendarContent, ChangeCalendar, StartRun, SucceedRun
from shared.eventlog.envelope import Context
from shared.readmodel import archive, chain
from shared.testing import TESTER, wait_until
from tests.integration.archive_kit import all_of, an_office
from tests.integration.trace_kit import logged

BOTH = (0, 1)
SUNDAYS = CalendarContent(description="", dates=(), weekdays=("sun",), timezone=None)
NEVER_S = 60.0  # longer than any test


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


@pytest.fixture
def groups(monkeypatch):
    """The partitions of each group whose writing was begun."""
    begun = []
    real = committing.commit_together

    async def noting(connection, batches):
        begun.append([each.before.partition for each in batches])
        return await real(connection, batches)

    monkeypatch.setattr(committing, "commit_together", noting)
    return begun


@pytest.fixture
def alone(monkeypatch):
    """The partitions of the batches that were committed by themselves."""
    committed = []
    real = partitions.commit

    async def noting(connection, batch, destroy):
        committed.append(batch.before.partition)
        return await real(connection, batch, destroy)

    monkeypatch.setattr(partitions, "commit", noting)
    return committed


async def a_settled_projector(office, *, haste_s=NEVER_S, name="p1"):
    """A projector that has archived all there is, and whose next groups wait for their pace."""
    projector = office.projector(name)
    for partition in BOTH:
        await all_of(projector, partition)
    projector._committer._pace_s, projector._committer._haste_s = NEVER_S, haste_s
    projector._committer._began_at = time.monotonic()
    return projector


async def both_at_once(projector, *, joining=2):
    """Project a batch of each partition, when `joining` of them wait for the committer."""
    rounds = asyncio.gather(*(projector.run_once(partition) for partition in BOTH))
    await wait_until(lambda: waiting(projector) == joining, f"{joining} batches wait")
    time_passes(projector)
    return await rounds


def waiting(projector):
    return len(projector._committer._waiting)


def time_passes(projector):
    """The pace doesn't keep the next group any longer."""
    projector._committer._began_at = -math.inf
    projector._committer._hurry.set()


async def rows_of(office):
    """All that stands in the archive's database, times of commit included."""
    tables = (
        "book.events",
        "book.snapshots",
        "book.waypoints",
        "book.checkpoints",
        "ledger.jobs",
        "ledger.runs",
        "ledger.run_hourly",
    )
    return {
        table: sorted(map(str, await office.pool.fetch(f"select * from {table}")))  # noqa: S608 - the names above
        for table in tables
    }


async def a_life_in_each_partition(office):
    for partition in BOTH:
        job_id = await office.create(partition, name=f"in {partition}", tags=("a", "b"))
        run_id = await office.trigger(job_id, partition=partition)
        await office.succeed(run_id, await office.start(run_id), {"n": [1, None]})
        await office.trigger(job_id, partition=partition)


async def test_a_group_writes_what_each_batch_would_by_itself(office, groups, alone, monkeypatch):
    projector = await a_settled_projector(office)
    await a_life_in_each_partition(office)
    groups.clear()
    assert await both_at_once(projector) == [5, 5]
    assert [sorted(group) for group in groups] == [[0, 1]]
    assert alone == []
    together = await rows_of(office)
    tables = (
        "book.events, book.snapshots, book.waypoints, ledger.jobs, ledger.runs, ledger.run_hourly, "
        "book.projection_errors"
    )
    await office.pool.execute(f"truncate {tables}")
    reset = "update book.checkpoints set epoch = 0, pos = 0, id = '', at = null, chain = $1"
    await office.pool.execute(reset, chain.GENESIS)
    monkeypatch.setattr(partitions, "SMALL", 0)
    again = office.projector("p2")
    assert [await all_of(again, partition) for partition in BOTH] == [6, 6]
    assert alone == [0, 1]
    assert await rows_of(office) == together
    assert len(together["ledger.runs"]) == 4


async def test_a_batch_with_what_groups_have_no_part_for_goes_by_itself_at_once(office, groups):
    projector = await a_settled_projector(office)
    made = ChangeCalendar(name="off", tenant="t", by="ann", content=SUNDAYS)
    await office.decider.decide("calendar:t:off", made, TESTER)
    groups.clear()
    await all_of(projector, calendar.partition_of("t:off", 2))
    assert groups == []
    assert await office.pool.fetchval("select count(*) from ledger.calendars") == 1


async def test_a_partition_that_was_overtaken_does_not_hold_up_the_others(office, groups):
    first = await a_settled_projector(office)
    second = office.projector("p2")
    await a_life_in_each_partition(office)
    assert await second.run_once(0) == 5
    groups.clear()
    assert await both_at_once(first) == [0, 5], "the first partition's checkpoint is old"
    assert [sorted(group) for group in groups] == [[0, 1]]
    assert await first.run_once(0, block_ms=None) == 0
    for partition in BOTH:
        assert await office.archived(partition) == await logged(office.redis, office.keys(partition))
    hours = await office.pool.fetch("select requested, succeeded from ledger.run_hourly")
    assert [tuple(row) for row in hours] == [(2, 1), (2, 1)]


async def test_a_row_refused_in_one_partition_costs_the_others_nothing(office, groups, alone):
    await office.pool.execute("alter table ledger.jobs add constraint no_cats check (name <> 'cat')")
    projector = await a_settled_projector(office)
    await office.create(0, name="cat")
    await office.create(1, name="dog")
    assert await both_at_once(projector) == [1, 1]
    errors = await office.pool.fetch("select partition, model, sqlstate from book.projection_errors")
    assert [tuple(row) for row in errors] == [(0, "jobs", "23514")]
    assert await office.pool.fetchval("select string_agg(name, ',') from ledger.jobs") == "dog"
    groups.clear()
    alone.clear()
    await office.create(0, name="cow")
    await office.create(1, name="hen")
    assert await both_at_once(projector, joining=1) == [1, 1]
    assert groups == [[1]], "who was in trouble stays apart for a while"
    assert alone == [0]


async def test_a_partition_whose_rows_somebody_holds_does_not_hold_up_the_others(office):
    projector = await a_settled_projector(office)
    await a_life_in_each_partition(office)
    await both_at_once(projector)
    for table in ("book.checkpoints", "ledger.run_hourly"):
        await a_life_in_each_partition(office)
        async with office.pool.acquire() as stalled, stalled.transaction():
            await stalled.execute(f"select * from {table} where partition = 0 for update")  # noqa: S608
            held, free = (asyncio.create_task(projector.run_once(partition)) for partition in BOTH)
            await wait_until(lambda: waiting(projector) == 2, "both batches wait")
            time_passes(projector)
            assert await asyncio.wait_for(free, 10) == 5
            assert not held.done()
        assert await asyncio.wait_for(held, 10) == 5
        assert projector._lines[0]._apart == 0, "it waited, and that was all"


async def test_what_nobody_waits_for_is_written_at_a_pace_and_with_the_next_that_somebody_waits_for(
    office, groups
):
    executor = Context(actor="executor")
    run_id = await office.trigger(await office.create())
    projector = await a_settled_projector(office, haste_s=0.0)
    groups.clear()
    started = await office.decider.decide(f"run:{run_id}", StartRun(worker="w"), executor)
    unhurried = asyncio.create_task(projector.run_once(0))
    await wait_until(lambda: waiting(projector) == 1, "the batch waits")
    assert groups == [], "the last group has just been written"
    await office.create(1)
    assert await projector.run_once(1) == 1
    assert await unhurried == 1
    assert groups == [[0, 1]]
    command = SucceedRun(fence=started.after.fence, result=None)
    await office.decider.decide(f"run:{run_id}", command, executor)
    time_passes(projector)
    assert await projector.run_once(0) == 1, "after a quiet spell nobody waits"


@pytest.mark.parametrize(
    ("short", "event_s", "most_s"),
    [(False, "EVENT_S", "PACE_MAX_S"), (True, "EVENT_SHORT_S", "PACE_SHORT_MAX_S")],
)
async def test_a_large_group_is_followed_later_unless_somebody_waits(
    office, groups, monkeypatch, short, event_s, most_s
):
    executor = Context(actor="executor")
    run_id = await office.trigger(await office.create())
    projector = await a_settled_projector(office, haste_s=0.0)
    projector._committer._pace_s = 0.0
    monkeypatch.setattr(projector._manners, "short", lambda: short)
    monkeypatch.setattr(committing, event_s, NEVER_S)
    monkeypatch.setattr(committing, most_s, NEVER_S)
    started = await office.decider.decide(f"run:{run_id}", StartRun(worker="w"), executor)
    time_passes(projector)
    assert await projector.run_once(0) == 1
    groups.clear()
    command = SucceedRun(fence=started.after.fence, result=None)
    await office.decider.decide(f"run:{run_id}", command, executor)
    after = asyncio.create_task(projector.run_once(0))
    await wait_until(lambda: waiting(projector) == 1, "the batch waits")
    assert groups == []
    await office.create(1)
    assert await projector.run_once(1) == 1
    assert await after == 1


async def test_a_batch_that_gives_up_waiting_is_not_written_and_comes_again(office, groups):
    projector = await a_settled_projector(office)
    await a_life_in_each_partition(office)
    rounds = [asyncio.create_task(projector.run_once(partition)) for partition in BOTH]
    await wait_until(lambda: waiting(projector) == 2, "both batches wait")
    rounds[0].cancel()
    await asyncio.gather(rounds[0], return_exceptions=True)
    assert rounds[0].cancelled()
    groups.clear()
    time_passes(projector)
    assert await rounds[1] == 5
    assert groups == [[1]]
    assert (await archive.checkpoint(office.pool, 0)).pos == 1
    time_passes(projector)
    assert await projector.run_once(0) == 5


async def test_whoever_waits_when_the_committer_closes_is_let_go(office):
    projector = await a_settled_projector(office)
    await office.create()
    round_ = asyncio.create_task(projector.run_once(0))
    await wait_until(lambda: waiting(projector) == 1, "the batch waits")
    await projector.close()
    await asyncio.wait([round_], timeout=10)
    assert round_.cancelled()
    assert (await archive.checkpoint(office.pool, 0)).pos == 1


async def test_a_broken_connection_under_a_group_is_replaced_and_loses_nothing(office, groups, monkeypatch):
    projector = await a_settled_projector(office)
    await a_life_in_each_partition(office)
    noting = committing.commit_together

    async def killed(connection, batches):
        await office.pool.execute("select pg_terminate_backend($1)", connection.get_server_pid())
        monkeypatch.setattr(committing, "commit_together", noting)
        return await noting(connection, batches)

    monkeypatch.setattr(committing, "commit_together", killed)
    assert await both_at_once(projector) == [5, 5]
    groups.clear()
    await a_life_in_each_partition(office)
    assert await both_at_once(projector) == [5, 5]
    assert len(groups) == 1
    for partition in BOTH:
        assert await office.archived(partition) == await logged(office.redis, office.keys(partition))
    hours = await office.pool.fetch("select requested, succeeded from ledger.run_hourly")
    assert [tuple(row) for row in hours] == [(4, 2), (4, 2)]


async def test_a_group_that_is_written_but_not_announced_is_announced_by_the_next_round(office, monkeypatch):
    projector = await a_settled_projector(office)
    await office.create()
    real = projector._committer.announce

    async def broken(_archived):
        raise ConnectionError("gone")

    monkeypatch.setattr(projector._committer, "announce", broken)
    time_passes(projector)
    with pytest.raises(ConnectionError):
        await projector.run_once(0)
    told = []

    async def noted(archived):
        archived = list(archived)
        told.extend(archived)
        await real(archived)

    monkeypatch.setattr(projector._committer, "announce", noted)
    assert await projector.run_once(0) == 0
    assert [each.pos for each in told] == [2]


async def test_two_replicas_that_both_serve_all_partitions_archive_each_event_once(office):
    first = await a_settled_projector(office, haste_s=0.0)
    second = await a_settled_projector(office, haste_s=0.0, name="p2")
    for _ in range(10):
        await asyncio.gather(office.create(0), office.create(1))
        await asyncio.gather(*(each.run_once(partition) for each in (first, second) for partition in BOTH))
    for partition in BOTH:
        await all_of(first, partition)
        assert await office.archived(partition) == await logged(office.redis, office.keys(partition))
    assert await office.pool.fetchval("select count(*) from ledger.jobs") == 20
    assert TESTER.actor not in committing.OURS, "these tests are about what somebody waits for"
