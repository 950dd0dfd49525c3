"""Traces of opening: whatever happens to the server, nothing is written to a log that wasn't compared."""

import asyncio

import pytest

from shared import recovery
from shared.domain.commands import TriggerJob
from shared.eventlog import opening
from shared.eventlog.script import Script
from shared.eventlog.writer import _flavours
from shared.testing import TESTER, Bench, a_job_id, wait_until
from tests.integration.archive_kit import all_of
from tests.integration.test_commit import a_batch, a_job, a_unit
from tests.integration.trace_kit import (
    Rewindable,
    a_rewindable_office,
    another_process,
    back,
    kinds,
    logged,
    look,
    scripts_of,
)


@pytest.fixture
async def set_back(postgres, tmp_path):
    """An office, and its server, which can be set back."""
    async with a_rewindable_office(postgres, tmp_path) as made:
        yield made


async def test_a_tenant_that_opens_its_log_opens_nobody_elses(tmp_path):
    """Trace 3b: one server, one script, two prefixes; the server was restarted."""
    with Rewindable(tmp_path) as server:
        x, y = [await Bench.on(server.endpoint.url) for _ in range(2)]
        server.crash()
        await back(x.redis)
        await back(y.redis)
        x.reopened.clear()
        y.reopened.clear()
        await a_job(x)
        assert x.reopened == [0]
        assert not (await opening.look(y.redis, y.log.keys(0))).is_open
        await a_job(y)
        assert y.reopened == [0]
        assert await kinds(y.redis, y.log.keys(0)) == ["LogOpened", "LogOpened", "JobCreated"]
        await x.close()
        await y.close()


async def test_a_log_set_back_between_comparison_and_opening_is_compared_again(set_back, monkeypatch):
    """Trace 3c: compared, the server dies and comes back without its tail, the client reconnects and opens."""
    office, server = set_back
    await office.create()
    server.remember()
    await office.create()
    await all_of(office.projector())
    server.crash()
    await back(office.redis)
    compared = []
    real = opening.running

    async def set_back_meanwhile(redis, keys):
        if not compared:
            server.rewind()
            await back(redis)
        compared.append(keys)
        return await real(redis, keys)

    monkeypatch.setattr(opening, "running", set_back_meanwhile)
    assert (await office.open(0)).found.lost == 1
    assert len(compared) == 1, "the second time there was nothing to go on from"
    assert await kinds(office.redis, office.keys(0)) == ["LogOpened"]


async def test_scripts_loaded_by_anyone_at_any_time_open_nothing(set_back):
    """Traces 3e, 3g: the fence is in `meta`; a changed script is no restart, a loaded one no opening."""
    office, server = set_back
    changed = Script(_flavours()[False].body + "\n-- as the next version has it\n")
    assert await call(office, changed, "before") == b"OK"
    server.crash()
    await back(office.redis)
    await scripts_of(office.redis)
    assert await call(office, changed, "after") == b"CLOSED"
    assert await call(office, _flavours()[True], "after") == b"CLOSED"
    await office.open(0)
    assert await call(office, changed, "after") == b"OK"


async def call(office, script, process):
    keys, args = a_batch(office.log, process, a_unit("job:" + a_job_id()))
    return (await script(office.redis, keys, args))[0]


async def test_a_log_that_was_made_without_its_meta_is_opened_behind_its_tail(set_back):
    """Trace 3: what a start that died half-way would have left; positions must not stand still for ever."""
    office, _ = set_back
    await office.create()
    tail = (await look(office)).tail_at
    await office.redis.delete(office.keys(0).meta)
    await office.create()
    events = await logged(office.redis, office.keys(0))
    assert [event.position.pos for event in events] == [1, 2, 3, 4]
    assert events[2].type == "LogOpened"
    assert events[2].position > tail


async def test_processes_that_meet_a_restart_together_open_the_log_once(set_back):
    """Trace 3: after taking the lock each looks again."""
    office, server = set_back
    job_id = await office.create(overlap_policy="allow")
    server.crash()
    await back(office.redis)
    processes = [another_process(office.bench, f"p{n}", reopen=office.open) for n in range(5)]
    await asyncio.gather(
        *(
            each.decide(f"job:{job_id}", TriggerJob(run_id=a_job_id(), correlation_id="c"), TESTER)
            for each in processes
        )
    )
    found = await kinds(office.redis, office.keys(0))
    assert found[2:] == ["LogOpened", *["RunRequested"] * 5]


async def test_the_lock_of_an_opener_that_died_is_free(set_back):
    """Trace 4: the lock is of the session, so it goes with its process, and the fence stays where it was raised."""
    office, server = set_back
    server.crash()
    await back(office.redis)
    async with office.pool.acquire() as dying:
        await dying.execute("select pg_advisory_lock($1, $2)", recovery.OPENING_LOCK, 0)
        waiting = asyncio.create_task(office.open(0))
        queued = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        await wait_until(lambda: office.pool.fetchval(queued), "the opener waits")
        await office.pool.execute("select pg_terminate_backend($1)", dying.get_server_pid())
        await asyncio.wait_for(waiting, 10)
    assert (await look(office)).is_open
