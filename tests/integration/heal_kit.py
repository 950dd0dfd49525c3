"""What tests of healing share: a log with something of everything in it, and its write side as it stands."""

import json
from datetime import timedelta

from shared.domain.commands import (
    CancelRun,
    DeleteJob,
    HoldRun,
    InterruptRun,
    PauseJob,
    ResumeJob,
    TriggerJob,
    Wake,
)
from shared.domain.run import ENDED
from shared.eventlog.keys import PRIORITIES
from shared.eventlog.unit import Done
from shared.testing import TESTER, a_job_id, wait_until
from tests.integration.archive_kit import all_of


async def write_side(office, partition=0):
    """What must come back: snapshots, due index, work streams; leases of running runs count from the opening."""
    redis, keys = office.redis, office.keys(partition)
    hashes, running = {}, set()
    for kind in ("job", "run"):
        async for name in redis.scan_iter(match=keys.aggregate(f"{kind}:*"), count=1000):
            held = await redis.hgetall(name)
            held.pop(b"progress", None)  # no fact: a handler tells it again
            state = json.loads(held[b"state"])
            ref = name.decode().removeprefix(f"{keys.base}:")
            if state["status"] in ENDED or is_over(state):
                assert await redis.pttl(name) > 0, f"{ref} is over and stays"
                continue
            hashes[ref] = held
            if state["status"] == "running":
                running.add(ref)
    due = {ref.decode(): score for ref, score in await redis.zrange(keys.due, 0, -1, withscores=True)}
    assert running <= due.keys()
    return {
        "hashes": hashes,
        "due": {ref: score for ref, score in due.items() if ref not in running},
        "work": {p: await redis.xrange(keys.work("default", p)) for p in PRIORITIES},
    }


def is_over(state):
    return state["status"] in ("completed", "deleted") and not state.get("active")


async def something_of_everything(office):
    """Fill partition 0 with jobs and runs in every state that isn't over, and archive all; returns ids by what."""
    loose = await office.create(overlap_policy="allow", name="loose")
    made = {"loose": loose, "interval": await office.create(every=60)}
    made["paused"] = await office.create(cron="* * * * *")
    await office.decider.decide(f"job:{made['paused']}", PauseJob(by="ann", reason="rest"), TESTER)
    made["paused until"] = await office.create(every=60)
    until = office.log.now() + timedelta(hours=1)
    pause = PauseJob(by="ann", until=until, catch_up="all", switch="tag:a")
    await office.decider.decide(f"job:{made['paused until']}", pause, TESTER)
    made["catching up"] = await _catching_up(office)
    gone = await office.create()
    await office.decider.decide(f"job:{gone}", DeleteJob(by="ann"), TESTER)
    over = await office.create(once=office.log.now())
    await office.decider.decide(f"job:{over}", Wake(), TESTER)
    made["following"] = await office.create(name="following")
    made["followed"] = await office.trigger(made["following"])
    made["deleted"] = await office.create(name="deleted, its run goes on")
    made["outliving"] = await office.trigger(made["deleted"])
    await office.start(made["outliving"])
    await office.decider.decide(f"job:{made['deleted']}", DeleteJob(by="ann"), TESTER)
    made["queued"] = await office.trigger(loose)
    made["urgent"] = await urgent(office, loose)
    made["running"] = await office.trigger(loose)
    await office.start(made["running"])
    made["retrying"] = await office.trigger(loose)
    await office.fail(made["retrying"], await office.start(made["retrying"]))
    made["interrupted"] = await office.trigger(loose)
    fence = await office.start(made["interrupted"])
    await office.decider.decide(f"run:{made['interrupted']}", InterruptRun(fence=fence), TESTER)
    made["lost"] = await office.trigger(loose)
    await office.start(made["lost"])
    await lose(office, made["lost"])
    made["again"] = await office.trigger(loose)
    await office.fail(made["again"], await office.start(made["again"]))
    made["again_fence"] = await started_again(office, made["again"])
    made["cancelling"] = await office.trigger(loose)
    await office.start(made["cancelling"])
    cancel = CancelRun(by="ann", reason="enough")
    await office.decider.decide(f"run:{made['cancelling']}", cancel, TESTER)
    made["held"] = await office.trigger(
        await office.create(concurrency_key="the crane", start_deadline_seconds=3600)
    )
    hold = HoldRun(reason="concurrency", key="the crane", until=office.log.now() + timedelta(minutes=1))
    entry = await entry_of(office, made["held"])
    await office.decider.decide(f"run:{made['held']}", hold, TESTER, done=entry)
    made["deadline"] = await office.trigger(await office.create(start_deadline_seconds=3600))
    cancelled = await office.trigger(loose)
    await office.decider.decide(f"run:{cancelled}", cancel, TESTER, done=await entry_of(office, cancelled))
    await office.run(loose)
    await office.run(made["interval"])
    await all_of(office.projector())
    return made


async def entry_of(office, run_id):
    """The entry of a queued run of priority 5."""
    return Done("default", 5, (await office.log.load(f"run:{run_id}"))[f"run:{run_id}"].version)


async def _catching_up(office):
    """A job that has more to catch up after a pause than goes into the units so far."""
    now = office.log.now
    job_id = await office.create(every=1, overlap_policy="allow")
    await office.decider.decide(f"job:{job_id}", PauseJob(by="ann"), TESTER)
    office.log.now = lambda *given: now(*given) + timedelta(hours=2)
    await office.decider.decide(f"job:{job_id}", ResumeJob(by="ann", catch_up="all"), TESTER)
    office.log.now = now
    return job_id


async def urgent(office, job_id):
    run_id = a_job_id(0, office.log.now())
    command = TriggerJob(run_id=run_id, correlation_id="c", priority=9)
    await office.decider.decide(f"job:{job_id}", command, TESTER)
    return run_id


async def lose(office, run_id):
    """Let a lease run out, and have the timer notice."""
    await office.redis.zadd(office.keys(0).due, {f"run:{run_id}": 5})
    await office.decider.decide(f"run:{run_id}", Wake(), TESTER, woken="5")


async def started_again(office, run_id):
    """Wait for a retry's time, and start it."""
    state = (await office.log.load(f"run:{run_id}"))[f"run:{run_id}"].state
    await wait_until(lambda: office.log.now() > state.wake_at, "its back-off has passed")
    await office.log.sync()
    await office.decider.decide(f"run:{run_id}", Wake(), TESTER)
    return await office.start(run_id)


async def wipe(office, partition=0):
    """What a FLUSHALL would leave of a partition, on a server that others use too."""
    async for name in office.redis.scan_iter(match=f"{office.keys(partition).base}:*", count=1000):
        await office.redis.delete(name)


async def rewrite(office, change):
    """Put the log's entries back as `change(list of (id, fields))` returns them, and close it."""
    name = office.keys(0).log
    entries = change(await office.redis.xrange(name))
    await office.redis.delete(name)
    for entry_id, fields in entries:
        await office.redis.xadd(name, fields, id=entry_id)
    await office.redis.hset(office.keys(0).meta, "incarnation", "another")


def forged(entries, first, *, epoch=None):
    """The entries, from number `first` (0…) on with other ids, and of another epoch if one is given."""
    others = []
    for number, (entry_id, fields) in enumerate(entries[first:], first):
        at = f"{epoch}-{number + 1}".encode() if epoch else entry_id
        others.append((at, fields | {b"id": b"forged-%d" % number}))
    return [*entries[:first], *others]
