"""Missing and duplicated occurrences are measured: 0 is what was found, not what is claimed."""

import asyncio
from datetime import timedelta

import pytest

from services.projector import gauges, missing, service
from shared.domain.commands import PauseJob, Wake
from shared.eventlog import opening
from shared.lifecycle import Stop
from shared.metrics import Metrics
from shared.readmodel import archive
from shared.readmodel.database import sql
from shared.testing import TESTER, wait_until
from tests.integration.archive_kit import all_of, an_office

NONE = timedelta()


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


def shown(metrics, name):
    return metrics.registry.get_sample_value(f"daybook_{name}")


async def wake(office, job_id):
    await office.decider.decide(f"job:{job_id}", Wake(), TESTER)


async def reached(office, *partitions):
    """Up to when the archive tells all of these partitions, as a projector's rounds find out."""
    horizons = missing.Horizons()
    checkpoints = {each: await archive.checkpoint(office.pool, each) for each in partitions}
    keys = {each: office.keys(each) for each in partitions}
    lag = await gauges.measure_lag(Metrics(), office.redis, keys, checkpoints)
    return horizons.saw(lag.ends, checkpoints)


async def test_what_no_timer_decides_is_missing_until_one_does(office):
    job_id = await office.create(every=1, overlap_policy="allow")
    await office.create(every=3600)
    await office.create()
    projector = office.projector()

    async def is_missing(grace=NONE):
        await all_of(projector)
        return await missing.count(office.pool, await reached(office, 0, 1), grace=grace)

    await wait_until(is_missing, "an occurrence is missing", every_s=0.1)
    assert await is_missing(timedelta(hours=1)) == 0, "the grace of an hour is not over"
    await wait_until(lambda: _is(is_missing, 2), "so is the next one", every_s=0.1)
    await wake(office, job_id)
    assert await is_missing() == 0


async def _is(count, expected):
    return await count() >= expected


async def test_a_decision_that_is_not_archived_yet_makes_nothing_missing(office):
    """The ledger is older than the log: what it says of the present would be wrong."""
    job_id = await office.create(every=1, overlap_policy="allow")
    await all_of(office.projector())
    since = await reached(office, 0)
    await wait_until(lambda: _due(office, job_id), "an occurrence is due")
    await wake(office, job_id)
    behind = await archive.checkpoint(office.pool, 0)
    lag = await gauges.measure_lag(Metrics(), office.redis, {0: office.keys(0)}, {0: behind})
    assert lag.ends[0].position > (behind.epoch, behind.pos)
    assert missing.Horizons().saw(lag.ends, {0: behind}) == {}
    assert await missing.count(office.pool, since, grace=NONE) == 0
    assert await missing.count(office.pool, {0: lag.ends[0].at}, grace=NONE) == 1, (
        "by the ledger's word alone"
    )


async def _due(office, job_id):
    held = (await office.log.load(f"job:{job_id}"))[f"job:{job_id}"]
    return held.state.next_for <= office.log.now()


async def test_each_replica_counts_what_is_missing_in_its_own_partitions(office):
    for partition in (0, 1):
        await office.create(partition, every=1)
        await all_of(office.projector(), partition)
    later = {each: at + timedelta(seconds=5) for each, at in (await reached(office, 0, 1)).items()}
    counts = [
        await missing.count(office.pool, {each: later[each] for each in part}, grace=NONE)
        for part in ((0,), (1,), (0, 1), ())
    ]
    assert counts[0] == pytest.approx(5, abs=1)
    assert counts[2] == counts[0] + counts[1]
    assert counts[3] == 0


async def test_paused_and_deleted_jobs_miss_nothing_and_one_that_cannot_be_read_misses_one(office):
    paused, unreadable = await office.create(every=1), await office.create(every=1)
    await office.decider.decide(f"job:{paused}", PauseJob(by="ann", reason=""), TESTER)
    await all_of(office.projector())
    await office.pool.execute("update book.snapshots set state = null where ref = $1", f"job:{unreadable}")
    later = {each: at + timedelta(seconds=60) for each, at in (await reached(office, 0)).items()}
    assert await missing.count(office.pool, later, grace=NONE) == 1


async def test_the_count_of_what_is_missing_ends_somewhere(office, monkeypatch):
    monkeypatch.setattr(missing, "OCCURRENCES_MAX", 100)
    monkeypatch.setattr(missing, "JOBS_MAX", 3)
    for _ in range(4):
        await office.create(every=1)
    await all_of(office.projector())
    at = (await reached(office, 0))[0]
    assert await missing.count(office.pool, {0: at + timedelta(days=1)}, grace=NONE) == 100
    soon = await missing.count(office.pool, {0: at + timedelta(seconds=1.2)}, grace=NONE)
    assert soon <= 3, "one each of three of the four jobs"


async def test_nothing_is_read_but_the_head_of_an_index_where_nothing_is_missing(office):
    await office.create(every=3600)
    await all_of(office.projector())
    async with office.pool.acquire() as connection, connection.transaction():
        await connection.execute("set local enable_seqscan = off")  # of one row it would be quicker
        await connection.execute("set local enable_bitmapscan = off")
        statement = sql("shared.readmodel", "statements/overdue_jobs.sql")
        plan = await connection.fetch(f"explain {statement}", [0], [office.log.now()], missing.JOBS_MAX, None)
    text = "\n".join(row[0] for row in plan)
    assert "Index Cond: ((tenant = tenants.tenant) AND (next_run_time <=" in text.replace("jobs.", ""), text


async def test_a_replica_shows_what_is_missing_and_stops_when_it_has_no_partition(office, monkeypatch):
    monkeypatch.setattr(missing, "GRACE", NONE)
    monkeypatch.setattr(service, "MEASURE_EVERY_S", 0.05)
    monkeypatch.setattr(service, "COUNT_EVERY", 10**6)  # only where partitions have changed hands
    metrics, stop = Metrics(), Stop()

    def jobs():
        return metrics.registry.get_sample_value("daybook_jobs", {"status": "pending", "job_type": "custom"})

    await office.create(every=1)
    await all_of(office.projector("before"))
    projector = office.projector(metrics=metrics)
    running = asyncio.create_task(projector.run(stop))
    await wait_until(lambda: jobs() == 1, "the job is counted")
    await wait_until(lambda: shown(metrics, "occurrences_missing") > 0, "its first occurrence is missing")
    monkeypatch.setattr(type(projector._share), "owned", frozenset())
    await wait_until(lambda: shown(metrics, "occurrences_missing") == 0, "another replica tells")
    await wait_until(lambda: jobs() is None, "of all that it counts")
    stop.set("the test is over")
    await running


async def test_an_occurrence_that_the_log_decides_twice_is_counted_once_it_is_archived(office):
    job_id = await office.create(every=1, overlap_policy="allow")
    projector = office.projector()
    await wait_until(lambda: _due(office, job_id), "an occurrence is due")
    await wake(office, job_id)
    await all_of(projector)
    assert shown(office.bench.metrics, "occurrences_duplicated_total") == 0
    tail = (await opening.look(office.redis, office.keys(0))).tail
    assert tail.type == "RunRequested"
    ((_, fields),) = await office.redis.xrevrange(office.keys(0).log, count=1)
    await office.redis.xadd(
        office.keys(0).log, fields | {b"id": b"forged"}, id=f"{tail.position.epoch}-{tail.position.pos + 1}"
    )
    await all_of(projector)
    assert shown(office.bench.metrics, "occurrences_duplicated_total") == 1
