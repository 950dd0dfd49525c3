"""What recovery drills share: a history with every kind of aggregate in every state, pictures of it, and going on."""

from datetime import timedelta

import asyncpg
from msgspec.structs import replace

from services.projector.audit import verify
from shared.domain.commands import (
    CreateJob,
    DeleteJob,
    FailRun,
    HoldRun,
    PauseJob,
    RetryRun,
    SucceedRun,
)
from shared.domain.exclude import Span
from shared.domain.schedule import Schedule
from shared.eventlog.once import of_retry
from shared.readmodel import archive, database
from shared.testing import TESTER, a_job_id, a_spec, wait_until
from tests import pictures
from tests.integration.archive_kit import Office, all_of
from tests.integration.audit_kit import NO_RETRY, at_work, carry_out, write
from tests.integration.cold_kit import daybook
from tests.integration.test_backfills import Filled

KINDS = {"job", "run", "backfill", "relay", "apikey", "calendar"}


async def every_kind(office):
    """Write the history, and archive it; returns ids by what."""
    await archive.record_deployment(office.pool, partitions=office.partitions, prefix=office.bench.prefix)
    told = await write(office)
    vars(office.log).pop("now")  # time goes by itself from here on
    await office.log.sync()
    told["windowed"] = await _a_job_with_windows(office)
    told["paused until"] = await office.create(every=3600)
    until = office.log.now() + timedelta(hours=1)
    pause = PauseJob(by="ann", until=until, catch_up="all", switch="tag:a")
    await office.decider.decide(f"job:{told['paused until']}", pause, TESTER)
    told["backfill"] = await _a_backfill(office)
    told["again"] = await _a_dead_letter_run_again(office)
    told["permitted"] = await _runs_of_a_limit(office)
    await _what_services_leave(office, told["permitted"])
    await archived(office)
    return told


async def _a_job_with_windows(office):
    """From then to then, so many times, not on some days."""
    now = office.log.now()
    day = Span(from_=now.date() + timedelta(days=3), to=now.date() + timedelta(days=5))
    schedule = Schedule(
        cron_expression="0 3 * * *", timezone="Europe/Berlin", start_at=now + timedelta(days=1),
        end_at=now + timedelta(days=90), max_runs=20, jitter_seconds=30, exclude=(day,),
    )  # fmt: skip
    job_id = a_job_id(0, now)
    spec = replace(a_spec(name="windowed"), schedule=schedule)
    command = CreateJob(job_id=job_id, spec=spec, owner="ann", tenant="t")
    await office.decider.decide(f"job:{job_id}", command, TESTER)
    return job_id


async def _a_backfill(office):
    """Under way: two of its runs wait in a work stream, the next is asked for when one has ended."""
    filling = await Filled(office, await office.create(overlap_policy="allow"), 6, 2).request()
    await filling.wake()
    (first, *_) = (await filling.state()).unfinished
    await filling.run(first)
    return filling.id


async def _a_dead_letter_run_again(office):
    """A run that has failed for good, and the one that repeats it; the answer to its request stands."""
    job_id = await office.create(overlap_policy="allow", retry=NO_RETRY)
    failed = await office.trigger(job_id)
    await carry_out(office, failed, FailRun)
    held = (await office.log.load(f"run:{failed}"))[f"run:{failed}"].state
    assert held.status == "failed"
    retry = RetryRun(
        run_id=a_job_id(0, office.log.now()), correlation_id="c", of=failed, scheduled_for=held.scheduled_for,
        revision=1, spec=held.spec,
    )  # fmt: skip
    once = (of_retry(failed, answer=retry.run_id),)
    await office.decider.decide(f"job:{job_id}", retry, TESTER, once=once)
    return retry.run_id


async def more_happens(office):
    """Jobs come, go and are paused, runs begin and end; all is archived."""
    job_id = await office.create(every=60, overlap_policy="allow")
    for end in (SucceedRun, SucceedRun, FailRun):
        await carry_out(office, await office.trigger(job_id), end)
    await office.start(await office.trigger(job_id))
    await office.trigger(job_id)
    await office.decider.decide(f"job:{job_id}", PauseJob(by="ann", reason="rest"), TESTER)
    gone = await office.create(every=60)
    await office.decider.decide(f"job:{gone}", DeleteJob(by="ann"), TESTER)
    await office.create(1)
    await archived(office)


async def _runs_of_a_limit(office):
    """One at work with a permit, one that waits for it."""
    working = await office.trigger(await office.create(concurrency_key="the crane"))
    waiting = await office.trigger(await office.create(concurrency_key="the crane"))
    mine = (await office.log.load(f"run:{working}"))[f"run:{working}"]
    of = mine.state.spec.concurrency
    await office.decider.permits.take(mine.state, of, mine.version)
    await office.start(working)
    hold = HoldRun(reason="concurrency", key=of.key, until=office.log.now() + timedelta(minutes=10))
    after = (await office.decider.decide(f"run:{waiting}", hold, TESTER)).after.state
    await office.decider.permits.wait(after, of)
    return working


async def _what_services_leave(office, working):
    """Beside the facts: what of no service in this process would leave here."""
    redis, keys = office.redis, office.keys(0)
    for name in (keys.limiter("requests", "x"), keys.used("x"), keys.applying("x"), keys.applied("x")):
        await redis.set(name, "1", ex=3600)
    await redis.hset(keys.asked(1), "ann", 1)
    await redis.expire(keys.asked(1), 3600)
    await redis.hset(keys.tzdata, "tables", "2026.6")
    await redis.set(keys.told("x", "answer"), "{}", ex=3600)
    await redis.xgroup_create(keys.work("many", 7), "executors", id="0")
    await redis.set(keys.lease("timer"), "one", ex=3600)
    await redis.hset(keys.aggregate(f"run:{working}"), "progress", '{"ratio": 0.5}')


async def archived(office):
    """Let the archive have all that the log has."""
    for partition in range(office.partitions):
        await all_of(office.projector(), partition)


async def picture(office):
    return await pictures.taken(
        office.pool, office.redis, prefix=office.bench.prefix, partitions=office.partitions
    )


async def open_all(office):
    """Compare both logs with the archive, and open them; what was found, by partition."""
    return [await office.open(partition) for partition in range(office.partitions)]


async def goes_on(office, told):
    """Jobs fire, runs end, what waits is started; then all books tell one story."""
    queued = told["again"]
    await office.log.sync()
    async with at_work(office):
        await wait_until(lambda: _has_ended(office, queued), "a run of before has ended", timeout_s=20)
        await wait_until(lambda: _fired(office), "jobs fire, and their runs end", timeout_s=20)
    await archived(office)
    report = await verify(office.pool, office.redis)
    assert {line.name: line.first for line in report.lines if line.violations} == {}


async def _has_ended(office, run_id):
    return await office.pool.fetchval("select finished_at is not null from ledger.runs where id = $1", run_id)


async def _fired(office):
    """Whether a schedule has fired since the last opening, and the run has succeeded."""
    return await office.pool.fetchval(
        "select exists (select from ledger.runs r join book.checkpoints c using (partition)"
        " where r.trigger = 'schedule' and r.status = 'succeeded' and r.epoch = c.fence)"
    )


# Databases of before.


async def remembered(office):
    """Keep a copy of the database as it is now, for `set_back`; its name."""
    return await _copied(office, f"{await office.pool.fetchval('select current_database()')}_kept")


async def set_back(office, kept):
    """Have the office work over the copy: a database that was restored from an old backup."""
    server, _, name = office.database_url.rpartition("/")
    await _leave(office)
    await _as_admin(server, f"drop database {name} with (force)", f"create database {name} template {kept}")
    office.pool = await database.connect_pool(office.database_url)


async def emptied(office):
    """Have the office work over a database that has tables and nothing in them."""
    server, _, name = office.database_url.rpartition("/")
    await _leave(office)
    await _as_admin(server, f"drop database {name} with (force)", f"create database {name}")
    await database.migrate(office.database_url)
    office.pool = await database.connect_pool(office.database_url)


async def imported(office, cold):
    """Import a cold copy, nobody being at work meanwhile."""
    await _leave(office)
    await daybook("archive", "import", cold, DAYBOOK_DATABASE_URL=office.database_url)
    office.pool = await database.connect_pool(office.database_url)


async def moved_to(office, url):
    """The same office over another Redis."""
    made = Office(office.pool, url, office.database_url)
    made.bench.prefix = office.bench.prefix
    await made.log.close()
    made.log = made.bench.log = made.decider._log = made.bench.another_log("elsewhere")
    made.log._reopen = made.log._writer._reopen = made.open
    made.log._writer._settled = made.settled
    return made


async def _copied(office, copy):
    server, _, name = office.database_url.rpartition("/")
    await _leave(office)
    await _as_admin(server, f"create database {copy} template {name}")
    office.pool = await database.connect_pool(office.database_url)
    return copy


async def _leave(office):
    for projector in office.projectors:
        await projector.close()
    office.projectors.clear()
    await office.pool.close()


async def _as_admin(server, *statements):
    connection = await asyncpg.connect(f"{server}/postgres")
    try:
        for each in statements:
            await connection.execute(each)
    finally:
        await connection.close()
