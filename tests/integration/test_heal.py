"""A log that has lost what is archived is healed: what is made anew equals what was there, and work goes on."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from services.executor.heartbeat import Heartbeat
from services.projector import partition as projecting
from shared.domain.commands import RetryRun, SucceedRun, TriggerJob, Wake
from shared.embedded import Postgres
from shared.eventlog import opening
from shared.eventlog.envelope import decode
from shared.eventlog.keys import PRIORITIES
from shared.eventlog.once import of_retry
from shared.eventlog.position import Position
from shared.faults import BROKEN, Fatal
from shared.loop import Stop
from shared.readmodel import archive
from shared.recovery import Behind, comparing, rebuilding
from shared.testing import LEASE, TESTER, Bench, a_job_id, wait_until
from tests.integration.archive_kit import all_of, an_office
from tests.integration.heal_kit import forged, rewrite, something_of_everything, wipe, write_side
from tests.integration.trace_kit import a_rewindable_office, another_process, back, kinds, look


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


@pytest.fixture
async def set_back(postgres, tmp_path):
    """An office, and its server, which can be set back."""
    async with a_rewindable_office(postgres, tmp_path) as made:
        yield made


async def test_what_is_made_anew_equals_what_was_wiped_to_the_byte(office):
    made = await something_of_everything(office)
    before, meta = await write_side(office), await office.redis.hgetall(office.keys(0).meta)
    tail = (await look(office)).tail
    await wipe(office)
    done = await office.open(0)
    assert await write_side(office) == before
    assert (done.rebuilt.jobs, done.rebuilt.runs) == (10, 13)
    assert len(before["hashes"]) == 23
    assert done.found == Behind(tail=Position(0, 0), archived=tail.position)
    now = await look(office)
    opened = decode(now.tail.type, now.tail.v, now.tail.data)
    assert (opened.reason, opened.previous) == ("heal", (*tail.position, tail.id))
    assert now.tail_at == Position(now.epoch, tail.position.pos + 1)
    assert now.epoch > tail.position.epoch
    assert now.last_ms >= int(meta[b"last_ms"])
    await go_on(office, made)


async def test_a_run_that_was_retried_is_not_retried_again_after_redis_was_wiped(office):
    job_id = await office.create(overlap_policy="allow")
    ended = await office.run(job_id)
    held = (await office.log.load(f"run:{ended}"))[f"run:{ended}"].state
    retried = a_job_id(0, office.log.now())
    command = RetryRun(
        run_id=retried,
        correlation_id="c",
        of=ended,
        scheduled_for=held.scheduled_for,
        revision=1,
        spec=held.spec,
    )
    answer = of_retry(ended, answer=retried)
    written = await office.decider.decide(f"job:{job_id}", command, TESTER, once=(answer,))
    await all_of(office.projector())
    key = office.keys(0).once(answer.digest)
    before, left_ms = await office.redis.hgetall(key), await office.redis.pttl(key)
    await wipe(office)
    await office.open(0)
    assert await office.redis.hgetall(key) == before
    assert before[b"position"].decode() == str(written.last)
    assert 0 < left_ms - await office.redis.pttl(key) < 60_000
    other = replace(command, run_id=a_job_id(0, office.log.now()))
    again = await office.decider.decide(
        f"job:{job_id}", other, TESTER, once=(of_retry(ended, answer=other.run_id),)
    )
    assert again.answered.answer == retried


async def go_on(office, made):
    """Whoever held a run goes on, and whoever waits is started; then the archive has the whole story."""
    for run in ("running", "outliving", "again", "cancelling"):
        held = (await office.log.load(f"run:{made[run]}"))[f"run:{made[run]}"]
        await office.succeed(made[run], held.fence)
    for run in ("queued", "urgent", "followed", "interrupted", "lost", "deadline"):
        await office.succeed(made[run], await office.start(made[run]))
    following = (await office.log.load(f"job:{made['following']}"))[f"job:{made['following']}"].state
    assert following.active == ()
    assert await all_of(office.projectors[0]) == 1 + 4 + 2 * 6
    left = await office.pool.fetch("select id::text, status from ledger.runs where finished_at is null")
    assert {row["id"]: row["status"] for row in left}.items() >= {made["retrying"]: "retrying"}.items()


async def test_a_running_run_comes_back_with_a_fresh_lease(office):
    made = await something_of_everything(office)
    await wipe(office)
    await office.open(0)
    now = await look(office)
    for run in ("running", "outliving", "again", "cancelling"):
        score = await office.redis.zscore(office.keys(0).due, f"run:{made[run]}")
        assert score == now.last_ms + LEASE.total_seconds() * 1000, run


async def test_an_opener_that_dies_at_any_call_leaves_the_log_closed_and_the_next_one_starts_over(
    office, monkeypatch
):
    await something_of_everything(office)
    before = await write_side(office)
    monkeypatch.setattr(rebuilding, "COMMANDS_MAX", 1)
    real, calls, die_at = rebuilding.Rebuilding._call, 0, 0

    async def mortal(self, chunk):
        nonlocal calls
        calls += 1
        if calls == die_at:
            raise ConnectionError("killed")
        return await real(self, chunk)

    monkeypatch.setattr(rebuilding.Rebuilding, "_call", mortal)
    deaths = 0
    await wipe(office)
    while True:
        calls, die_at = 0, deaths + 1
        try:
            await office.open(0)
        except ConnectionError:
            deaths += 1
            assert not (await look(office)).is_open
            assert (await look(office)).tail is None
        else:
            break
    assert deaths > 30
    assert await write_side(office) == before
    assert await kinds(office.redis, office.keys(0)) == ["LogOpened"]


async def test_whoever_claims_or_wakes_meanwhile_finds_all_of_a_run_or_nothing_of_it(office, monkeypatch):
    """An executor drops an entry whose run isn't there, and the timer puts off what it can't load."""
    await something_of_everything(office)
    before = await write_side(office)
    await rewrite(office, lambda entries: entries[:-1])
    monkeypatch.setattr(rebuilding, "COMMANDS_MAX", 1)
    real, seen = rebuilding.Rebuilding._call, set()

    async def looked_at(self, chunk):
        await real(self, chunk)
        redis, keys = office.redis, office.keys(0)
        standing = {ref.decode() for ref in await redis.zrange(keys.due, 0, -1)}
        for priority in PRIORITIES:
            entries = await redis.xrange(keys.work("default", priority))
            standing |= {f"run:{fields[b'run'].decode()}" for _, fields in entries}
        assert [ref for ref in standing if not await redis.exists(keys.aggregate(ref))] == []
        seen.add(len(standing))

    monkeypatch.setattr(rebuilding.Rebuilding, "_call", looked_at)
    await office.open(0)
    assert {0, len(before["due"])} <= seen
    assert await write_side(office) == before


@pytest.mark.parametrize("fate", ["wiped", "restarted", "set back"])
async def test_a_server_that_loses_what_was_made_anew_is_not_opened_on_it(set_back, monkeypatch, fate):
    """Between the rebuilding and the opening: an AOF of `everysec` may come back with half of it."""
    office, server = set_back
    await something_of_everything(office)
    before = await write_side(office)
    server.remember()
    await office.create()
    await all_of(office.projectors[0])
    await office.redis.flushall()
    real, met = opening.open_as, []

    async def after_a_fault(redis, keys, *args, **kwargs):
        if not met:
            met.append(fate)
            if fate == "wiped":
                await redis.flushall()
            else:
                await {"restarted": cut_off, "set back": rewound}[fate](office, server)
        return await real(redis, keys, *args, **kwargs)

    monkeypatch.setattr(opening, "open_as", after_a_fault)
    await office.open(0)
    now = await write_side(office)
    assert met
    assert len(now["hashes"]) == len(before["hashes"]) + 1
    assert now["due"] == before["due"]
    assert now["work"] == before["work"]
    assert await kinds(office.redis, office.keys(0)) == ["LogOpened"]


async def cut_off(office, server):
    """The server comes back with the token, and without what was written under it last."""
    await office.redis.delete(office.keys(0).due)
    server.crash()
    await back(office.redis)


async def rewound(office, server):
    server.rewind()
    await back(office.redis)


async def test_an_opener_that_was_stopped_writes_nothing_over_what_another_has_opened(office, monkeypatch):
    """Its session is gone, and the lock with it; another heals, opens, goes on; then it wakes."""
    made = await something_of_everything(office)
    await wipe(office)
    real = rebuilding.Rebuilding._call
    asleep, wake = asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(rebuilding, "COMMANDS_MAX", 1)

    async def sleeper(self, chunk):
        if not asleep.is_set() and b"HSET" in chunk[0] and made["queued"].encode() in chunk[0]:
            asleep.set()
            await office.pool.execute("select pg_terminate_backend($1)", self._connection.get_server_pid())
            await wake.wait()
        return await real(self, chunk)

    monkeypatch.setattr(rebuilding.Rebuilding, "_call", sleeper)
    stopped = asyncio.create_task(office.open(0))
    await asleep.wait()
    await office.open(0)
    await office.succeed(made["queued"], await office.start(made["queued"]))
    before = await write_side(office), await office.redis.hgetall(office.keys(0).meta)
    wake.set()
    with pytest.raises(Exception, match="connection"):
        await stopped
    assert (await write_side(office), await office.redis.hgetall(office.keys(0).meta)) == before


async def test_openers_that_meet_heal_once(office):
    await something_of_everything(office)
    before = await write_side(office)
    await wipe(office)
    done = await asyncio.gather(*(office.open(0) for _ in range(5)))
    assert sum(each.rebuilt is not None for each in done) == 1
    assert await write_side(office) == before
    assert await kinds(office.redis, office.keys(0)) == ["LogOpened"]


async def test_nobody_elses_keys_are_touched(office, valkey):
    """Another tenant on the same server, and another partition of the same deployment."""
    other = await Bench.on(valkey.endpoint.url)
    await office.create(1)
    await something_of_everything(office)
    await office.redis.hset(office.keys(1).once("x"), mapping={"answer": "y"})
    await other.redis.set(f"{other.log.keys(0).base}:mine", "mine")
    theirs = [f"{other.prefix}:*", f"{office.keys(1).base}:*"]

    async def held():
        names = [name for match in theirs async for name in office.redis.scan_iter(match=match)]
        return {name: await office.redis.dump(name) for name in names if b"lease" not in name}

    before = await held()
    assert len(before) >= 6
    await office.redis.delete(office.keys(0).log)
    await office.open(0)
    assert await held() == before
    await other.close()


async def test_answers_to_repeated_requests_are_kept_if_what_they_answer_is(office):
    once, lease = office.keys(0).once("digest"), office.keys(0).lease("timer")
    await office.create()
    await all_of(office.projector())
    await office.redis.hset(once, mapping={"answer": "y"})
    await office.redis.set(lease, "a timer")
    await rewrite(office, lambda entries: entries[:1])
    await office.open(0)
    assert await office.redis.exists(once, lease) == 2
    await office.create()
    await all_of(office.projectors[0])
    await rewrite(office, lambda entries: forged(entries, len(entries) - 1))
    await office.open(0)
    assert await office.redis.exists(once) == 0, "it may answer for what was put aside"
    assert await office.redis.exists(lease) == 1


async def test_runs_are_found_in_the_archive_when_the_ledger_was_burnt(office):
    await something_of_everything(office)
    before = await write_side(office)
    await office.pool.execute("truncate ledger.runs, ledger.jobs")
    await wipe(office)
    await office.open(0)
    assert await write_side(office) == before


async def test_rows_that_a_ledger_refused_are_found_all_the_same(office):
    made = await something_of_everything(office)
    before = await write_side(office)
    await office.pool.execute("delete from ledger.runs where id = $1", made["queued"])
    record = (
        "insert into book.projection_errors select partition, epoch, pos, 'runs', $1, '', '', at"
        " from book.events where subject = $2 limit 1"
    )
    await office.pool.execute(record, made["queued"], f"run/{made['queued']}")
    await office.pool.execute("update book.snapshots set state = null where ref = $1", f"job:{made['loose']}")
    await wipe(office)
    await office.open(0)
    assert await write_side(office) == before


async def test_what_a_newer_version_wrote_is_not_left_out(office):
    made = await something_of_everything(office)
    await office.pool.execute(
        "update book.events set v = 99 where subject = $1 and type = 'RunStarted'", f"run/{made['running']}"
    )
    await wipe(office)
    with pytest.raises(Fatal, match=r"RunStarted version 99 is unknown.*have a newer Daybook open it"):
        await office.open(0)
    assert not (await look(office)).is_open


async def test_a_log_that_is_wiped_while_all_is_quiet_is_healed_by_its_projector(set_back, monkeypatch):
    """Nobody commits and no connection breaks: nothing but a look tells that the log is gone."""
    monkeypatch.setattr(projecting, "WATCH_EVERY_S", 0.1)
    office, _ = set_back
    await something_of_everything(office)
    before = await write_side(office)
    stop = Stop()
    serving = asyncio.create_task(office.projector("serving").run(stop))
    await wait_until(lambda: office.projectors[-1]._lines[0].reached, "it has begun")
    await office.redis.flushall()

    async def healed():
        states = [await look(office, each) for each in range(office.partitions)]
        return all(state.is_open for state in states)

    await wait_until(healed, "both logs are open again")
    assert await write_side(office) == before

    async def level():
        return (await archive.checkpoint(office.pool, 0)).epoch == (await look(office)).epoch

    await wait_until(level, "the opening is archived")
    stop.set()
    await serving


async def test_a_command_that_meets_a_wiped_log_heals_it_and_is_carried_out(office):
    made = await something_of_everything(office)
    await wipe(office)
    decider = another_process(office.bench, "p9", reopen=office.open)
    done = await decider.decide(
        f"run:{made['running']}", SucceedRun(fence=await fence_of(office, made["running"])), TESTER
    )
    assert done.after.state.ended


async def fence_of(office, run_id):
    """The fence of a run's latest start, by the archive."""
    row = await office.pool.fetchrow(
        "select epoch, pos from book.events where subject = $1 and type = 'RunStarted' order by pos desc",
        f"run/{run_id}",
    )
    return f"{row['epoch']}-{row['pos']}"


async def test_a_run_that_is_not_in_a_wiped_log_is_not_said_to_be_nowhere(office):
    """Its key is on its way back: a worker or a client that asks waits for it."""
    made = await something_of_everything(office)
    before = await write_side(office)
    await wipe(office)
    held = (await office.log.load(f"run:{made['queued']}"))[f"run:{made['queued']}"]
    assert held.version == before["hashes"][f"run:{made['queued']}"][b"version"].decode()


async def test_no_worker_is_told_that_a_run_has_moved_by_a_log_that_is_not_open(office):
    made = await something_of_everything(office)
    fence = await fence_of(office, made["running"])
    found = []
    beat = Heartbeat(office.url, office.log, lease=timedelta(seconds=60), on_found=found.append)
    cancelling = made["cancelling"], await fence_of(office, made["cancelling"])
    beat.hold(made["running"], fence)
    beat.hold(*cancelling)
    beat.hold(made["queued"], "1-1")
    assert beat.beat(extend=False) == ([(made["queued"], "1-1")], [cancelling])
    await wipe(office)
    assert beat.beat(extend=True) == ([], [])
    await office.open(0)
    assert beat.beat(extend=True) == ([(made["queued"], "1-1")], [cancelling])
    assert await office.redis.zscore(office.keys(0).due, f"run:{made['running']}") > (
        (await look(office)).last_ms + LEASE.total_seconds() * 1000
    )
    beat.stop()


async def test_a_wiped_log_stays_closed_until_the_archive_is_back(tmp_path, valkey):
    with Postgres(tmp_path) as server:
        async with an_office(server, valkey) as office:
            job_id = await office.create()
            await all_of(office.projector())
            before = await write_side(office)
            await wipe(office)
            await asyncio.to_thread(server.stop)
            with pytest.raises(BROKEN):
                await office.create()
            with pytest.raises(BROKEN):
                await office.trigger(job_id)
            assert await office.redis.exists(office.keys(0).log) == 0
            await asyncio.to_thread(server.start)
            await office.open(0)
            assert await write_side(office) == before


@pytest.mark.parametrize("ended", [False, True], ids=["it goes on", "its run has ended"])
async def test_what_was_archived_before_its_reply_was_lost_is_not_done_twice(set_back, monkeypatch, ended):
    """After the heal no guard need know: the run's key has gone with its end, and a job that follows none stands."""
    office, _ = set_back
    job_id = await office.create(overlap_policy="allow")
    await all_of(office.projector())
    run_id = a_job_id(0, office.log.now())
    real, sent = office.log._writer._sent, []

    async def reply_lost(batches):
        reply = await real(batches)
        if sent:
            return reply
        sent.append(batches)
        elsewhere = office.bench.another_log("p9")
        office.decider._log = elsewhere
        if ended:
            await office.succeed(run_id, await office.start(run_id))
        await elsewhere.close()
        office.decider._log = office.log
        await all_of(office.projectors[0])
        await office.redis.flushall()
        return [ConnectionError("no reply")] * len(batches)

    monkeypatch.setattr(office.log._writer, "_sent", reply_lost)
    command = TriggerJob(run_id=run_id, correlation_id="c")
    done = await office.decider.decide(f"job:{job_id}", command, TESTER)
    assert done.last == Position(done.last.epoch, 3)
    assert await kinds(office.redis, office.keys(0)) == ["LogOpened"]
    await back(office.blocking)
    await all_of(office.projectors[0])
    types = [event.type for event in await office.archived() if event.subject == f"run/{run_id}"]
    assert types == ["RunRequested", *(["RunStarted", "RunSucceeded"] if ended else [])]


async def test_the_archive_never_ends_within_a_unit_so_none_is_healed_by_half(office, monkeypatch):
    """A full read cuts a unit of two events; Redis is wiped before the next one."""
    run_id = await office.trigger(await office.create())
    await office.start(run_id)
    await office.redis.zadd(office.keys(0).due, {f"run:{run_id}": 5})
    seen = office.log.now()
    await wait_until(lambda: office.log.now() > seen + timedelta(milliseconds=2), "a later commit")
    await office.decider.decide(f"run:{run_id}", Wake(), TESTER, woken="5")
    assert (await kinds(office.redis, office.keys(0)))[4:] == ["RunLost", "RunQueued"]
    monkeypatch.setattr(projecting, "BATCH", 5)
    assert await office.projector().run_once(0) == 4
    await wipe(office)
    await office.open(0)
    held = (await office.log.load(f"run:{run_id}"))[f"run:{run_id}"].state
    assert (held.status, held.lost) == ("running", 0)


async def test_the_last_common_event_is_found_without_reading_the_whole_log(office, monkeypatch):
    for _ in range(40):
        await office.create()
    await all_of(office.projector())
    asked = []
    real = archive.find

    async def noted(connection, number, pos):
        asked.append(pos)
        return await real(connection, number, pos)

    monkeypatch.setattr(comparing.archive, "find", noted)
    await rewrite(office, lambda entries: forged(entries, 17))
    done = await office.open(0)
    assert done.found.common.pos == 17
    assert len(asked) <= 2 * 6  # it is compared before the fence is raised, and after
