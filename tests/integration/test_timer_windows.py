"""Jitter, and what somebody skipped, under a real timer: fired at its time, told as what it is, and audited."""

import json
from datetime import timedelta

import pytest

from services.projector.audit import verify
from shared.domain import ids
from shared.domain.commands import SkipOccurrence
from shared.domain.jitter import fires_at
from shared.readmodel import archive
from shared.testing import TESTER, wait_until
from tests.integration.archive_kit import all_of, an_office
from tests.integration.heal_kit import write_side
from tests.integration.trace_kit import a_timer


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        await archive.record_deployment(made.pool, partitions=made.partitions, prefix=made.bench.prefix)
        yield made


async def state_of(office, job_id):
    return (await office.log.load(f"job:{job_id}"))[f"job:{job_id}"].state


async def told(office, kind, job_id):
    """Commit time and data of the events of a type about a job or its runs."""
    return [
        (ids.from_ms(int(fields[b"at"])), json.loads(fields[b"data"]))
        for _, fields in await office.redis.xrange(office.keys(0).log)
        if fields[b"type"].decode() == kind and job_id.encode() in (fields[b"job"], fields[b"subject"][4:])
    ]


async def skip(office, job_id, at):
    command = SkipOccurrence(scheduled_for=at, by="ann", reason="maintenance")
    return await office.decider.decide(f"job:{job_id}", command, TESTER)


async def balances(office):
    """Everything is archived, and the audit finds nothing wrong with it."""
    for partition in range(office.partitions):
        await all_of(office.projector(), partition)
    report = await verify(office.pool, office.redis)
    assert {line.name: line.first for line in report.lines if line.violations} == {}
    return {line.name: line.checked for line in report.lines}


async def test_jobs_that_share_a_time_fire_spread_over_their_jitter_each_at_its_own(office):
    nominal = office.log.now() + timedelta(seconds=1)
    jobs = [
        await office.create(every=3600, start_at=nominal, jitter_seconds=2, overlap_policy="allow")
        for _ in range(12)
    ]
    async with a_timer(office):

        async def all_fired():
            return all([await told(office, "RunRequested", job) for job in jobs])

        await wait_until(all_fired, "every job has fired")
    fired = []
    for job_id in jobs:
        ((committed, data),) = await told(office, "RunRequested", job_id)
        state = await state_of(office, job_id)
        due = fires_at(state.spec.schedule, job_id, nominal, nominal + timedelta(hours=1))
        assert data["scheduled_for"] == _text(nominal)
        assert data["fires_at"] == _text(due)
        assert timedelta() <= committed - due < timedelta(seconds=0.5)
        fired.append(due)
    assert max(fired) - min(fired) > timedelta(seconds=0.5)
    checked = await balances(office)
    assert checked["jitter"] == len(jobs)


def _text(at):
    return at.isoformat().replace("+00:00", "Z")


async def test_a_skipped_occurrence_leaves_an_event_at_its_time_and_the_next_one_runs(office):
    job_id = await office.create(every=1, overlap_policy="allow")
    state = await state_of(office, job_id)
    skipped = state.next_for + timedelta(seconds=1)
    await skip(office, job_id, skipped)
    async with a_timer(office):

        async def has_gone_on():
            return len(await told(office, "RunRequested", job_id)) >= 2

        await wait_until(has_gone_on, "the job has run before and after it")
    ((committed, data),) = await told(office, "OccurrencesSkipped", job_id)
    assert (data["reason"], data["by"], data["count"], data["from"]) == ("excluded", "ann", 1, _text(skipped))
    assert timedelta() <= committed - skipped < timedelta(seconds=0.5)
    ran = [data["scheduled_for"] for _, data in await told(office, "RunRequested", job_id)]
    assert ran[:2] == [_text(skipped - timedelta(seconds=1)), _text(skipped + timedelta(seconds=1))]
    assert (await balances(office))["excluded"] >= 3
    row = await office.pool.fetchrow("select skipped, next_run_time from ledger.jobs where id = $1", job_id)
    assert (json.loads(row["skipped"]), row["next_run_time"] > skipped) == ([], True)


async def test_jitter_and_what_is_to_be_skipped_come_back_when_redis_was_wiped(office):
    job_id = await office.create(every=3600, jitter_seconds=1800)
    state = await state_of(office, job_id)
    await skip(office, job_id, state.next_for)
    await all_of(office.projector())
    before = await write_side(office)
    await office.redis.delete(*[key async for key in office.redis.scan_iter(f"{office.keys(0).base}:*")])
    await office.open(0)
    assert await write_side(office) == before
    assert before["due"][f"job:{job_id}"] == ids.to_ms(state.next_fires_at)
    healed = await state_of(office, job_id)
    assert (healed.skips(state.next_for), healed.next_run_time > state.next_for) == (True, True)
