"""Months of the archive are dropped, and nothing is less true: what recovers, is audited and is asked for goes on."""

import asyncio
import json
from contextlib import asynccontextmanager

import asyncpg
import pytest

from services.executor.handlers import cleanup_task_archive as cutting
from services.executor.handlers import cleanup_task_retention as retention
from services.projector.audit import verify
from shared.domain import apikey
from shared.domain.commands import (
    IssueApiKey,
    Output,
    PauseJob,
    ResumeJob,
    RevokeApiKey,
    SucceedRun,
    UpdateJob,
)
from shared.eventlog.envelope import Context
from shared.eventlog.position import Position
from shared.faults import Fatal
from shared.job_types.cleanup_task import CleanupResult
from shared.readmodel import archive, cold_copies, cuts
from shared.recovery import Behind
from shared.testing import TESTER, a_job_id, a_spec, wait_until
from tests.integration.archive_kit import all_of, an_office
from tests.integration.audit_kit import QUICK, Author, at_work, write
from tests.integration.heal_kit import something_of_everything, wipe, write_side
from tests.integration.retention_kit import age, copied, drop, everything, moment, split
from tests.integration.trace_kit import look


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        await archive.record_deployment(made.pool, partitions=made.partitions, prefix=made.bench.prefix)
        yield made


@pytest.fixture
async def aged(office):
    """An office with something of everything, all of it in a month of its own; then some more, and a present."""
    office.made = await something_of_everything(office)
    office.keys_issued = [await issued(office, number) for number in range(3)]
    for partition in range(office.partitions):
        await all_of(office.projectors[0], partition)
    office.first = await moment(office)
    await go_on(office)
    office.second = await moment(office)
    await office.run(office.made["loose"])
    for partition in range(office.partitions):
        await all_of(office.projectors[0], partition)
    await split(office.pool, "book.events", [office.first, office.second])
    return office


@pytest.fixture
async def book(office):
    """A book that the audit finds right: its first month ends while runs in all states are under way; they go on."""
    told = office.told = await write(office)
    for partition in range(office.partitions):
        await all_of(office.projectors[0], partition)
    office.first = await moment(office)
    author = Author(office)
    held = (await office.log.load(f"run:{told['running']}"))[f"run:{told['running']}"]
    start = next(
        each for each in await office.archived()
        if each.type == "RunStarted" and str(each.position) == held.fence
    )  # fmt: skip
    context = Context(actor="executor", cause=start.id)
    await author.does(
        f"run:{told['running']}", SucceedRun(fence=held.fence, output=Output(text="late")), context
    )
    await author.runs(told["queued"])
    await author.does(f"job:{told['paused']}", ResumeJob(by="ann"))
    await author.does(f"job:{told['regular']}", UpdateJob(spec=a_spec(every=3600, retry=QUICK)))
    await author.does(f"apikey:{told['key']}", RevokeApiKey(by="ann"))
    office.log.now = type(office.log).now.__get__(office.log)
    for partition in range(office.partitions):
        await all_of(office.projectors[0], partition)
    assert await wrong(office) == {}
    await split(office.pool, "book.events", [office.first])
    await a_minute_passes(office)
    return office


async def a_minute_passes(office):
    """Runs that have ended leave Redis."""
    for partition in range(office.partitions):
        async for name in office.redis.scan_iter(match=office.keys(partition).aggregate("run:*"), count=1000):
            if await office.redis.pttl(name) > 0:
                await office.redis.delete(name)


async def go_on(office):
    """What has begun before goes on: runs end, begin, are started again; a job is changed, a key is taken back."""
    made = office.made
    await office.start(made["queued"])
    held = (await office.log.load(f"run:{made['running']}"))[f"run:{made['running']}"]
    await office.succeed(made["running"], held.fence)
    made["later"] = await office.trigger(made["loose"])
    made["new job"] = await office.create(every=3600)
    await office.decider.decide(f"job:{made['interval']}", UpdateJob(spec=a_spec(every=90)), TESTER)
    await office.decider.decide(f"apikey:{office.keys_issued[1]}", RevokeApiKey(by="ann"), TESTER)
    await all_of(office.projectors[0])


async def issued(office, number):
    """The hash of a key of partition 0."""
    seeds = (apikey.digest(apikey.made_of(f"{number} {seed}")) for seed in range(1000))
    key = next(each for each in seeds if apikey.partition_of(each, office.partitions) == 0)
    command = IssueApiKey(
        id=a_job_id(0, office.log.now()), hash=key, prefix="dbk_", name="a key", role="viewer", tenant="acme",
        owner="ann", by="tester", expires_at=None,
    )  # fmt: skip
    await office.decider.decide(f"apikey:{key}", command, TESTER)
    return key


async def all_keys(office):
    """Everything that must come back of partition 0: `write_side`, and API keys."""
    held = await write_side(office)
    for key in office.keys_issued:
        held[key] = await office.redis.hgetall(office.keys(0).aggregate(f"apikey:{key}"))
    return held


async def count(office, question, *values):
    return await office.pool.fetchval(f"select count(*) from {question}", *values)  # noqa: S608


async def wrong(office):
    report = await verify(office.pool, office.redis)
    return {line.name: line.first for line in report.lines if line.violations}


# What goes.


async def test_months_beyond_the_retention_go_and_the_archive_says_where_it_begins(aged, monkeypatch):
    before = {n: await aged.archived(n) for n in (0, 1)}
    bytes_before = await aged.pool.fetchval("select pg_total_relation_size('book.events_part0')")
    done = await drop(aged.database_url, aged.first, monkeypatch)
    assert done["partitions_dropped"] == ["book.events_part0"]
    assert (done["kept"], done["bytes_freed"], done["dry_run"]) == ([], bytes_before, False)
    left = {n: await aged.archived(n) for n in (0, 1)}
    assert done["rows_deleted"] == sum(len(before[n]) - len(left[n]) for n in (0, 1)) > 50
    for n in (0, 1):
        gone = before[n][: len(before[n]) - len(left[n])]
        cut = await cuts.cut_of(aged.pool, n)
        assert (cut.epoch, cut.pos, cut.id) == (*gone[-1].position, gone[-1].id)
        assert cut.run_id == "retention"
        assert left[n] == before[n][len(gone) :]


async def test_what_is_made_anew_equals_what_was_wiped_though_the_months_are_gone(aged, monkeypatch):
    """The promise of it all: recovery from what was brought forward, and the events after that."""
    before = await all_keys(aged)
    assert len(before["hashes"]) > 15
    done = await drop(aged.database_url, aged.second, monkeypatch)
    assert done["partitions_dropped"] == ["book.events_part0", "book.events_part1"]
    await wipe(aged)
    opened = await aged.open(0)
    assert isinstance(opened.found, Behind)
    after = await all_keys(aged)
    revoked = aged.keys_issued[1]
    assert (before.pop(revoked) != {}, after.pop(revoked)) == (True, {})  # not made anew, as ever
    assert after == before


async def test_it_equals_also_by_the_archive_alone_and_where_a_jobs_state_must_be_folded(aged, monkeypatch):
    before = await all_keys(aged)
    await drop(aged.database_url, aged.second, monkeypatch)
    await aged.pool.execute("delete from ledger.runs where partition = 0")
    await aged.pool.execute(
        "update book.snapshots set state = null where ref = $1", f"job:{aged.made['following']}"
    )
    await wipe(aged)
    await aged.open(0)
    after = await all_keys(aged)
    for each in (before, after):
        del each[aged.keys_issued[1]]
    assert after == before


async def test_months_are_dropped_one_after_the_other_by_several_runs(aged, monkeypatch):
    before = await all_keys(aged)
    first = await drop(aged.database_url, aged.first, monkeypatch, run_id="one")
    again = await drop(aged.database_url, aged.first, monkeypatch, run_id="one")
    second = await drop(aged.database_url, aged.second, monkeypatch, run_id="two")
    assert [each["partitions_dropped"] for each in (first, again, second)] == [
        ["book.events_part0"], [], ["book.events_part1"],
    ]  # fmt: skip
    assert (await cuts.cut_of(aged.pool, 0)).run_id == "two"
    assert await count(aged, "book.archive_cuts where partition = 0") == 2
    ended = f"run:{aged.made['running']}"
    assert await count(aged, "book.brought_forward where ref = $1", ended) == 0
    await wipe(aged)
    await aged.open(0)
    after = await all_keys(aged)
    for each in (before, after):
        del each[aged.keys_issued[1]]
    assert after == before


async def test_events_in_the_default_partition_go_with_the_month_that_follows_them(aged, monkeypatch):
    await aged.pool.execute(
        "create table moved as select * from book.events_part0; drop table book.events_part0;"
        "alter table moved drop column about"
    )
    columns = "partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data, chain"
    await aged.pool.execute(f"insert into book.events ({columns}) select {columns} from moved")  # noqa: S608
    assert await count(aged, "book.events_default") > 50
    done = await drop(aged.database_url, aged.second, monkeypatch)
    assert done["partitions_dropped"] == ["book.events_part1"]
    assert await count(aged, "book.events_default") == 0


async def test_the_present_month_and_the_one_before_stay(aged, monkeypatch):
    before = await everything(aged.pool)
    done = await drop(aged.database_url, aged.second, monkeypatch, retention_days=200)
    assert done["partitions_dropped"] == done["kept"] == []

    async def soon(_):
        return aged.second

    assert (await everything(aged.pool)) == before
    monkeypatch.setattr(retention, "_now", soon)
    months = retention.Retention(None, None, aged.second, None)
    months.connection = aged.pool
    assert await months.months("book.events", before=aged.second) == []


# The audit.


async def test_the_audit_begins_where_the_archive_does_and_says_so(book, monkeypatch):
    before = await verify(book.pool, book.redis)
    assert (before.violations, before.begins) == (0, {})
    done = await drop(book.database_url, book.first, monkeypatch)
    report = await verify(book.pool, book.redis)
    assert {line.name: line.first for line in report.lines if line.violations} == {}
    assert report.events == before.events - done["rows_deleted"]
    assert {n: cut.run_id for n, cut in report.begins.items()} == {0: "retention", 1: "retention"}
    checked = {line.name: line.checked for line in report.lines}
    assert min(checked[each] for each in ("jobs", "book_snapshots", "snapshots", "versions", "standing")) > 4


async def test_the_audit_stays_clean_while_the_story_goes_on(book, monkeypatch):
    """What stood at the cut goes on after it: each run and job is judged from what was brought forward."""
    await drop(book.database_url, book.first, monkeypatch)
    assert await wrong(book) == {}
    async with at_work(book):
        await office_moves(book)
        assert await wrong(book) == {}
    assert await wrong(book) == {}


TAMPERED = [
    ("update book.archive_cuts set chain = sha256('')", {"chain"}),
    ("update book.archive_cuts set id = 'other'", set()),
    ("update book.archive_cuts set pos = pos - 1", {"positions"}),
    ("delete from book.archive_cuts", {"positions", "chain", "readable"}),
    ("update book.brought_forward set state = replace(state, '\"revision\":1', '\"revision\":7')", {"jobs"}),
    ("update book.brought_forward set active_runs = active_runs + 1", {"jobs"}),
    ("update book.snapshots set pos = pos - 1", {"book_snapshots"}),
    ("delete from book.brought_forward where ref like 'run:%'", {"ends"}),
    (
        "delete from ledger.jobs using book.brought_forward where ref = 'job:' || id",
        {"jobs"},
    ),
]


@pytest.mark.parametrize(("statement", "lines"), TAMPERED)
async def test_what_was_tampered_with_after_the_cut_shows(book, monkeypatch, statement, lines):
    await drop(book.database_url, book.first, monkeypatch)
    await book.pool.execute(statement)
    assert lines <= (await wrong(book)).keys()


# What stays.


async def test_without_a_cold_copy_nothing_goes(aged, monkeypatch):
    before = await everything(aged.pool)
    done = await drop(aged.database_url, aged.second, monkeypatch, require_cold_copy=True)
    assert await everything(aged.pool) == before
    assert [each["partition"] for each in done["kept"]] == ["book.events_part0", "book.events_part1"]
    assert "no cold copy holds 0:1 to" in done["kept"][0]["why"]
    assert done["kept"][1]["why"] == cutting.OLDER


async def test_what_a_cold_copy_holds_goes(aged, monkeypatch):
    await copied(aged.pool)
    done = await drop(aged.database_url, aged.second, monkeypatch, require_cold_copy=True)
    assert len(done["partitions_dropped"]) == 2


@pytest.mark.parametrize(
    ("change", "dropped"),
    [
        ("delete from book.cold_copies where partition = 1", 0),
        ("update book.cold_copies set chain = sha256('')", 0),
        ("update book.cold_copies set last_epoch = 7", 0),
        ("update book.cold_copies set first_pos = 3 where partition = 0", 0),
        ("select 1", 2),
    ],
)
async def test_a_cold_copy_counts_only_if_it_holds_everything_of_this_archive(
    aged, monkeypatch, change, dropped
):
    await copied(aged.pool)
    await aged.pool.execute(change)
    done = await drop(aged.database_url, aged.second, monkeypatch, require_cold_copy=True)
    assert len(done["partitions_dropped"]) == dropped


async def test_cold_copies_may_hold_it_together(aged, monkeypatch):
    last = await aged.pool.fetchval("select max(pos) from book.events_part0 where partition = 0")
    await copied(aged.pool, "file:///one", upto=last - 5)
    await copied(aged.pool, "file:///two", partitions=(0,), first=last - 4)
    await cold_copies.strike(aged.pool, "file:///none")
    done = await drop(aged.database_url, aged.first, monkeypatch, require_cold_copy=True)
    assert done["partitions_dropped"] == ["book.events_part0"]


async def test_a_cold_copy_that_is_deleted_meanwhile_keeps_the_month(aged, monkeypatch):
    await copied(aged.pool)
    read = cutting.Reading.read

    async def struck_out(self, *args):
        await read(self, *args)
        await cold_copies.strike(aged.pool, "file:///cold")

    monkeypatch.setattr(cutting.Reading, "read", struck_out)
    done = await drop(aged.database_url, aged.first, monkeypatch, require_cold_copy=True)
    assert "was deleted meanwhile" in done["kept"][0]["why"]
    assert await count(aged, "book.archive_cuts") == 0


async def test_a_dry_run_changes_nothing_and_says_what_would_go(aged, monkeypatch):
    before = await everything(aged.pool)
    would = await drop(aged.database_url, aged.second, monkeypatch, dry_run=True)
    assert await everything(aged.pool) == before
    done = await drop(aged.database_url, aged.second, monkeypatch)
    assert would == done | {"dry_run": True}
    assert await everything(aged.pool) != before


STAYS = [
    ("delete from book.snapshots where ref = 'job:' || $1", "has no snapshot that is newer"),
    ("update book.snapshots set pos = 1 where ref = 'job:' || $1", "has no snapshot that is newer"),
    (
        "update book.events set actor = 'nobody' where about = $1 and type = 'JobCreated'",
        "hash chain is broken",
    ),
    ("delete from book.events where about = $1 and type = 'JobCreated'", "is missing"),
    (
        "insert into book.projection_errors select partition, epoch, pos, 'runs', id, '', '', at from book.events"
        " where about = $1 and type = 'JobCreated'",
        "a ledger refused",
    ),
]


@pytest.mark.parametrize(("change", "why"), STAYS)
async def test_a_month_stays_that_something_still_needs(aged, monkeypatch, change, why):
    await aged.pool.execute(change, aged.made["loose"])
    before = await everything(aged.pool)
    done = await drop(aged.database_url, aged.second, monkeypatch)
    assert why in done["kept"][0]["why"]
    assert done["kept"][1]["why"] == cutting.OLDER
    assert await everything(aged.pool) == before


async def test_a_month_stays_that_this_build_can_not_fold(aged, monkeypatch):
    """The chain is made anew, as if a newer Daybook had written it."""
    await aged.pool.execute(
        "update book.events set v = 99 where subject = $1 and type = 'RunStarted'",
        f"run/{aged.made['running']}",
    )
    monkeypatch.setattr(cutting, "link", lambda _, fields: aged.chains[fields[2], fields[0]])
    rows = await aged.pool.fetch("select partition, pos, chain from book.events")
    aged.chains = {(row["pos"], row["partition"]): row["chain"] for row in rows}
    done = await drop(aged.database_url, aged.second, monkeypatch)
    assert "let a newer Daybook do it" in done["kept"][0]["why"]
    assert done["partitions_dropped"] == []


async def test_a_month_that_is_being_read_stays_until_the_reader_is_done(aged, monkeypatch):
    monkeypatch.setattr(retention, "LOCK_TRIES", 2)
    monkeypatch.setattr(retention, "LOCK_AGAIN_S", 0.01)
    before = await everything(aged.pool)
    async with aged.pool.acquire() as reader, reader.transaction():
        await cuts.hold_still(reader)
        done = await drop(aged.database_url, aged.first, monkeypatch)
        assert done["kept"] == [{"partition": "book.events_part0", "why": cutting.BUSY}]
    assert await everything(aged.pool) == before
    assert len((await drop(aged.database_url, aged.first, monkeypatch))["partitions_dropped"]) == 1


@asynccontextmanager
async def under_way(office):
    """Another retention, which holds the lock."""
    other = await asyncpg.connect(office.database_url)
    await other.execute("select pg_advisory_lock($1)", retention.RETENTION_LOCK)
    yield
    await other.close()


async def test_two_at_once_are_one(aged, monkeypatch):
    async with under_way(aged):
        before = await everything(aged.pool)
        with pytest.raises(retention.RetentionBusy):
            await drop(aged.database_url, aged.second, monkeypatch)
        assert await everything(aged.pool) == before
    both = await asyncio.gather(
        drop(aged.database_url, aged.second, monkeypatch),
        drop(aged.database_url, aged.second, monkeypatch),
        return_exceptions=True,
    )
    done = [each["partitions_dropped"] for each in both if isinstance(each, dict)]
    assert ["book.events_part0", "book.events_part1"] in done
    assert sum(map(len, done)) == 2


async def test_a_run_that_is_cut_off_in_the_midst_leaves_whole_months(aged, monkeypatch):
    """Killed in the transaction of a month: what it would have done is undone, and the next run does it."""

    async def killed(*_):
        raise asyncio.CancelledError

    before = await everything(aged.pool)
    with monkeypatch.context() as patch:
        patch.setattr(retention.Retention, "drop", killed)
        with pytest.raises(asyncio.CancelledError):
            await drop(aged.database_url, aged.second, patch)
    assert await everything(aged.pool) == before
    assert len((await drop(aged.database_url, aged.second, monkeypatch))["partitions_dropped"]) == 2


# What goes on.


async def test_the_projector_goes_on_meanwhile(book, monkeypatch):
    async with at_work(book):
        await office_moves(book)
        done = await drop(book.database_url, book.first, monkeypatch)
        assert "book.events_part0" in done["partitions_dropped"]
        await office_moves(book)
    assert await wrong(book) == {}


async def office_moves(office):
    """More is archived."""
    at = (await archive.checkpoint(office.pool, 0)).pos

    async def moved():
        return (await archive.checkpoint(office.pool, 0)).pos > at + 20

    await wait_until(moved, "the archive has grown")


async def test_a_log_that_lost_its_tail_is_compared_with_what_is_left(aged, monkeypatch):
    """The log holds entries that have left the archive: the search for the last common event begins at the cut."""
    await drop(aged.database_url, aged.second, monkeypatch)
    state = await look(aged)
    cut = await cuts.cut_of(aged.pool, 0)
    assert state.first.pos < cut.pos
    lost = [entry for entry, _ in await aged.redis.xrange(aged.keys(0).log, f"({cut.epoch}-{cut.pos}", "+")]
    before = await all_keys(aged)
    await aged.redis.xdel(aged.keys(0).log, *lost)
    await aged.redis.hset(aged.keys(0).meta, "incarnation", "another")
    found = (await aged.open(0)).found
    assert found == Behind(tail=Position(cut.epoch, cut.pos), archived=state.tail_at)
    after = await all_keys(aged)
    for each in (before, after):
        del each[aged.keys_issued[1]]
    assert after == before


async def test_a_log_that_ends_before_the_archive_begins_is_not_guessed_about(aged, monkeypatch):
    await drop(aged.database_url, aged.second, monkeypatch)
    cut = await cuts.cut_of(aged.pool, 0)
    lost = [entry for entry, _ in await aged.redis.xrange(aged.keys(0).log, f"{cut.epoch}-{cut.pos}", "+")]
    await aged.redis.xdel(aged.keys(0).log, *lost)
    await aged.redis.hset(aged.keys(0).meta, "incarnation", "another")
    with pytest.raises(Fatal, match="nobody can tell whether they belong together"):
        await aged.open(0)


async def test_a_partition_whose_whole_archive_was_dropped_is_opened_and_healed(office, monkeypatch):
    job_id = await office.create(every=3600)
    await all_of(office.projector())
    then = await moment(office)
    await all_of(office.projectors[0], 1)
    await split(office.pool, "book.events", [then])
    before = await write_side(office)
    await drop(office.database_url, then, monkeypatch)
    assert await office.archived() == []
    await wipe(office)
    await office.open(0)
    assert await write_side(office) == before
    await office.decider.decide(f"job:{job_id}", PauseJob(by="ann"), TESTER)
    await all_of(office.projectors[0])
    assert await wrong(office) == {}


async def test_an_executor_drops_old_months_of_the_archive_it_belongs_to(office, hall, monkeypatch):
    """All of it: in a process of the pool, by the database's own clock, over months of the calendar."""
    office.made = await something_of_everything(office)
    for partition in range(office.partitions):
        await all_of(office.projectors[0], partition)
    before = await write_side(office)
    await age(office.pool, days=150)
    await copied(office.pool)
    data = {"cleanup_type": "archive", "retention_days": 90}
    run = await hall.a_run(job_type="cleanup_task", job_data=data, name="retention")
    hall.start(database_url=office.database_url)
    state = await hall.ended(run, timeout_s=60)
    assert state.status == "succeeded"
    (result,) = [
        json.loads(each.data)["result"] for each in await hall.events(run) if each.type == "RunSucceeded"
    ]
    CleanupResult.model_validate(result)
    assert (result["kept"], result["dry_run"]) == ([], False)
    assert result["rows_deleted"] >= 50
    assert await office.archived() == []
    output = next(each for each in await hall.events(run) if each.type == "RunOutput")
    assert "the archive of partition 0 begins after" in output.data
    assert (await cuts.cut_of(office.pool, 0)).run_id == run
    await wipe(office)
    await office.open(0)
    assert await write_side(office) == before
