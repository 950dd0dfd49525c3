"""`daybook audit verify`: a healthy book balances, at rest and at work; what is no violation is none."""

import asyncio
import itertools
import json

import pytest
import pytest_asyncio

from services.projector.audit import archive, verify, write_side
from shared.readmodel import archive as deployment
from shared.testing import wait_until
from tests.integration.archive_kit import an_office
from tests.integration.audit_kit import a_copy, an_original, at_work
from tests.integration.audit_stores import hash_of
from tests.integration.audit_stories import a_run_ends_twice

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("audit")]
NEW = {"start_deadline_seconds", "max_lost"}  # fields that the second version has
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def original(postgres, valkey):
    async with an_original(postgres, valkey) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def copy(original):
    async with a_copy(original, next(_numbers)) as made:
        yield made


async def test_a_healthy_book_balances_in_every_line(copy):
    report = await copy.audit()
    assert {line.name: line.first for line in report.lines if line.violations} == {}
    assert [line.name for line in report.lines if line.checked == 0] == ["refused"]
    assert sum(line.unchecked for line in report.lines) == 0


async def test_a_story_that_is_written_again_balances(copy):
    """What tests below edit is else as it must be."""
    await copy.retells(lambda events: events)
    assert await copy.wrong() == {}


# What is no violation.


async def test_what_the_timer_has_put_off_is_no_violation(copy):
    """It comes again within a minute; later than that nobody puts it off."""
    seconds, _ = await copy.redis.time()
    late = await copy.redis.zscore(copy.keys.due, copy.ref("job", "late"))
    assert late < seconds * 1000
    await copy.redis.zadd(copy.keys.due, {copy.ref("job", "late"): (seconds + 30) * 1000})
    assert await copy.wrong() == {}
    await copy.redis.zadd(copy.keys.due, {copy.ref("job", "late"): (seconds + 90) * 1000})
    assert (await copy.wrong()).keys() == {"due_times"}


async def test_what_was_refused_and_is_right_by_now_is_no_violation(copy):
    event = await copy.find("JobUpdated")
    statement = "insert into book.projection_errors values (0, 1, 1, $1, $2, '', 'ouch', now())"
    await copy.sql(statement, "event", event.id)
    await copy.sql(statement, "jobs", copy.told["regular"])
    await copy.sql(statement, "runs", copy.told["running"])
    report = await copy.audit()
    assert report.violations == 0
    assert {line.name: line.checked for line in report.lines}["refused"] == 3


async def test_the_size_of_pages_changes_nothing(copy, monkeypatch):
    before = await copy.audit()
    monkeypatch.setattr(archive, "AT_ONCE", 1)
    monkeypatch.setattr(write_side, "AT_ONCE", 3)
    monkeypatch.setattr(write_side, "ENTRIES", 2)
    assert before == await copy.audit()
    assert before.violations == 0
    await a_run_ends_twice(copy)
    assert (await copy.wrong()).keys() == {"ends"}


async def test_what_an_older_build_wrote_is_compared_as_it_is_read(copy):
    """Its specification has not all that there is by now, and a snapshot another number."""
    key = hash_of("job", "regular")(copy)
    state, spec = await copy.redis.hmget(key, "state", "spec")
    old = json.dumps({name: value for name, value in json.loads(spec).items() if name not in NEW})
    await copy.redis.hset(key, "spec", old)
    assert await copy.wrong() == {}
    await copy.redis.hset(key, "state", b'{"shape":1,' + state.partition(b",")[2])
    row = json.loads(
        await copy.pool.fetchval(
            "select state from book.snapshots where ref = $1", copy.ref("job", "regular")
        )
    )
    row |= {"spec": json.loads(old)}
    text = '{"shape":1,' + json.dumps(row, separators=(",", ":")).partition(",")[2]
    await copy.sql(
        "update book.snapshots set shape = 1, state = $1 where ref = $2", text, copy.ref("job", "regular")
    )
    await copy.sql("update ledger.jobs set spec = $1 where id = $2", old, copy.told["regular"])
    assert await copy.wrong() == {}
    await copy.redis.hset(key, "spec", old.replace('"priority": 5', '"priority": 6'))
    await copy.sql("""update book.snapshots set state = replace(state, '"revision":3', '"revision":4')""")
    await copy.sql("update ledger.jobs set spec = spec || '{\"priority\": 6}'")
    assert (await copy.wrong()).keys() == {"snapshots", "book_snapshots", "jobs"}


async def test_a_snapshot_of_a_newer_build_is_not_judged(copy):
    key = hash_of("job", "regular")(copy)
    state = await copy.redis.hget(key, "state")
    await copy.redis.hset(key, "state", b'{"shape":99,"new":0,' + state.partition(b",")[2])
    await copy.sql(
        "update book.snapshots set shape = 99, state = '{}' where ref = $1", copy.ref("job", "regular")
    )
    report = await copy.audit()
    assert report.violations == 0
    assert {line.name: line.unchecked for line in report.lines if line.unchecked} == {
        "snapshots": 1,
        "book_snapshots": 1,
    }


# A system at work.


async def test_what_the_log_has_trimmed_meanwhile_is_read_from_the_archive(copy, monkeypatch):
    seen = archive.checkpoint

    async def seen_and_gone_by(connection, partition):
        found = await seen(connection, partition)
        if partition == 0:
            await copy.goes_on()
            await copy.redis.xtrim(copy.keys.log, maxlen=1, approximate=False)
        return found

    monkeypatch.setattr(archive, "checkpoint", seen_and_gone_by)
    before = await copy.pool.fetchval("select pos from book.checkpoints where partition = 0")
    report = await copy.audit(0)
    assert {line.name: line.first for line in report.lines if line.violations} == {}
    assert (
        report.events
        == await copy.pool.fetchval("select pos from book.checkpoints where partition = 0")
        > before
    )
    (entry,) = await copy.redis.xrange(copy.keys.log)
    assert entry[0].decode().endswith(f"-{report.events}")


async def test_a_run_that_ends_while_it_is_looked_at_is_no_violation(copy, monkeypatch):
    """It wasn't there when the keys were listed, and is over when its page is read; its hash stays for a minute."""
    checkpoint, due, begun = archive.checkpoint, write_side.WriteSide.due, []

    async def begins(connection, partition):
        begun.append(await copy.goes_on())
        return await checkpoint(connection, partition)

    async def ends(redis):
        await copy.ends(*begun[0])
        return await due(redis)

    monkeypatch.setattr(archive, "checkpoint", begins)
    monkeypatch.setattr(write_side.WriteSide, "due", ends)
    report = await copy.audit(0)
    assert {line.name: line.first for line in report.lines if line.violations} == {}
    assert await copy.redis.exists(copy.keys.aggregate(f"run:{begun[0][0]}"))


async def test_events_that_are_nowhere_are_missed(copy):
    """The log was trimmed before it was archived."""
    await copy.redis.xtrim(copy.keys.log, maxlen=1, approximate=False)
    assert (await copy.wrong()).keys() == {"positions"}


async def test_a_system_at_work_balances(postgres, valkey):
    async with an_office(postgres, valkey) as office:
        await deployment.record_deployment(office.pool, partitions=2, prefix=office.bench.prefix)
        async with at_work(office):
            await wait_until(lambda: _archived(office, 300), "300 events are archived", timeout_s=40)
            seen, unchecked = [], {"not yet"}
            async with asyncio.timeout(40):  # the schedule decides nothing before the jobs are seconds old
                while len(seen) < 4 or seen[-1] < seen[0] + 300 or unchecked:
                    report = await verify(office.pool, office.redis)
                    assert {line.name: line.first for line in report.lines if line.violations} == {}
                    seen.append(report.events)
                    unchecked = {line.name for line in report.lines if line.checked == 0} - {"refused"}


async def _archived(office, count):
    return await office.pool.fetchval("select sum(pos) from book.checkpoints") >= count
