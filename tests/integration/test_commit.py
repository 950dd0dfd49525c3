"""The only door: what commit.lua guarantees, on a real server."""

import asyncio
import contextlib
import re
from datetime import timedelta
from importlib import resources

import pytest
from msgspec.structs import replace
from redis.exceptions import NoScriptError

from services.timer import service as timer
from shared.domain import deciding, ids, job
from shared.domain.commands import (
    CreateJob,
    FailRun,
    PauseJob,
    ResumeJob,
    StartRun,
    SucceedRun,
    TriggerJob,
    UpdateJob,
    Wake,
)
from shared.domain.events import Failure, RunRequested
from shared.domain.refusals import LostLease, Overlaps
from shared.eventlog import snapshot, writer
from shared.eventlog.decider import Decider
from shared.eventlog.plan import Reopened
from shared.eventlog.position import Position
from shared.eventlog.unit import (
    Advance,
    Answered,
    Committed,
    Conflict,
    Done,
    Draft,
    Early,
    Once,
    Unit,
    batch_arguments,
    pack,
)
from shared.eventlog.writer import LogFull
from shared.testing import LEASE, NOON, TESTER, a_job_id, a_spec, chance, wait_until

JOB = "job:" + a_job_id()


def a_draft(ref=JOB, kind="JobCompleted", data="{}"):
    return Draft(
        id=ids.event_id(1, chance()), type=kind, v="1", subject=ref.replace(":", "/"), job="", advances="subject",
        actor="t", cause="", corr="", trace="", data=data,
    )  # fmt: skip


A_JOB = job.evolve(None, deciding.decide(None, CreateJob(
    job_id=JOB.removeprefix("job:"), spec=a_spec(), owner="ann", tenant="t"), NOON).changes[0])  # fmt: skip
STATE, SPEC = snapshot.dump_apart(A_JOB), snapshot.dump_spec(A_JOB)


def an_advance(ref=JOB, expected="", event=1, state=STATE, spec=SPEC):
    return Advance(ref=ref, expected=expected, event=event, fence=0, state=state, spec=spec)


def a_unit(ref=JOB, version=None, *, state=STATE, **changes):
    advances = (an_advance(ref, version or "", state=state),)
    return replace(Unit(events=(a_draft(ref),), advances=advances), **changes)


def a_batch(log, process, *units):
    """KEYS and ARGV of the first call that a process makes."""
    keys = log.keys(0)
    names = [keys.meta, keys.log, keys.due, keys.writer(process), keys.timer_bell]
    return names, batch_arguments(1, base=keys.base, ttl_ms=60_000, units=[pack(unit) for unit in units])


def losing_the_first_reply(bench, monkeypatch, meanwhile=None):
    """The reply to the first batch is lost; `meanwhile()` happens before it is sent again. Returns what is sent."""
    real = bench.log._writer._sent
    sent = []

    async def losing(batches):
        findings = await real(batches)
        if any(isinstance(each, NoScriptError) for each in findings):
            return findings
        sent.append([batch.args for batch in batches])
        if len(sent) > 1:
            return findings
        if meanwhile is not None:
            await meanwhile()
        return [ConnectionResetError("the reply is lost")] * len(batches)

    monkeypatch.setattr(bench.log._writer, "_sent", losing)
    return sent


async def a_job(bench, partition=0, **spec):
    job_id = a_job_id(partition, bench.log.now())
    command = CreateJob(job_id=job_id, spec=a_spec(**spec), owner="ann", tenant="t")
    return await bench.decider.decide(f"job:{job_id}", command, TESTER, held=snapshot.NOTHING)


async def a_run(bench, **spec):
    made = await a_job(bench, **spec)
    run_id = ids.chance_id(bench.log.now(), made.partition, chance())
    await bench.decider.decide(made.ref, TriggerJob(run_id=run_id, correlation_id="c"), TESTER)
    return f"run:{run_id}", made


async def everything(bench, partition=0):
    """All keys of the bench, with their contents, to compare before and after."""
    contents = {}
    async for key in bench.redis.scan_iter(match=f"{bench.prefix}:*"):
        if b":writer:" not in key:
            contents[key] = await bench.redis.dump(key)
    return contents


async def test_a_unit_is_in_the_log_under_contiguous_positions(bench):
    two = a_unit(events=(a_draft(), a_draft()), advances=(an_advance(event=2),))
    first = await bench.log.commit(0, two)
    second = await bench.log.commit(0, a_unit(version=str(first.last)))
    assert (first.last.pos - first.first.pos, second.first.pos) == (1, first.last.pos + 1)
    entries = await bench.redis.xrange(bench.log.keys(0).log)
    assert [int(entry[0].split(b"-")[1]) for entry in entries] == list(range(1, 5))


async def test_a_version_is_the_position_of_the_aggregates_last_event(bench):
    other = "run:" + a_job_id()
    unit = a_unit(
        events=(a_draft(), a_draft()), advances=(an_advance(JOB, event=2), an_advance(other, event=1))
    )
    done = await bench.log.commit(0, unit)
    assert await bench.redis.hget(bench.log.keys(0).aggregate(JOB), "version") == str(done.last).encode()
    assert await bench.redis.hget(bench.log.keys(0).aggregate(other), "version") == str(done.first).encode()


@pytest.mark.parametrize("version", [None, "1-1"])
async def test_a_failed_guard_writes_nothing_and_answers_with_the_state(bench, version):
    made = await a_job(bench, every=10)
    before = await everything(bench)
    outcome = await bench.log.commit(0, a_unit(made.ref, version, due=((made.ref, "5"),), state="{}"))
    assert isinstance(outcome, Conflict)
    assert (outcome.ref, outcome.snapshot) == (made.ref, made.after)
    assert await everything(bench) == before


async def test_one_unit_of_a_batch_may_fail_without_the_others(bench):
    refs = ["job:" + a_job_id() for _ in range(3)]
    await bench.log.commit(0, a_unit(refs[1]))
    outcomes = await asyncio.gather(*(bench.log.commit(0, a_unit(ref)) for ref in refs))
    assert [type(outcome) for outcome in outcomes] == [Committed, Conflict, Committed]


async def test_units_submitted_while_a_script_is_in_flight_share_the_next_call(bench):
    calls = (await bench.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await asyncio.gather(*(bench.log.commit(0, a_unit("job:" + a_job_id())) for _ in range(300)))
    after = (await bench.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]
    assert after - calls <= 4


async def test_a_due_entry_that_has_moved_or_is_not_yet_due_wakes_nobody(bench):
    keys = bench.log.keys(0)
    now_ms = ids.to_ms(await bench.log.sync())
    unit = a_unit(woken=((JOB, "1000"),))
    assert await bench.log.commit(0, unit) == Early(ref=JOB)
    await bench.redis.zadd(keys.due, {JOB: 1001})
    assert await bench.log.commit(0, unit) == Early(ref=JOB)
    later = str(now_ms + 60_000)
    await bench.redis.zadd(keys.due, {JOB: later})
    assert await bench.log.commit(0, replace(unit, woken=((JOB, later),))) == Early(ref=JOB)
    assert await bench.redis.xlen(keys.log) == 1
    await bench.redis.zadd(keys.due, {JOB: 1000})
    assert isinstance(await bench.log.commit(0, unit), Committed)


async def test_a_beat_between_reading_and_committing_saves_the_run(bench):
    """Trace 17: RunLost must see that the lease has moved, though the version has not."""
    ref, _ = await a_run(bench)
    due = bench.log.keys(0).due
    await bench.decider.decide(ref, StartRun(worker="w"), TESTER)
    await bench.redis.zadd(due, {ref: 1000})
    await bench.redis.zadd(due, {ref: ids.to_ms(bench.log.now()) + 15_000})  # the beat
    decided = await bench.decider.decide(ref, Wake(), TESTER, woken="1000")
    assert decided.last is None


async def test_once_gives_the_first_answer_again(bench):
    once = Once(digest="d", fingerprint="f", answer="a1")
    first = await bench.log.commit(0, a_unit(once=(once,)))
    again = await bench.log.commit(0, a_unit("job:" + a_job_id(), once=(replace(once, answer="a2"),)))
    assert again == Answered(digest="d", fingerprint="f", answer="a1", position=first.last)
    assert 0 < await bench.redis.pttl(bench.log.keys(0).once("d")) <= once.ttl_ms


async def test_a_unit_may_give_several_answers_and_the_first_that_was_given_stands(bench):
    one, two = (Once(digest=each, fingerprint=f"f{each}", answer=f"a{each}") for each in "de")
    first = await bench.log.commit(0, a_unit(once=(one, two)))
    for digest in "de":
        kept = Answered(digest=digest, fingerprint=f"f{digest}", answer=f"a{digest}", position=first.last)
        assert await bench.log.answered(0, digest) == kept
    before = await everything(bench)
    new = Once(digest="new", fingerprint="f", answer="a")
    again = await bench.log.commit(0, a_unit("job:" + a_job_id(), once=(new, two, one)))
    assert (again.digest, again.answer) == ("e", "ae")
    assert await bench.log.answered(0, "new") is None
    assert await everything(bench) == before


async def test_a_command_that_changes_nothing_any_more_gets_its_answer(bench):
    job_id = a_job_id(made_at=bench.log.now())
    create = CreateJob(job_id=job_id, spec=a_spec(every=3600), owner="ann", tenant="t")
    await bench.decider.decide(f"job:{job_id}", create, TESTER)
    once = (Once(digest="d", fingerprint="f", answer="a"),)
    first = await bench.decider.decide(f"job:{job_id}", PauseJob(by="ann"), TESTER, once=once)
    again = await bench.decider.decide(f"job:{job_id}", PauseJob(by="ann"), TESTER, once=once)
    assert (again.answered.position, again.changes) == (first.last, ())
    other = (Once(digest="other", fingerprint="f", answer="a"),)
    assert (
        await bench.decider.decide(f"job:{job_id}", PauseJob(by="ann"), TESTER, once=other)
    ).answered is None


async def test_what_is_settled_before_a_command_is_not_caused_by_its_key(bench, monkeypatch):
    job_id = a_job_id(made_at=bench.log.now())
    create = CreateJob(job_id=job_id, spec=a_spec(every=1), owner="ann", tenant="t")
    await bench.decider.decide(f"job:{job_id}", create, TESTER)
    late = bench.log.now() + timedelta(seconds=2500)  # two units of a backlog, then the command
    monkeypatch.setattr(bench.log, "now", lambda _: late)
    trigger = TriggerJob(run_id=a_job_id(), correlation_id="c", overlap_policy="allow")
    once = (Once(digest="d", fingerprint="f", answer="a"),)
    done = await bench.decider.decide(f"job:{job_id}", trigger, replace(TESTER, cause="key:d:f"), once=once)
    entries = await bench.redis.xrange(bench.log.keys(0).log)
    caused = {entry: fields[b"cause"] for entry, fields in entries}
    count = done.last.pos - done.first.pos + 1
    assert len(entries) - 2 > count, "some of it was settled before"
    assert [entry for entry, cause in caused.items() if cause] == [entry for entry, _ in entries[-count:]]


async def test_what_is_settled_before_a_command_is_not_its_answer(bench, monkeypatch):
    job_id = a_job_id(made_at=bench.log.now())
    create = CreateJob(job_id=job_id, spec=a_spec(every=1), owner="ann", tenant="t")
    await bench.decider.decide(f"job:{job_id}", create, TESTER)
    late = bench.log.now() + timedelta(seconds=2500)  # two units of a backlog, then the command
    monkeypatch.setattr(bench.log, "now", lambda _: late)
    once = Once(digest="d", fingerprint="f", answer="a1")
    trigger = TriggerJob(run_id=a_job_id(), correlation_id="c", overlap_policy="allow")
    done = await bench.decider.decide(f"job:{job_id}", trigger, TESTER, once=(once,))
    assert (done.answered, done.changes[-1].event.trigger) == (None, "manual")
    assert await bench.log.answered(0, "d") == Answered(
        digest="d", fingerprint="f", answer="a1", position=done.last
    )


async def test_a_command_that_its_own_first_try_stands_in_the_way_of_gets_that_ones_answer(bench):
    job_id = a_job_id(made_at=bench.log.now())
    create = CreateJob(job_id=job_id, spec=a_spec(), owner="ann", tenant="t")
    await bench.decider.decide(f"job:{job_id}", create, TESTER)
    once = Once(digest="d", fingerprint="f", answer="a1")
    trigger = TriggerJob(run_id=a_job_id(), correlation_id="c")
    first = await bench.decider.decide(f"job:{job_id}", trigger, TESTER, once=(once,))
    again = replace(trigger, run_id=a_job_id())
    second = await bench.decider.decide(f"job:{job_id}", again, TESTER, once=(replace(once, answer="a2"),))
    assert (second.answered.answer, second.answered.position, second.changes) == ("a1", first.last, ())
    with pytest.raises(Overlaps):
        await bench.decider.decide(f"job:{job_id}", again, TESTER, once=(replace(once, digest="another"),))
    with pytest.raises(Overlaps):
        await bench.decider.decide(f"job:{job_id}", again, TESTER)


async def test_a_batch_sent_twice_applies_once_whoever_wrote_in_between(bench):
    """Trace 7: the reply is lost, somebody else writes, the batch is sent again."""
    keys, args = a_batch(bench.log, "p9", a_unit())
    script = writer._flavours()[False]
    first = await script(bench.redis, keys, args)
    _, _, epoch, pos = first
    await bench.log.commit(0, a_unit(version=f"{epoch.decode()}-{pos}"))
    assert await script(bench.redis, keys, args) == first
    assert await bench.redis.xlen(bench.log.keys(0).log) == 3
    assert (await script(bench.redis, keys, ["0", *args[1:]]))[0] == b"STALE"


async def test_a_lost_reply_is_asked_for_again_and_nothing_is_written_twice(bench, monkeypatch):
    sent = losing_the_first_reply(bench, monkeypatch)
    outcome = await bench.log.commit(0, a_unit())
    assert isinstance(outcome, Committed)
    assert sent == [sent[0], sent[0]]
    assert await bench.redis.xlen(bench.log.keys(0).log) == 2


async def test_an_incarnation_that_was_not_opened_takes_nothing(bench):
    """§9: the server is another one than was opened (a restart, a failover): CLOSED, then open, then the same unit."""
    keys = bench.log.keys(0)
    await bench.redis.hset(keys.meta, "incarnation", "0" * 40)
    bench.reopened.clear()
    outcome = await bench.log.commit(0, a_unit())
    assert bench.reopened == [0]
    entries = await bench.redis.xrange(keys.log)
    assert [fields[b"type"] for _, fields in entries] == [b"LogOpened", b"LogOpened", b"JobCompleted"]
    assert outcome.first.epoch == Position.parse(entries[1][0].decode()).epoch


async def test_a_log_that_is_gone_is_not_made_anew_by_a_commit(bench):
    """NOMKSTREAM answers nil, not an error; the script must notice before it writes anything else."""
    keys = bench.log.keys(0)
    await bench.redis.delete(keys.log)
    opened = []

    async def reopen(partition):
        opened.append((partition, await bench.redis.exists(keys.log, keys.aggregate(JOB))))
        await bench.redis.delete(keys.meta)
        await bench.open(partition)

    log = bench.another_log("p2")
    log._writer._reopen = reopen
    await log.commit(0, a_unit())
    assert opened == [(0, 0)]


async def test_ending_work_goes_on_when_memory_is_full(bench):
    ref, made = await a_run(bench)
    start = await bench.decider.decide(ref, StartRun(worker="w"), TESTER)
    used = (await bench.redis.info("memory"))["used_memory"]
    await bench.redis.config_set("maxmemory", used // 2)
    try:
        with pytest.raises(LogFull):
            await a_job(bench)
        with pytest.raises(LogFull):
            await bench.decider.decide(
                made.ref, TriggerJob(run_id=a_job_id(), correlation_id="c", overlap_policy="allow"), TESTER
            )
        ended = await bench.decider.decide(ref, SucceedRun(fence=start.after.fence), TESTER)
        assert ended.after.state.ended
    finally:
        await bench.redis.config_set("maxmemory", 0)
    assert (await a_job(bench)).last


async def test_a_run_goes_through_its_work_stream_and_leaves_nothing_behind(bench):
    ref, made = await a_run(bench, priority=7)
    keys = bench.log.keys(0)
    ((entry, fields),) = await bench.redis.xrange(keys.work("default", 7))
    queued = await bench.log.load(ref)
    assert fields == {
        b"run": ref.removeprefix("run:").encode(),
        b"job": made.ref.removeprefix("job:").encode(),
    }
    assert entry.decode() == queued[ref].version
    assert await bench.redis.llen(keys.bell("default")) == 1
    done = Done(queue="default", priority=7, entry=entry.decode())
    start = await bench.decider.decide(ref, StartRun(worker="w"), TESTER, done=done)
    assert start.after.fence == start.after.version == str(start.last)
    assert await bench.redis.xlen(keys.work("default", 7)) == 0
    lease_ms = await bench.redis.zscore(keys.due, ref) - ids.to_ms(bench.log.now())
    assert 14_000 < lease_ms <= LEASE.total_seconds() * 1000
    await bench.decider.decide(ref, SucceedRun(fence=start.after.fence), TESTER, held=start.after)
    assert await bench.redis.zscore(keys.due, ref) is None
    assert 0 < await bench.redis.pttl(keys.aggregate(ref)) <= 60_000
    assert await bench.redis.pttl(keys.aggregate(made.ref)) == -1


async def test_a_result_from_a_start_that_lost_the_run_is_refused(bench):
    """Trace 2: same attempt number, same worker even, but another start: the fence tells."""
    ref, _ = await a_run(bench)
    first = await bench.decider.decide(ref, StartRun(worker="w"), TESTER)
    await bench.redis.zadd(bench.log.keys(0).due, {ref: 1000})
    await bench.decider.decide(ref, Wake(), TESTER, woken="1000")
    second = await bench.decider.decide(ref, StartRun(worker="w"), TESTER)
    with pytest.raises(LostLease):
        await bench.decider.decide(ref, SucceedRun(fence=first.after.fence), TESTER, held=first.after)
    ended = await bench.decider.decide(ref, SucceedRun(fence=second.after.fence), TESTER, held=second.after)
    assert ended.after.state.status == "succeeded"


async def test_two_timers_decide_an_occurrence_once(bench):
    made = await a_job(bench, every=1)
    keys = bench.log.keys(0)
    rival = bench.another_log("p2")
    await rival.sync()
    other = Decider(rival, lease=LEASE, chance=chance)
    score = f"{await bench.redis.zscore(keys.due, made.ref):.0f}"
    await wait_until(lambda: ids.to_ms(bench.log.now()) >= int(score) + 2, "the job is due")
    await asyncio.gather(
        *(each.decide(made.ref, Wake(), TESTER, woken=score) for each in (bench.decider, other))
    )
    kinds = [fields[b"type"] for _, fields in await bench.redis.xrange(keys.log)]
    assert kinds.count(b"RunRequested") == 1


async def test_an_edit_at_the_due_moment_swallows_nothing(bench):
    """Trace 9: the edit decides the occurrence that the timer has not got round to."""
    made = await a_job(bench, every=1)
    await wait_until(lambda: bench.log.now() >= made.after.state.next_for, "the job is due")
    paused = await bench.decider.decide(made.ref, PauseJob(by="ann"), TESTER, held=made.after)
    assert type(paused.changes[0].event).__name__ == "RunRequested"
    assert await bench.redis.zscore(bench.log.keys(0).due, made.ref) is None


async def test_a_command_whose_occurrence_another_has_decided_is_decided_from_the_newer_job(bench):
    """Found by the fault suite: the conflict named the run that was there, and the old job wished for it again."""
    made = await a_job(bench, every=1)
    await wait_until(lambda: bench.log.now() >= made.after.state.next_for, "the job is due")
    first = await bench.decider.decide(made.ref, ResumeJob(by="ann"), TESTER, held=made.after)
    assert [type(change.event).__name__ for change in first.changes] == ["RunRequested"]
    paused = await bench.decider.decide(made.ref, PauseJob(by="bob"), TESTER, held=made.after)
    assert paused.after.state.paused.by == "bob"
    requested = [
        change.subject
        for change in (*first.changes, *paused.changes)
        if isinstance(change.event, RunRequested)
    ]
    assert len(requested) == len(set(requested))


async def test_a_conflict_is_decided_again_from_the_newer_state(bench):
    made = await a_job(bench, every=100)
    await bench.decider.decide(made.ref, PauseJob(by="ann"), TESTER)
    again = await bench.decider.decide(made.ref, PauseJob(by="bob"), TESTER, held=made.after)
    assert (again.last, again.after.state.paused.by) == (None, "ann")


async def test_a_retry_is_planned_in_the_due_index(bench):
    ref, _ = await a_run(bench)
    start = await bench.decider.decide(ref, StartRun(worker="w"), TESTER)
    fail = FailRun(fence=start.after.fence, error=Failure(class_="E", message="m"), names=("E",), draw=0.5)
    failed = await bench.decider.decide(ref, fail, TESTER, held=start.after)
    score = await bench.redis.zscore(bench.log.keys(0).due, ref)
    assert score == ids.to_ms(failed.after.state.wake_at)


async def test_the_timers_bell_rings_when_something_earlier_is_written_that_is_due_soon(bench):
    bell = bench.log.keys(0).timer_bell
    await a_job(bench, every=1000)
    await a_job(bench, every=10)  # earlier, but the timer looks by itself before then
    assert await bench.redis.llen(bell) == 0
    await a_job(bench, every=1)
    assert await bench.redis.llen(bell) == 1
    await bench.redis.delete(bell)
    await a_job(bench, every=2)
    assert await bench.redis.llen(bell) == 0


def test_what_the_bell_does_not_ring_for_the_timer_sees_by_itself():
    body = resources.files("shared.eventlog").joinpath("commit.lua").read_text()
    [within_ms] = re.findall(r"RING_WITHIN_MS = (\d+)", body)
    assert int(within_ms) >= 2 * 1000 * timer.IDLE_MAX_S


async def test_a_cancelled_caller_does_not_break_the_writer(bench):
    waiting = asyncio.create_task(bench.log.commit(0, a_unit()))
    await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert isinstance(await bench.log.commit(0, a_unit("job:" + a_job_id())), Committed)


async def test_a_specification_is_written_when_it_is_new_and_only_then(bench):
    made = await a_job(bench, every=3600)
    edited = a_spec(every=3600, description="edited")
    await bench.decider.decide(made.ref, UpdateJob(spec=edited), TESTER)
    assert (await bench.log.load(made.ref))[made.ref].state.spec == edited
    held = (await bench.log.load(made.ref))[made.ref]
    key = bench.log.keys(0).aggregate(made.ref)
    await bench.redis.hdel(key, "spec")
    await bench.decider.decide(made.ref, PauseJob(by="ann"), TESTER, held=held)
    assert not await bench.redis.hexists(key, "spec")


async def test_a_job_that_had_left_redis_comes_back_whole(bench):
    made = await a_job(bench, every=3600)
    await bench.redis.delete(bench.log.keys(0).aggregate(made.ref))
    archived = replace(made.after, version=None)
    paused = await bench.decider.decide(made.ref, PauseJob(by="ann"), TESTER, held=archived)
    assert (await bench.log.load(made.ref))[made.ref].state == paused.after.state


async def test_a_run_is_requested_once_even_by_a_decision_that_is_wrong(bench):
    """A guard behind the domain's: what has ended is never opened again."""
    job = a_job_id(0)
    created = CreateJob(job_id=job, spec=a_spec(overlap_policy="allow"), owner="o", tenant="t")
    await bench.decider.decide(f"job:{job}", created, TESTER, held=snapshot.NOTHING)
    command = TriggerJob(run_id=a_job_id(0), correlation_id="c")
    await bench.decider.decide(f"job:{job}", command, TESTER)
    before = await bench.redis.xlen(bench.log.keys(0).log)
    with pytest.raises(Reopened, match="was requested before"):
        await bench.decider.decide(f"job:{job}", command, TESTER)
    assert await bench.redis.xlen(bench.log.keys(0).log) == before
