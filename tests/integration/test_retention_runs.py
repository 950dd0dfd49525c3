"""Executions that ended long ago are deleted, and nothing that is alive, counted or asked for goes with them."""

import asyncio
from datetime import timedelta

import pytest

from services.executor.handlers import cleanup_task_retention as retention
from services.executor.handlers import cleanup_task_runs as runs
from services.projector.audit import verify
from shared.domain.commands import CancelRun, RetryRun
from shared.readmodel import archive
from shared.testing import TESTER, a_job_id
from tests.integration.archive_kit import all_of, an_office
from tests.integration.audit_kit import NO_RETRY, at_work, write
from tests.integration.heal_kit import something_of_everything, wipe, write_side
from tests.integration.retention_kit import everything, forget, moment, split


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        await archive.record_deployment(made.pool, partitions=made.partitions, prefix=made.bench.prefix)
        yield made


@pytest.fixture
async def aged(office):
    """Ended runs in a month of their own; then a month with ended ones and one that has not ended; then some more."""
    office.job = await office.create(overlap_policy="allow", retry=NO_RETRY)
    office.old = [await office.run(office.job) for _ in range(3)]
    office.failed = await failed(office, office.job)
    await all_of(office.projector())
    office.first = await moment(office)
    office.middle = [await office.run(office.job) for _ in range(3)]
    office.live = await office.trigger(office.job)
    await all_of(office.projectors[0])
    office.second = await moment(office)
    office.young = await office.run(office.job)
    await all_of(office.projectors[0])
    await split(office.pool, "ledger.runs", [office.first, office.second])
    return office


async def failed(office, job_id):
    """A dead letter: a run of a job without retries that has failed."""
    run_id = await office.trigger(job_id)
    await office.fail(run_id, await office.start(run_id))
    return run_id


async def rows(office):
    """The runs that have a row."""
    return {str(row["id"]) for row in await office.pool.fetch("select id from ledger.runs")}


async def wrong(office):
    report = await verify(office.pool, office.redis)
    return {line.name: line.first for line in report.lines if line.violations}


async def test_a_month_goes_whole_and_of_the_next_what_has_ended_goes_row_by_row(aged, monkeypatch):
    done = await forget(aged.database_url, aged.second, monkeypatch)
    assert done["partitions_dropped"] == ["ledger.runs_part0"]
    assert done["kept"] == [{"partition": "ledger.runs_part1", "why": "1 of its runs have not ended"}]
    assert done["rows_deleted"] == 4 + 3
    assert done["bytes_freed"] > 0
    assert await rows(aged) == {aged.live, aged.young}


async def test_only_the_statuses_that_are_named_go(aged, monkeypatch):
    done = await forget(aged.database_url, aged.second, monkeypatch, statuses=["failed"])
    assert done["partitions_dropped"] == []
    assert "ended in a status that is not to go" in done["kept"][0]["why"]
    assert await rows(aged) == {*aged.old, *aged.middle, aged.live, aged.young}


async def test_what_ended_within_the_retention_stays(aged, monkeypatch):
    before = await rows(aged)
    done = await forget(aged.database_url, aged.first - timedelta(days=1), monkeypatch)
    assert (done["partitions_dropped"], done["rows_deleted"]) == ([], 0)
    assert await rows(aged) == before
    await aged.pool.execute("update ledger.runs set finished_at = $1 where id = $2", aged.second, aged.old[0])
    done = await forget(aged.database_url, aged.first, monkeypatch)
    assert "1 of its runs ended after" in done["kept"][0]["why"]
    assert aged.old[0] in await rows(aged)
    assert aged.old[1] not in await rows(aged)


async def test_a_dry_run_changes_nothing_and_says_what_would_go(aged, monkeypatch):
    before = await everything(aged.pool)
    would = await forget(aged.database_url, aged.second, monkeypatch, dry_run=True)
    assert await everything(aged.pool) == before
    done = await forget(aged.database_url, aged.second, monkeypatch)
    assert would == done | {"dry_run": True}


async def test_once_is_as_good_as_twice(aged, monkeypatch):
    await forget(aged.database_url, aged.second, monkeypatch)
    before = await everything(aged.pool)
    again = await forget(aged.database_url, aged.second, monkeypatch)
    assert (again["partitions_dropped"], again["rows_deleted"]) == ([], 0)
    after = await everything(aged.pool)
    del before["book.run_cuts"], after["book.run_cuts"]
    assert after == before


async def test_statistics_jobs_and_archive_are_as_before(aged, monkeypatch):
    before = await everything(aged.pool)
    await forget(aged.database_url, aged.second, monkeypatch)
    after = await everything(aged.pool)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"ledger.runs", "book.run_cuts", "partitions"}


async def test_a_retry_stays_as_long_as_the_run_that_it_repeats(aged, monkeypatch):
    """Else that would be a dead letter again, and run a third time."""
    held = (await aged.log.load(f"run:{aged.live}"))[f"run:{aged.live}"].state
    command = RetryRun(
        run_id=a_job_id(0, aged.log.now()), correlation_id="c", of=aged.failed, scheduled_for=held.scheduled_for,
        revision=1, spec=held.spec,
    )  # fmt: skip
    await aged.decider.decide(f"job:{aged.job}", command, TESTER)
    await aged.succeed(command.run_id, await aged.start(command.run_id))
    await all_of(aged.projectors[0])
    after = await moment(aged)
    await forget(aged.database_url, after, monkeypatch, statuses=["succeeded"])
    assert await rows(aged) == {aged.failed, command.run_id, aged.live}
    would = await forget(aged.database_url, after, monkeypatch, dry_run=True)
    done = await forget(aged.database_url, after, monkeypatch)
    assert await rows(aged) == {aged.live}
    assert would["rows_deleted"] == done["rows_deleted"] == 2


async def test_many_rows_go_in_many_transactions(aged, monkeypatch):
    monkeypatch.setattr(runs, "PAGE", 2)
    done = await forget(aged.database_url, aged.second, monkeypatch)
    assert done["rows_deleted"] == 7
    assert await rows(aged) == {aged.live, aged.young}


@pytest.mark.parametrize("status", ["failed", "cancelled"])
async def test_the_audit_misses_nothing_that_was_to_go_and_everything_that_was_not(
    office, monkeypatch, status
):
    """Neither a run of a status that was to stay, nor one of a status that was to go that ended after the cut."""
    await write(office)
    await all_of(office.projectors[0])
    await all_of(office.projectors[0], 1)
    assert await wrong(office) == {}
    then = await moment(office)
    done = await forget(office.database_url, then, monkeypatch, statuses=["succeeded", "cancelled"])
    assert done["rows_deleted"] > 3
    young = await office.trigger(await office.create())
    await office.decider.decide(f"run:{young}", CancelRun(by="ann"), TESTER)
    await all_of(office.projectors[0])
    assert young in await rows(office)
    assert await wrong(office) == {}
    await office.pool.execute("delete from ledger.runs where status = $1", status)
    assert (await wrong(office)).keys() == {"runs"}


async def test_what_is_recovered_is_the_same_without_the_rows(office, monkeypatch):
    await something_of_everything(office)
    before = await write_side(office)
    done = await forget(office.database_url, await moment(office), monkeypatch)
    assert done["rows_deleted"] > 0
    await wipe(office)
    await office.open(0)
    assert await write_side(office) == before


async def test_the_projector_goes_on_meanwhile_and_brings_nothing_back(office, monkeypatch):
    await write(office)
    for partition in (0, 1):
        await all_of(office.projectors[0], partition)
    gone = await office.pool.fetch("select id from ledger.runs where finished_at is not null")
    async with at_work(office):
        done = await forget(office.database_url, await moment(office), monkeypatch)
        again = await forget(office.database_url, await moment(office), monkeypatch, run_id="again")
    assert done["rows_deleted"] >= len(gone)
    assert again["rows_deleted"] >= 0
    assert not {str(row["id"]) for row in gone} & await rows(office)
    for partition in (0, 1):
        await all_of(office.projectors[0], partition)
    assert await wrong(office) == {}
    assert not await office.pool.fetchval("select count(*) from book.projection_errors")


async def test_an_event_of_a_run_whose_row_is_gone_makes_no_half_a_row(aged):
    """Nothing deletes the row of a run that goes on; if somebody does, the projector goes on without it."""
    await aged.pool.execute("delete from ledger.runs where id = $1", aged.live)
    await aged.succeed(aged.live, await aged.start(aged.live))
    assert await all_of(aged.projector("another")) == 2
    assert aged.live not in await rows(aged)
    assert not await aged.pool.fetchval("select count(*) from book.projection_errors")


async def test_two_at_once_are_one(aged, monkeypatch):
    both = await asyncio.gather(
        *(forget(aged.database_url, aged.second, monkeypatch) for _ in range(2)), return_exceptions=True
    )
    assert sum(each["rows_deleted"] for each in both if isinstance(each, dict)) == 7
    assert all(isinstance(each, dict | retention.RetentionBusy) for each in both)


async def test_a_month_in_use_stays_and_its_rows_go_one_by_one(aged, monkeypatch):
    monkeypatch.setattr(runs, "LOCK_TRIES", 2)
    monkeypatch.setattr(runs, "LOCK_AGAIN_S", 0.01)
    async with aged.pool.acquire() as reader, reader.transaction():
        await reader.execute("lock table ledger.runs in access share mode")
        done = await forget(aged.database_url, aged.first, monkeypatch)
    assert done["kept"] == [{"partition": "ledger.runs_part0", "why": runs.BUSY}]
    assert done["rows_deleted"] == 4
