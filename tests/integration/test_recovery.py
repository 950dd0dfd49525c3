"""Nothing is written to a log before it was compared with the archive; see test_heal for one that lost something."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from shared import deployment, recovery
from shared.domain.events import LogOpened
from shared.domain.job import Job, Status
from shared.embedded import Valkey
from shared.eventlog import opening
from shared.eventlog.envelope import decode
from shared.eventlog.position import Position
from shared.faults import Fatal, is_broken
from shared.readmodel import archive
from shared.settings import Settings
from shared.testing import LEASE, wait_until
from tests.integration.archive_kit import Office, all_of, an_office, database
from tests.integration.databases import a_database


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


@asynccontextmanager
async def a_restartable_office(postgres, tmp_path):
    with Valkey(tmp_path) as server:
        async with an_office(postgres, server) as office:
            yield office, server


async def look(office):
    return await opening.look(office.redis, office.keys(0))


async def close(office):
    """Make the log look as if the server had been restarted."""
    await office.redis.hset(office.keys(0).meta, "incarnation", "another")


async def rewrite(office, change):
    """Put the log's entries back as `change(list of (id, fields))` returns them, and close it."""
    name = office.keys(0).log
    entries = change(await office.redis.xrange(name))
    await office.redis.delete(name)
    for entry_id, fields in entries:
        await office.redis.xadd(name, fields, id=entry_id)
    await close(office)


async def as_before(office):
    """What must not change when an opening is refused."""
    meta = await office.redis.hgetall(office.keys(0).meta)
    return meta, await office.redis.xrange(office.keys(0).log), await office.archived()


async def refused(office, sentence):
    before = await as_before(office)
    fence = (await archive.checkpoint(office.pool, 0)).fence
    with pytest.raises(Fatal, match=sentence):
        await office.open(0)
    assert await as_before(office) == before
    assert (await archive.checkpoint(office.pool, 0)).fence == fence, "another Redis may be the right one"


async def test_the_first_start_opens_an_empty_log_at_position_one(office):
    state = await look(office)
    opened = decode(state.tail.type, state.tail.v, state.tail.data)
    assert (opened.reason, opened.previous, opened.partitions) == ("first", None, 2)
    assert state.is_open
    assert state.tail_at == Position(state.epoch, 1)
    assert abs(state.epoch - state.now_ms) < 60_000
    assert (await archive.checkpoint(office.pool, 0)).fence == state.epoch


async def test_processes_that_start_together_open_a_log_once(postgres, valkey):
    async with a_database(postgres) as url:
        pool = await database.connect_pool(url)
        office = Office(pool, valkey.endpoint.url)
        await asyncio.gather(*(office.open(0) for _ in range(6)))
        assert await office.redis.xlen(office.keys(0).log) == 1
        await office.close()
        await pool.close()


async def test_a_log_that_was_trimmed_to_nothing_is_open_and_goes_on(office):
    """Were it taken for a wiped one, a heal and a commit could pass each other, and leave a fence that none passes."""
    job_id = await office.create()
    await all_of(office.projector())
    await office.redis.xtrim(office.keys(0).log, maxlen=0)
    assert (await look(office)).is_open
    assert (await office.open(0)).found is None
    await office.trigger(job_id)
    await all_of(office.projectors[0])
    assert [event.type for event in await office.archived()] == ["LogOpened", "JobCreated", "RunRequested"]


async def test_after_a_restart_the_log_goes_on_in_a_new_epoch_and_nothing_is_lost(postgres, tmp_path):
    async with a_restartable_office(postgres, tmp_path) as (office, server):
        job_id = await office.create()
        await all_of(office.projector())
        before = await look(office)
        server.kill()
        server.start()
        await wait_until(lambda: answers(office), "Redis is back")
        assert not (await look(office)).is_open
        run_id = await office.run(job_id)  # the commit is told CLOSED and opens the log by itself
        opened = (await office.redis.xrange(office.keys(0).log))[2]
        event = decode("LogOpened", 1, opened[1][b"data"].decode())
        assert (event.reason, event.epoch) == ("restart", (await look(office)).epoch)
        assert event.previous == (*before.tail_at, before.tail.id)
        assert event.epoch > before.epoch
        assert await all_of(office.projectors[0]) == 4
        row = await office.pool.fetchrow("select id, status from ledger.runs")
        assert (str(row["id"]), row["status"]) == (run_id, "succeeded")


async def answers(office):
    try:
        return await office.redis.ping()
    except Exception as error:
        if not is_broken(error):
            raise
        return False


async def test_a_restart_leaves_running_runs_to_workers_that_may_be_alive(office):
    job_id = await office.create(overlap_policy="allow")
    running, queued = await office.trigger(job_id), await office.trigger(job_id)
    fence = await office.start(running)
    due = office.keys(0).due
    await office.redis.zadd(due, {f"run:{running}": 5})
    await close(office)
    await office.open(0)
    now_ms = (await look(office)).now_ms
    assert await office.redis.zscore(due, f"run:{running}") > now_ms + LEASE.total_seconds() * 1000 - 5000
    assert await office.redis.zscore(due, f"run:{queued}") is None
    await office.succeed(running, fence)
    assert await all_of(office.projector()) > 0
    assert await office.pool.fetchval("select count(*) from ledger.runs where status = 'succeeded'") == 1


async def test_a_log_ahead_of_the_archive_is_opened_and_then_archived(office):
    await office.create()
    await all_of(office.projector())
    await office.create()
    await close(office)
    await office.open(0)
    assert await all_of(office.projectors[0]) == 2
    assert [event.type for event in await office.archived()] == [
        "LogOpened", "JobCreated", "JobCreated", "LogOpened",
    ]  # fmt: skip


async def test_a_database_restored_from_an_old_backup_is_not_gone_on_from(office):
    await office.create()
    await all_of(office.projector())
    for _ in range(3):
        await office.create()
    await rewrite(office, lambda entries: entries[3:])
    await refused(office, "what stood between is in neither")


async def test_an_empty_database_beside_a_full_log_is_refused(office, postgres):
    async with a_database(postgres) as url:
        other = await database.connect_pool(url)
        office.pool, right = other, office.pool
        with pytest.raises(Fatal, match="this database has never heard of it"):
            await office.open(0)
        office.pool = right
        await other.close()


async def test_an_empty_database_that_meets_a_trimmed_log_takes_a_cold_copy_afterwards(office, postgres):
    """Had it been fenced for the log's next epoch, what was archived before would be refused."""
    await office.create()
    await all_of(office.projector())
    await rewrite(office, lambda entries: entries[1:])
    async with a_database(postgres) as url:
        other = await database.connect_pool(url)
        office.pool, right = other, office.pool
        with pytest.raises(Fatal, match=r"ends at 0-0.*reaches position 1 of it: `daybook archive import`"):
            await office.open(0)
        assert await archive.checkpoint(other, 0) is None
        office.pool = right
        await other.close()


async def test_a_former_master_is_not_taken_for_the_log(office):
    state = await look(office)
    async with office.pool.acquire() as connection:
        await archive.raise_fence(connection, 0, state.epoch + 5)
    with pytest.raises(Fatal, match="is a former master"):
        await office.open(0)
    with pytest.raises(Fatal, match="is a former master"):
        await office.projector().run_once(0)


async def test_opening_waits_for_a_projector_that_is_writing_and_sees_what_it_wrote(office):
    await office.create()
    await all_of(office.projector())
    state = await look(office)
    await close(office)
    async with office.pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(
            "update book.checkpoints set pos = 3, epoch = $1 where partition = 0", state.epoch
        )
        task = asyncio.create_task(office.open(0))
        await wait_until(lambda: waiting(office), "the opener waits for the row")
        assert not task.done()
        assert not (await look(office)).is_open
        await transaction.commit()
    found = (await task).found
    assert (found.tail.pos, found.archived.pos) == (2, 3), "what the projector wrote is seen"
    assert (await look(office)).tail_at.pos == 4


async def waiting(office):
    return await office.pool.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        " and query like '%insert into book.checkpoints%'"
    )


async def test_a_projector_that_read_the_log_before_it_was_opened_anew_writes_nothing(office):
    await office.create()
    projector = office.projector()
    await projector.run_once(0)
    await office.create()
    await close(office)
    await office.open(0)
    assert await projector.run_once(0) == 0, "it held the old fence"
    assert len(await office.archived()) == 2
    assert await all_of(projector) == 2


async def test_a_log_that_moves_while_it_is_compared_is_compared_again(office, monkeypatch):
    await close(office)
    looks = []
    real = opening.running

    async def meddling(redis, keys):
        if not looks:
            last = (await redis.xrevrange(keys.log, count=1))[0]
            opened = LogOpened(epoch=1, reason="restart", previous=None, partitions=2)
            epoch, pos = last[0].decode().split("-")
            await redis.xadd(
                keys.log,
                last[1] | {b"id": b"x", b"type": type(opened).__name__},
                id=f"{epoch}-{int(pos) + 1}",
            )
        looks.append(1)
        return await real(redis, keys)

    monkeypatch.setattr(opening, "running", meddling)
    await office.open(0)
    assert len(looks) == 2
    assert (await look(office)).tail_at.pos == 3


async def test_a_row_of_the_archive_is_the_event_that_was_logged(office):
    await office.create()
    await all_of(office.projector())
    (tail,) = (await office.archived())[-1:]
    assert tail == (await look(office)).tail
    row = await archive.find(office.pool, 0, 2)
    assert recovery.recorded(row) == tail
    assert await archive.holds(office.pool, 0, 2, tail.id)
    assert not await archive.holds(office.pool, 0, 1, tail.id)


async def test_a_job_whose_key_has_left_redis_is_found_in_the_archive(office):
    job_id = await office.create(name="old")
    await all_of(office.projector())
    found = await recovery.archived_job(office.pool, f"job:{job_id}")
    assert isinstance(found.state, Job)
    assert (found.state.spec.name, found.state.status, found.version) == ("old", Status.PENDING, None)
    assert (await recovery.archived_job(office.pool, "job:nobody")).state is None


def settings(office, **changes):
    return Settings(partitions=office.partitions, prefix=office.bench.prefix).model_copy(update=changes)


async def test_another_number_of_partitions_is_refused(office):
    await deployment.check_deployment(office.pool, office.redis, settings(office))
    await deployment.check_deployment(office.pool, office.redis, settings(office))
    with pytest.raises(Fatal, match=r"DAYBOOK_PARTITIONS=3, but .* with 2.*set DAYBOOK_PARTITIONS=2"):
        await deployment.check_deployment(office.pool, office.redis, settings(office, partitions=3))


async def test_a_redis_of_another_number_of_partitions_is_refused_by_a_new_database(office, postgres):
    async with a_database(postgres) as url:
        other = await database.connect_pool(url)
        with pytest.raises(Fatal, match="set DAYBOOK_PARTITIONS=2"):
            await deployment.check_deployment(other, office.redis, settings(office, partitions=3))
        await other.close()


async def test_another_prefix_is_refused(office):
    await deployment.check_deployment(office.pool, office.redis, settings(office))
    with pytest.raises(Fatal, match="DAYBOOK_PREFIX=other"):
        await deployment.check_deployment(office.pool, office.redis, settings(office, prefix="other"))


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        ("appendonly", "no", "yes"),
        ("no-appendfsync-on-rewrite", "yes", "no"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
async def test_a_redis_that_may_lose_what_it_acknowledged_is_refused(postgres, tmp_path, name, wrong, right):
    async with a_restartable_office(postgres, tmp_path) as (office, _):
        await check(office)
        await office.redis.config_set(name, wrong)
        with pytest.raises(Fatal, match=f"Redis has {name} {wrong}.*Set {name} {right}"):
            await check(office)


async def check(office, skew=timedelta()):
    async with office.pool.acquire() as connection:
        await deployment.check_durability(connection, office.redis, lambda: now() + skew)


def now():
    return datetime.now(UTC)  # noqa: TID251 - this machine's clock is what is compared


@pytest.mark.parametrize("seconds", [-3, 3])
async def test_a_clock_that_differs_from_that_of_redis_is_refused(office, seconds):
    await check(office, timedelta(seconds=1))
    with pytest.raises(Fatal, match=r"clock is .* off that of Redis"):
        await check(office, timedelta(seconds=seconds))
