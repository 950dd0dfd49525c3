"""Calendars over a real timer, from other partitions; and what is read of them, how often."""

from datetime import timedelta

import pytest

from shared.clock import SystemClock
from shared.domain import calendar
from shared.domain.commands import CalendarContent, ChangeCalendar, CreateJob, DeleteCalendar, Wake
from shared.domain.events import OccurrencesSkipped, RunRequested
from shared.domain.exclude import Span
from shared.domain.refusals import UnknownCalendars
from shared.eventlog import snapshot
from shared.eventlog.decider import Unseen
from shared.testing import TESTER, a_job_id, a_spec, wait_until

from .test_timer import Running, a_timer

NONE = CalendarContent(description="", dates=(), weekdays=(), timezone=None)


def name_in(partition, partitions=2):
    """The name of a calendar of tenant t that stands in a partition."""
    names = (f"c{number}" for number in range(100))
    return next(name for name in names if calendar.partition_of(f"t:{name}", partitions) == partition)


async def put(bench, name, content=NONE):
    command = ChangeCalendar(name=name, tenant="t", by="ann", content=content)
    return await bench.decider.decide(calendar.ref_of("t", name), command, TESTER)


def today(bench):
    day = bench.log.now().date()
    span = Span(from_=day, to=day + timedelta(days=1))
    return CalendarContent(description="", dates=(span,), weekdays=(), timezone=None)


async def a_job(bench, *names, partition=0, **spec):
    job_id = a_job_id(partition, bench.log.now())
    command = CreateJob(job_id=job_id, spec=a_spec(exclude_calendars=names, **spec), owner="ann", tenant="t")
    return await bench.decider.decide(f"job:{job_id}", command, TESTER, held=snapshot.NOTHING)


async def decisions(bench, partition=0):
    rows = await bench.redis.xrange(bench.log.keys(partition).log)
    wanted = {b"RunRequested", b"OccurrencesSkipped"}
    return [(fields[b"type"], fields[b"data"].decode()) for _, fields in rows if fields[b"type"] in wanted]


async def test_a_job_goes_by_a_calendar_of_another_partition_from_its_next_wake_on(bench, valkey):
    name = name_in(1)
    await put(bench, name)
    await a_job(bench, name, every=1, misfire_grace_seconds=30, overlap_policy="allow")
    async with Running(bench, valkey.endpoint.url, "timer", SystemClock()):
        await wait_until(lambda: decisions(bench), "it ran while the calendar had no days")
        changed = await put(bench, name, today(bench))
        count = len(await decisions(bench))

        async def skips():
            later = (await decisions(bench))[count:]
            return [data for kind, data in later if kind == b"OccurrencesSkipped"]

        (skipped, *_) = await wait_until(skips, "it skips now that it has")
    assert f'"reason":"calendar","by":"{name}@1:{changed.last}"' in skipped
    (_, ran), *_ = await decisions(bench)
    assert f'"calendars":["{name}@1:' in ran
    assert bench.metrics.registry.get_sample_value(
        "daybook_occurrences_decided_total", {"decision": "skip_calendar"}
    )


async def test_where_a_calendar_can_not_be_reached_the_wake_waits_and_others_go_on(
    bench, valkey, monkeypatch
):
    name = name_in(1)
    await put(bench, name, today(bench))
    soon = bench.log.now() + timedelta(milliseconds=10)
    waiting = await a_job(bench, name, once=soon)
    other = await a_job(bench, once=soon)
    async with a_timer(bench, valkey.endpoint.url, SystemClock()) as timer:
        load = timer._log.load
        away = [True]

        async def broken(*refs):
            if away[0] and any(ref.startswith("calendar:") for ref in refs):
                raise ConnectionError("the server of partition 1 is down")
            return await load(*refs)

        monkeypatch.setattr(timer._log, "load", broken)
        await wait_until(lambda: bench.log.now() > soon, "both are due")

        async def decided():
            await timer.run_once()
            return await decisions(bench)

        ((_, data),) = await wait_until(decided, "the other one is decided")
        assert other.ref.removeprefix("job:") in data
        assert (await bench.log.load(waiting.ref))[waiting.ref] == waiting.after
        score = await bench.redis.zscore(bench.log.keys(0).due, waiting.ref)
        assert score > waiting.after.state.next_for.timestamp() * 1000
        away[0] = False
        decided = await bench.decider.decide(waiting.ref, Wake(), TESTER)
    assert isinstance(decided.changes[0].event, OccurrencesSkipped)


async def test_a_decision_without_sight_of_a_calendar_elsewhere_is_no_decision(bench, monkeypatch):
    near, far = name_in(0), name_in(1)
    await put(bench, near)
    await put(bench, far)
    made = [await a_job(bench, name, every=60) for name in (near, far)]
    load = bench.log.load

    async def broken(*refs):
        if any(ref.startswith("calendar:") for ref in refs):
            raise ConnectionError("down")
        return await load(*refs)

    monkeypatch.setattr(bench.log, "load", broken)
    for each, error in zip(made, (ConnectionError, Unseen), strict=True):
        with pytest.raises(ConnectionError) as raised:
            await bench.decider.decide(each.ref, Wake(), TESTER)
        assert type(raised.value) is error
    assert issubclass(Unseen, ConnectionError)  # so that the API says 503


async def test_many_jobs_of_one_calendar_read_it_once_a_round(bench, valkey, monkeypatch):
    name = name_in(1)
    await put(bench, name, today(bench))
    soon = bench.log.now() + timedelta(milliseconds=200)
    for _ in range(60):
        await a_job(bench, name, once=soon)
    await wait_until(lambda: bench.log.now() > soon, "all are due")
    read = []
    read_snapshot = snapshot.read

    def counted(ref, *fields):
        read.append(ref)
        return read_snapshot(ref, *fields)

    async with a_timer(bench, valkey.endpoint.url, SystemClock()) as timer:
        monkeypatch.setattr(snapshot, "read", counted)

        async def done():
            await timer.run_once()
            return len(await decisions(bench)) == 60

        await wait_until(done, "all are decided")
    assert sum(ref.startswith("calendar:") for ref in read) <= 5


async def test_one_that_was_deleted_while_a_job_began_to_name_it_excludes_nothing(bench):
    name = name_in(0)
    await put(bench, name, today(bench))
    made = await a_job(bench, name, once=bench.log.now() + timedelta(milliseconds=10))
    await bench.decider.decide(calendar.ref_of("t", name), DeleteCalendar(by="ann"), TESTER)
    await wait_until(lambda: bench.log.now() > made.after.state.next_for, "it is due")
    (change, *_) = (await bench.decider.decide(made.ref, Wake(), TESTER)).changes
    assert isinstance(change.event, RunRequested)
    assert change.event.calendars == (f"{name}@none",)
    with pytest.raises(UnknownCalendars):
        await a_job(bench, name, every=60)


async def test_a_job_without_calendars_reads_nothing_more(bench, monkeypatch):
    made = await a_job(bench, every=60)

    async def never(*refs):
        raise AssertionError(f"{refs} were loaded")

    monkeypatch.setattr(bench.log, "load", never)
    await bench.decider.decide(made.ref, Wake(), TESTER, held=made.after)
