"""What was committed stands in Postgres, once, in order, whoever projects and whatever is refused."""

import asyncio
import json

import asyncpg
import pytest
from msgspec.structs import replace

from services.projector import gauges, hours, job_rows, partition, projections, run_rows, trimming
from services.projector.batch import COPY_FROM
from services.projector.rows import statement
from shared.domain.commands import DeleteJob, PauseJob
from shared.eventlog import opening, snapshot
from shared.eventlog.position import START
from shared.faults import BROKEN, Fatal
from shared.lifecycle import Stop
from shared.metrics import Metrics
from shared.readmodel import archive, chain
from shared.testing import TESTER, wait_until
from tests.integration.archive_kit import all_of, an_office


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


async def runs_of(office):
    return await office.pool.fetch("select * from ledger.runs order by id")


async def test_a_job_and_its_runs_stand_in_the_ledgers_as_they_were_committed(office):
    job_id = await office.create(name="tidy", tags=("a", "b"))
    run_id = await office.run(job_id, result={"files": 3})
    assert await all_of(office.projector()) == 5
    job = await office.pool.fetchrow("select * from ledger.jobs")
    assert (str(job["id"]), job["name"], job["tags"], job["status"]) == (
        job_id,
        "tidy",
        ["a", "b"],
        "pending",
    )
    assert (str(job["last_run_id"]), job["last_run_status"], job["pos"]) == (run_id, "succeeded", 5)
    (run,) = await runs_of(office)
    assert (str(run["id"]), run["status"], run["result"]) == (run_id, "succeeded", '{"files": 3}')
    hour = await office.pool.fetchrow("select * from ledger.run_hourly")
    assert (hour["requested"], hour["started"], hour["succeeded"]) == (1, 1, 1)


async def test_a_snapshot_in_the_archive_is_the_one_in_redis_to_the_byte(office):
    job_id = await office.create(every=60)
    await office.trigger(job_id)
    await office.decider.decide(f"job:{job_id}", PauseJob(by="ann"), TESTER)
    await all_of(office.projector())
    row = await office.pool.fetchrow("select * from book.snapshots")
    ref = f"job:{job_id}"
    held = (await office.log.load(ref))[ref]
    assert row["ref"] == ref
    assert row["state"] == snapshot.dump(held.state)
    assert f"{row['epoch']}-{row['pos']}" == held.version


@pytest.mark.parametrize("jobs", [2, COPY_FROM])
async def test_the_archive_holds_what_the_log_holds_to_the_byte(office, jobs):
    for number in range(jobs):
        await office.create(name=f"job {number}, ünïcode")
    projector = office.projector()
    assert await all_of(projector) == jobs + 1
    assert await office.archived() == await projector._lines[0]._reader.read(0, START, "")


async def a_busy_day(office):
    """Jobs and runs in every state, projected in several batches."""
    projector = office.projector()
    for policy in ("allow", "skip"):
        job_id = await office.create(overlap_policy=policy)
        await office.run(job_id, result=[1, {"b": None}])
        await all_of(projector)
        run_id = await office.trigger(job_id)
        await office.fail(run_id, await office.start(run_id))
        await all_of(projector)
    await office.decider.decide(f"job:{job_id}", DeleteJob(by="ann"), TESTER)
    await office.create(every=3600)
    await all_of(projector)
    return projector


async def test_the_ledgers_are_what_the_archive_folds_to_in_one_batch(office):
    await a_busy_day(office)
    folded = projections.fold(await office.archived(), {}, {})
    assert not folded.unreadable
    runs = await office.pool.fetch(
        statement("load_runs"), list(folded.runs), [r.id_at for r in folded.runs.values()]
    )
    stored = {str(row["id"]): run_rows.loaded(tuple(row)) for row in runs}
    assert {key: parsed(row) for key, row in stored.items()} == {
        key: parsed(row) for key, row in folded.runs.items()
    }
    jobs = await office.pool.fetch(statement("load_jobs"), list(folded.jobs))
    assert {row["id"]: job_rows.loaded(tuple(row)) for row in jobs} == folded.jobs
    rows = await office.pool.fetch("select * from ledger.run_hourly order by partition, hour, job_type")
    assert [tuple(row) for row in rows] == hours.stored(folded.hours, 0)


def parsed(row):
    return replace(row, result=row.result and json.loads(row.result))  # jsonb has its own spacing


async def test_a_projector_that_knows_nothing_goes_on_where_another_one_stopped(office):
    job_id = await office.create()
    run_id = await office.trigger(job_id)
    await all_of(office.projector("p1"))
    await office.succeed(run_id, await office.start(run_id))
    assert await all_of(office.projector("p2")) == 2
    (run,) = await runs_of(office)
    assert (run["status"], run["attempt"]) == ("succeeded", 1)
    assert await office.pool.fetchval("select active_runs from ledger.jobs") == 0


async def test_two_projectors_of_one_partition_archive_each_event_once(office):
    first, second = office.projector("p1"), office.projector("p2")
    for _ in range(20):
        await office.create()
        await asyncio.gather(first.run_once(0), second.run_once(0))
    await all_of(first)
    positions = [event.position.pos for event in await office.archived()]
    assert positions == list(range(1, 22))
    assert await office.pool.fetchval("select count(*) from ledger.jobs") == 20


async def test_a_projector_that_was_overtaken_writes_nothing_and_looks_again(office):
    job_id = await office.create()
    first, second = office.projector("p1"), office.projector("p2")
    await all_of(first)
    await all_of(second)
    await office.run(job_id)
    assert await first.run_once(0) == 3
    await office.run(job_id)
    assert await second.run_once(0) == 0, "its checkpoint is old: it must not write"
    assert await second.run_once(0) == 3
    row = await office.pool.fetchrow("select requested, succeeded from ledger.run_hourly")
    assert tuple(row) == (2, 2)


async def test_a_row_that_its_table_refuses_is_set_aside_and_the_rest_goes_on(office):
    await office.pool.execute("alter table ledger.jobs add constraint no_cats check (name <> 'cat')")
    for name in ("dog", "cat", "cow", "hen"):
        await office.create(name=name)
    projector = office.projector()
    assert await all_of(projector) == 5
    names = await office.pool.fetch("select name from ledger.jobs order by name")
    assert [row["name"] for row in names] == ["cow", "dog", "hen"]
    error = await office.pool.fetchrow("select * from book.projection_errors")
    assert (error["model"], error["pos"], error["sqlstate"]) == ("jobs", 3, "23514")
    assert "no_cats" in error["message"]
    assert office.bench.metrics.projection_errors_total._value.get() == 1
    assert await all_of(projector) == 0, "what was refused isn't tried for ever"


async def test_a_row_that_was_refused_is_not_counted_on_later(office):
    await office.pool.execute("alter table ledger.runs add constraint no_runs check (status <> 'queued')")
    run_id = await office.trigger(await office.create())
    projector = office.projector()
    await all_of(projector)
    await office.succeed(run_id, await office.start(run_id))
    await all_of(projector)
    assert await runs_of(office) == []
    hour = await office.pool.fetchrow("select * from ledger.run_hourly")
    assert (hour["requested"], hour["succeeded"]) == (1, 0), "as a projector that starts now would count"


async def test_a_result_that_an_index_cannot_hold_costs_one_row_only(office):
    await office.pool.execute("create index too_small on ledger.runs ((result::text))")
    job_id = await office.create(overlap_policy="allow")
    noise = "".join(chr(0x4E00 + (n * 7919) % 20000) for n in range(9000))  # pglz can't make it fit
    good, large = await office.trigger(job_id), await office.trigger(job_id)
    await office.succeed(good, await office.start(good), "small")
    await office.succeed(large, await office.start(large), noise)
    await all_of(office.projector())
    assert [str(row["id"]) for row in await runs_of(office)] == [good]
    error = await office.pool.fetchrow("select * from book.projection_errors")
    assert (error["model"], error["key"], error["sqlstate"]) == ("runs", large, "54000")


async def test_only_the_archive_may_stop_a_projector_and_then_nothing_is_written(office):
    await office.create()
    await office.pool.execute("alter table book.events add constraint nothing check (type <> 'JobCreated')")
    projector = office.projector()
    with pytest.raises(asyncpg.CheckViolationError):
        await projector.run_once(0)
    assert await office.pool.fetchval("select count(*) from ledger.jobs") == 0
    assert (await archive.checkpoint(office.pool, 0)).pos == 0
    await office.pool.execute("alter table book.events drop constraint nothing")
    assert await all_of(projector) == 2


async def test_an_event_that_nobody_can_read_is_archived_and_recorded(office):
    await office.create()
    fields = {
        "id": "x",
        "type": "JobTeleported",
        "v": 9,
        "subject": "job/7",
        "job": "",
        "advances": "subject",
        "at": 1795435200000,
    }
    fields |= dict.fromkeys(("actor", "cause", "corr", "trace"), "") | {"data": "{}"}
    state = (await office.archived()) or await _tail(office)
    await office.redis.xadd(
        office.keys(0).log, fields, id=f"{state[-1].position.epoch}-{state[-1].position.pos + 1}"
    )
    assert await all_of(office.projector()) == 3
    error = await office.pool.fetchrow("select * from book.projection_errors")
    assert (error["model"], error["key"], error["pos"]) == ("event", "x", 3)
    assert "unknown to this build" in error["message"]


async def _tail(office):
    return [(await opening.look(office.redis, office.keys(0))).tail]


async def test_the_chain_links_every_event_to_the_one_before_and_shows_a_change(office):
    await a_busy_day(office)
    assert await broken_links(office) == []
    await office.pool.execute("update book.events set data = replace(data, 'ann', 'bob') where pos = 2")
    assert await broken_links(office) == [2]


async def broken_links(office):
    rows = await office.pool.fetch("select * from book.events where partition = 0 order by pos")
    before, broken = chain.GENESIS, []
    for row in rows:
        fields = [int(row["at"].timestamp() * 1000) if name == "at" else row[name] for name in chain.FIELDS]
        if chain.link(before, fields) != row["chain"]:
            broken.append(row["pos"])
        before = row["chain"]
    assert (await archive.checkpoint(office.pool, 0)).chain == before
    return broken


async def test_whoever_waits_for_the_archive_is_told_the_position(office):
    listener = await listening(office)
    await office.create()
    await all_of(office.projector())
    epoch = (await archive.checkpoint(office.pool, 0)).epoch
    assert await heard(listener, 2) == ["0-0", f"{epoch}-2"]
    await listener.aclose()


async def test_a_projector_that_takes_over_tells_the_position_that_its_predecessor_may_not_have_told(office):
    await office.create()
    await all_of(office.projector("p1"))
    listener = await listening(office)
    await all_of(office.projector("p2"))
    epoch = (await archive.checkpoint(office.pool, 0)).epoch
    assert await heard(listener, 1) == [f"{epoch}-2"]
    await listener.aclose()


async def listening(office):
    listener = office.redis.pubsub(ignore_subscribe_messages=True)
    await listener.subscribe(office.keys(0).archived)
    await listener.get_message(timeout=1)
    return listener


async def heard(listener, count):
    """The next `count` messages."""
    told = []

    async def enough():
        message = await listener.get_message(timeout=0.1)
        if message is not None:
            told.append(message["data"].decode())
        return len(told) >= count

    await wait_until(enough, f"{count} watermarks")
    return told


async def test_what_is_archived_leaves_the_log_but_never_what_is_not(office):
    projector = office.projector()
    projector._lines[0]._tail = trimming.Tail(events_kept=150)
    await all_of(projector)
    projector._lines[0]._tail = trimming.Tail(events_kept=150)
    await office.redis.config_set("stream-node-max-entries", 10)
    for _ in range(3):
        await asyncio.gather(*(office.create() for _ in range(100)))
        await all_of(projector)
    await office.redis.config_set("stream-node-max-entries", 100)
    assert 150 <= await office.redis.xlen(office.keys(0).log) < 301
    await office.create()
    assert await all_of(projector) == 1
    assert len(await office.archived()) == 302


async def test_connections_killed_under_the_projector_lose_nothing(office, monkeypatch):
    job_id = await office.create()
    projector = office.projector()
    await all_of(projector)
    await office.run(job_id)
    monkeypatch.setattr(partition, "SMALL", 0)  # it commits by itself
    noting = partition.commit

    async def killed(connection, batch, destroy):
        await office.pool.execute("select pg_terminate_backend($1)", connection.get_server_pid())
        return await noting(connection, batch, destroy)

    monkeypatch.setattr(partition, "commit", killed)
    with pytest.raises(BROKEN):
        await projector.run_once(0)
    monkeypatch.setattr(partition, "commit", noting)
    assert await all_of(projector) == 3
    assert await office.pool.fetchval("select succeeded from ledger.run_hourly") == 1


async def test_events_missing_between_archive_and_log_stop_the_projector(office):
    job_id = await office.create()
    projector = office.projector()
    await all_of(projector)
    await office.run(job_id)
    first = (
        await office.redis.xrange(
            office.keys(0).log, f"({(await archive.checkpoint(office.pool, 0)).epoch}-2"
        )
    )[0][0]
    await office.redis.xdel(office.keys(0).log, first)
    assert await projector.run_once(0) == 0, "its checkpoint might have been old"
    with pytest.raises(Fatal, match="what stood between is in neither"):
        await projector.run_once(0)
    assert len(await office.archived()) == 2


async def test_nothing_is_projected_from_a_log_that_is_not_open(office):
    await office.create()
    await office.redis.hset(office.keys(0).meta, "incarnation", "another")
    projector = office.projector()
    opened = []

    async def refuses(partition):
        opened.append(partition)
        raise Fatal("they differ")

    projector._lines[0]._reopen = refuses
    with pytest.raises(Fatal, match="they differ"):
        await projector.run_once(0)
    assert opened == [0]
    assert await office.archived() == []


async def test_a_service_projects_what_it_owns_and_the_rest_of_the_log_before_it_stops(office):
    metrics, stop = Metrics(), Stop()
    projector = office.projector(metrics=metrics)
    running = asyncio.create_task(projector.run(stop))
    job_id = await office.create(overlap_policy="allow")
    await wait_until(lambda: office.pool.fetchval("select count(*) from ledger.jobs"), "the job is projected")
    await wait_until(lambda: metrics.archive_position._value.get() >= 3, "both partitions are measured")
    assert metrics.partitions_owned.labels("projector")._value.get() == 2
    await asyncio.gather(*(office.run(job_id) for _ in range(30)))
    stop.set()
    await asyncio.wait_for(running, 10)
    assert await office.pool.fetchval("select count(*) from ledger.runs where status = 'succeeded'") == 30
    assert await office.redis.exists(office.keys(0).lease("projector")) == 0


async def test_a_pool_that_would_leave_a_partition_waiting_is_refused(office, monkeypatch):
    monkeypatch.setattr(asyncpg.Pool, "get_max_size", lambda _: office.partitions + 1)
    with pytest.raises(ValueError, match="2 partitions need a pool of at least 5 connections"):
        office.projector()


async def test_the_lag_is_measured(office):
    metrics, projector = Metrics(), office.projector()
    await all_of(projector)
    keys = {0: office.keys(0)}
    checkpoints = {0: await archive.checkpoint(office.pool, 0)}
    await office.create()
    await office.create()
    await gauges.measure_lag(metrics, office.redis, keys, checkpoints)
    assert metrics.projection_lag_events._value.get() == 2
    assert 0 < metrics.projection_lag_seconds._value.get() < 60
    assert metrics.log_length._value.get() == 3
    await all_of(projector)
    await gauges.measure_lag(metrics, office.redis, keys, {0: await archive.checkpoint(office.pool, 0)})
    assert metrics.projection_lag_events._value.get() == 0
    await gauges.count_ledgers(metrics, office.pool, [0])
    assert metrics.jobs.labels("pending", "custom")._value.get() == 2
