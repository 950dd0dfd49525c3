"""Traces of the projector: one history in log and archive, and no row, month or neighbour that stops it."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from services.projector import committer, partition, projections
from services.projector.rows import statement
from shared.domain import ids
from shared.domain.commands import PauseJob, TriggerJob, Wake
from shared.eventlog import snapshot
from shared.readmodel import archive, chain
from shared.testing import TESTER, wait_until
from tests.integration.archive_kit import all_of, an_office
from tests.integration.trace_kit import a_rewindable_office, back, logged


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


@pytest.fixture
async def set_back(postgres, tmp_path):
    """An office, and its server, which can be set back."""
    async with a_rewindable_office(postgres, tmp_path) as made:
        yield made


@pytest.mark.parametrize(("where", "small"), [(committer, partition.SMALL), (partition, 0)])
async def test_a_projector_in_flight_adds_nothing_after_the_log_was_opened_without_its_events(
    set_back, monkeypatch, where, small
):
    """Trace 4: it has read three events; Redis comes back without them and is opened; then it commits."""
    office, server = set_back
    await office.create()
    projector = office.projector()
    await all_of(projector)
    server.remember()
    for _ in range(3):
        await office.create(name="rolled back")
    at_the_door, go_on = asyncio.Event(), asyncio.Event()
    name = "commit_together" if where is committer else "commit"
    real = getattr(where, name)

    async def stalled(*told):
        at_the_door.set()
        await go_on.wait()
        return await real(*told)

    monkeypatch.setattr(partition, "SMALL", small)
    monkeypatch.setattr(where, name, stalled)
    in_flight = asyncio.create_task(projector.run_once(0))
    await at_the_door.wait()
    server.rewind()
    await back(office.redis)
    await office.open(0)
    await office.create(name="after")
    go_on.set()
    assert await in_flight == 0, "its checkpoint was fenced off"
    await back(office.blocking)
    await all_of(projector)
    assert await office.archived() == await logged(office.redis, office.keys(0))
    names = await office.pool.fetch("select name from ledger.jobs order by name")
    assert [row["name"] for row in names] == ["a job", "after"]


async def test_no_state_depends_on_the_time_of_its_commit(office):
    """Trace 8: with every `at` an hour later the events fold to the snapshots that stand in Redis, to the byte."""
    job_id = await office.create(every=1)
    ref = f"job:{job_id}"
    next_for = (await office.log.load(ref))[ref].state.next_for
    await wait_until(lambda: office.log.now() > next_for, "it is due")
    await office.decider.decide(ref, Wake(), TESTER)
    await office.decider.decide(ref, PauseJob(by="ann"), TESTER)
    events = [replace(event, at=event.at + 3_600_000) for event in await logged(office.redis, office.keys(0))]
    folded = projections.fold(events, {}, {})
    held = (await office.log.load(ref))[ref]
    assert snapshot.dump(folded.jobs[job_id].job) == snapshot.dump(held.state)
    assert str(folded.jobs[job_id].version) == held.version


async def test_the_bytes_of_an_event_are_archived_as_they_stand(office):
    """Trace 10: jsonb would sort the keys, drop the first `a` and make 100 of 1e2; the chain would not hold."""
    await office.create()
    tail = (await logged(office.redis, office.keys(0)))[-1]
    odd = '{"b": 1,"a":1e2, "a":2,"\\u00e9":"\\ud83d\\ude00"}'
    fields = {
        "id": "odd",
        "type": "JobTeleported",
        "v": 3,
        "subject": "job/7",
        "job": "",
        "advances": "subject",
    }
    fields |= {
        "at": tail.at + 1,
        "actor": "a",
        "cause": "c",
        "corr": "d",
        "trace": "00-aa-bb-01",
        "data": odd,
    }
    await office.redis.xadd(office.keys(0).log, fields, id=f"{tail.position.epoch}-{tail.position.pos + 1}")
    assert await all_of(office.projector()) == 3
    last = (await office.archived())[-1]
    assert (last.v, last.trace, last.data) == (3, "00-aa-bb-01", odd)
    rows = await office.pool.fetch("select * from book.events where partition = 0 order by pos")
    link = chain.GENESIS
    for row in rows:
        link = chain.link(
            link, [ids.to_ms(row["at"]) if name == "at" else row[name] for name in chain.FIELDS]
        )
        assert link == row["chain"]


@pytest.mark.parametrize("years", [-3, 40])
async def test_a_run_of_a_month_that_has_no_partition_is_projected(office, years):
    """Trace 11: the month of a run is that of its id, which may have been dropped, or not been made yet."""
    job_id = await office.create()
    run_id = ids.chance_id(office.log.now() + timedelta(days=365 * years), 0, 7)
    await office.decider.decide(f"job:{job_id}", TriggerJob(run_id=run_id, correlation_id="c"), TESTER)
    await office.succeed(run_id, await office.start(run_id))
    assert await all_of(office.projector()) == 5
    query = "select tableoid::regclass::text as child, status from ledger.runs"
    assert tuple(await office.pool.fetchrow(query)) == ("ledger.runs_default", "succeeded")


@pytest.mark.parametrize(
    ("result", "stored"),
    [
        ({"a\x00b": ["\\u0000", "fine"]}, '{"a\ufffdb": ["\\\\u0000", "fine"]}'),
        (["\ud800", "\x00"], '["\ufffd", "\ufffd"]'),
    ],
    ids=["NUL", "lone surrogate"],
)
async def test_a_result_that_postgres_takes_in_no_column_is_made_storable(office, result, stored):
    """Trace 11: a NUL or a lone surrogate, returned by some handler, must not stop a partition."""
    await office.run(await office.create(), result=result)
    assert await all_of(office.projector()) == 5
    assert await office.pool.fetchval("select count(*) from book.projection_errors") == 0
    assert await office.pool.fetchval("select result from ledger.runs") == stored


async def test_partitions_never_wait_for_each_others_rows(office):
    """Trace 11: shared statistics rows were a deadlock; here one partition stalls in its transaction."""
    projector = office.projector()
    for number in (0, 1):
        job_id = await office.create(number)
        await office.trigger(job_id, partition=number)
        await all_of(projector, number)
    async with office.pool.acquire() as stalled, stalled.transaction():
        for table in ("run_hourly", "jobs", "runs"):
            await stalled.execute(f"select * from ledger.{table} where partition = 0 for update")  # noqa: S608
        await stalled.execute("select * from book.checkpoints where partition = 0 for update")
        await office.trigger(await office.create(1), partition=1)
        assert await asyncio.wait_for(all_of(projector, 1), 10) == 2
    counted = "select partition, requested from ledger.run_hourly order by 1"
    assert [tuple(row) for row in await office.pool.fetch(counted)] == [(0, 1), (1, 2)]


async def test_the_key_of_the_archive_is_not_what_keeps_an_event_from_standing_there_twice(office):
    """Trace 11: `at` is part of the key, as Postgres wants it; it is the checkpoint that moves once."""
    await office.create()
    projector = office.projector()
    await all_of(projector)
    (line,) = [projector._lines[0]]
    now = line.checkpoint
    before = await office.archived()
    stale = (now.partition, now.fence, now.ledgers, now.epoch, now.pos - 1)
    new = (now.epoch, now.pos, now.id, now.at, now.chain)
    assert await office.pool.execute(statement("move_checkpoint"), *stale, *new) == "UPDATE 0"
    assert await archive.checkpoint(office.pool, 0) == now
    assert await office.archived() == before
