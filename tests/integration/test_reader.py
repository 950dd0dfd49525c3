"""Nobody reads past a hole in the log; what stands in an entry is fixed."""

import pytest

from shared.domain.commands import CreateJob, PauseJob, ResumeJob
from shared.eventlog import snapshot
from shared.eventlog.connection import connect
from shared.eventlog.envelope import FIELDS
from shared.eventlog.position import START, Position
from shared.eventlog.reader import Hole, LogReader
from shared.testing import TESTER, a_job_id, a_spec


@pytest.fixture
async def reader(bench, valkey):
    redis = connect(valkey.endpoint.url, blocking=True)
    yield LogReader(redis, prefix=bench.prefix, partitions=bench.partitions)
    await redis.aclose()


async def some_events(bench):
    job_id = a_job_id(0, bench.log.now())
    command = CreateJob(job_id=job_id, spec=a_spec(every=60), owner="ann", tenant="t")
    await bench.decider.decide(f"job:{job_id}", command, TESTER, held=snapshot.NOTHING)
    for wish in (PauseJob(by="a"), ResumeJob(by="a")):
        await bench.decider.decide(f"job:{job_id}", wish, TESTER)


async def test_events_come_back_in_order_from_any_position(bench, reader):
    await some_events(bench)
    events = await reader.read(0, START, "")
    assert [event.type for event in events] == ["LogOpened", "JobCreated", "JobPaused", "JobResumed"]
    assert [event.position.pos for event in events] == [1, 2, 3, 4]
    later = await reader.read(0, events[1].position, events[1].id)
    assert later == events[2:]
    assert await reader.read(0, events[-1].position, events[-1].id, block_ms=1) == []
    assert await reader.tail(0) == events[-1]


async def test_an_entry_has_the_same_fields_in_the_same_order_always(bench, reader):
    """The contract with whoever reads the log with XRANGE."""
    await some_events(bench)
    for _, fields in await bench.redis.xrange(bench.log.keys(0).log):
        assert tuple(name.decode() for name in fields) == FIELDS


async def test_a_reader_goes_on_over_an_opening_that_continues_its_position(bench, reader):
    await some_events(bench)
    await bench.redis.hset(bench.log.keys(0).meta, "incarnation", "0" * 40)
    await some_events(bench)
    events = await reader.read(0, START, "")
    assert [event.type for event in events[3:6]] == ["JobResumed", "LogOpened", "JobCreated"]
    assert events[4].position.epoch > events[3].position.epoch


async def test_a_trimmed_log_is_a_hole_and_not_a_beginning(bench, reader):
    await some_events(bench)
    events = await reader.read(0, START, "")
    await bench.redis.xtrim(bench.log.keys(0).log, minid=str(events[2].position), approximate=False)
    with pytest.raises(Hole):
        await reader.read(0, events[0].position, events[0].id)
    with pytest.raises(Hole):
        await reader.read(0, START, "")


async def test_an_opening_that_follows_another_event_is_not_passed(bench, reader):
    """Trace 5: after a rollback the numbers fit again, the history doesn't."""
    await some_events(bench)
    events = await reader.read(0, START, "")
    await bench.redis.hset(bench.log.keys(0).meta, "incarnation", "0" * 40)
    await bench.open(0)
    tail = await reader.tail(0)
    assert tail.type == "LogOpened"
    assert await reader.read(0, events[-1].position, events[-1].id) == [tail]
    with pytest.raises(Hole):
        await reader.read(0, events[-1].position, "another event at that position")
    with pytest.raises(Hole):
        await reader.read(0, Position(events[2].position.epoch - 1, 3), events[2].id)


async def test_trimming_keeps_what_is_not_below(bench, reader):
    for _ in range(40):
        await some_events(bench)
    tail = await reader.tail(0)
    await reader.trim(0, tail.position)
    assert await reader.length(0) >= 1
    assert await reader.tail(0) == tail
