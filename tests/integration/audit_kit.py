"""A little book with some of everything, copies of it to tamper with, and the means to do so consistently."""

import asyncio
import contextlib
import itertools
import json
import secrets
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from msgspec.structs import replace

from services.projector.audit import verify
from services.projector.batch import ARCHIVED
from services.projector.run_rows import RunRow
from shared.domain import apikey, calendar, ids, kinds, run
from shared.domain.commands import (
    CalendarContent,
    CancelRun,
    ChangeCalendar,
    DeleteCalendar,
    DeleteJob,
    EraseJob,
    FailRun,
    FollowRun,
    HoldRun,
    InterruptRun,
    IssueApiKey,
    Output,
    PauseJob,
    ReplanJob,
    ResumeJob,
    RetryRun,
    RevokeApiKey,
    SkipOccurrence,
    StartRun,
    SucceedRun,
    TellRelay,
    TriggerJob,
    UnskipOccurrence,
    UpdateJob,
    Wake,
)
from shared.domain.events import ChainLink, Failure
from shared.domain.exclude import Span
from shared.domain.refusals import Refused
from shared.domain.retry import RetryPolicy
from shared.domain.spec import Chain
from shared.domain.zones import zone_named
from shared.eventlog import snapshot
from shared.eventlog.envelope import Context, from_entry
from shared.eventlog.keys import Keys
from shared.eventlog.once import of_follower, of_retry
from shared.eventlog.position import Position
from shared.loop import Stop
from shared.personal.keys import PersonalKeys
from shared.readmodel import archive
from shared.readmodel.chain import GENESIS, link
from shared.recovery import recorded
from shared.testing import TESTER, a_job_id, a_spec
from tests.integration.archive_kit import all_of, an_office
from tests.integration.trace_kit import a_timer
from tests.zone_tables import tables

QUICK = RetryPolicy(max_retries=2, initial_seconds=1.0, jitter=0.0)
NO_RETRY = RetryPolicy(max_retries=0)
TABLES = (
    "book.events", "book.checkpoints", "book.snapshots", "book.projection_errors", "book.personal_keys",
    "ledger.jobs", "ledger.runs", "ledger.run_hourly", "ledger.calendars",
)  # fmt: skip


class Author:
    """Writes the book: time passes when it says so, twenty minutes behind Redis's."""

    def __init__(self, office):
        self.office = office
        self.time = office.log.now() - timedelta(minutes=20)
        office.log.now = lambda _=None: self.time

    def passes(self, seconds):
        self.time += timedelta(seconds=seconds)

    async def does(self, ref, command, context=TESTER, **options):
        return await self.office.decider.decide(ref, command, context, **options)

    async def create(self, partition=0, **spec):
        return await self.office.create(partition, **spec)

    async def wakes(self, ref):
        """Wake a job or run, and return the ids of the runs that it starts."""
        decided = await self.does(ref, Wake(), Context(actor="timer"))
        return [each.subject[4:] for each in decided.changes if type(each.event).__name__ == "RunRequested"]

    async def triggers(self, job_id, partition=0):
        run_id = a_job_id(partition, self.time)
        await self.does(f"job:{job_id}", TriggerJob(run_id=run_id, correlation_id="c"))
        return run_id

    async def starts(self, run_id):
        return await self.does(f"run:{run_id}", StartRun(worker="w"), Context(actor="executor"))

    async def reports(self, run_id, started, command, **fields):
        """Report as executors do: the cause is the start that is answered."""
        context = Context(actor="executor", cause=started.event_ids[-1])
        return await self.does(f"run:{run_id}", command(fence=started.after.fence, **fields), context)

    async def runs(self, run_id, result=None):
        await self.reports(run_id, await self.starts(run_id), SucceedRun, result=result)

    async def fails(self, run_id):
        error = Failure(class_="ValueError", message="ouch")
        await self.reports(
            run_id, await self.starts(run_id), FailRun, error=error, names=("ValueError",), draw=0.5
        )


async def write(office):
    """The story; returns what of it tests speak of by name."""
    author, told = Author(office), {}
    told["regular"] = await _a_regular_job(author)
    told["once"] = await _a_job_that_completes(author)
    told |= await _runs_in_all_states(author)
    told["deleted"] = await _a_job_deleted_while_running(author)
    told["erased"] = await _a_job_that_is_erased(author, beside=told["regular"])
    told["late"] = await _a_job_that_was_late(author)
    told |= await _runs_that_wait(author)
    told["skipped"] = await _a_job_skipped_by_hand(author)
    told["key"], told["revoked"] = await _keys(author)
    told["moved"] = await _a_job_planned_anew(author)
    told["calendar"], told["calendar_gone"] = await _calendars(author)
    told["handed_on"], told["to_hand_on"] = await _chains(author)
    await _reopen(office)
    told["paused"] = await author.create(every=60)
    await author.does(f"job:{told['paused']}", PauseJob(by="ann"))
    other = await author.create(1, overlap_policy="allow")
    await author.runs(await author.triggers(other, 1))
    for partition in range(office.partitions):
        await all_of(office.projector(f"p{partition}"), partition)
    told["unarchived"] = await author.triggers(other, 1)
    told["latest"] = await author.triggers(told["many"])
    await author.starts(told["latest"])
    return told


async def _a_regular_job(author):
    """Fires, overlaps, fails, is lost and interrupted; is paused, goes on, is changed."""
    job_id = await author.create(every=60, retry=QUICK)
    ref = f"job:{job_id}"
    author.passes(61)
    (first,) = await author.wakes(ref)
    await author.runs(first, {"far": 1e23, "near": [0.1, 1, None], "text": "ü"})
    author.passes(60)
    (second,) = await author.wakes(ref)
    author.passes(60)
    assert await author.wakes(ref) == []
    await author.fails(second)
    author.passes(2)
    await author.wakes(f"run:{second}")
    await author.starts(second)
    author.passes(20)
    await author.wakes(f"run:{second}")
    await author.reports(second, await author.starts(second), InterruptRun)
    started = await author.starts(second)
    await author.reports(second, started, SucceedRun, output=Output(text="heard", dropped=3))
    await author.does(ref, PauseJob(by="ann", reason="lunch"))
    author.passes(120)
    await author.does(ref, ResumeJob(by="ann"))
    author.passes(60)
    (waiting,) = await author.wakes(ref)
    spec = a_spec(every=60, retry=QUICK)
    await author.does(ref, UpdateJob(spec=replace(spec, description="changed")))
    await author.does(
        ref, UpdateJob(spec=replace(spec, schedule=replace(spec.schedule, interval_seconds=90)))
    )
    assert waiting
    return job_id


async def _a_job_that_completes(author):
    """Runs once, fails for good, is retried by hand, given an occurrence just gone by, and one to come."""
    soon = author.time + timedelta(seconds=5)
    job_id = await author.create(once=soon, retry=NO_RETRY, overlap_policy="allow")
    author.passes(6)
    (failed,) = await author.wakes(f"job:{job_id}")
    await author.fails(failed)
    spec = (await author.office.log.load(f"run:{failed}"))[f"run:{failed}"].state.spec
    again = RetryRun(
        run_id=a_job_id(0, author.time),
        correlation_id="c",
        of=failed,
        scheduled_for=soon,
        revision=1,
        spec=spec,
    )
    await author.does(f"job:{job_id}", again, once=(of_retry(failed, answer=again.run_id),))
    await author.runs(again.run_id)
    just_gone_by = a_spec(once=soon + timedelta(seconds=0.5), retry=NO_RETRY, overlap_policy="allow")
    await author.does(f"job:{job_id}", UpdateJob(spec=just_gone_by))
    (earlier,) = await author.wakes(f"job:{job_id}")
    await author.runs(earlier)
    later = a_spec(once=author.time + timedelta(days=1), retry=NO_RETRY, overlap_policy="allow")
    await author.does(f"job:{job_id}", UpdateJob(spec=later))
    return job_id


async def _runs_in_all_states(author):
    """A job whose runs stand in every state there is."""
    job_id = await author.create(
        overlap_policy="allow", retry=QUICK, start_deadline_seconds=30, max_lost=1, queue="many", priority=7
    )
    told = {"many": job_id}
    for name in ("cancelled", "stopped", "expired", "poison", "retrying", "running", "queued", "limited"):
        told[name] = await author.triggers(job_id)
        author.passes(0.1)
    hold = HoldRun(reason="concurrency", key="k", until=author.time + timedelta(seconds=20))
    await author.does(f"run:{told['limited']}", hold)
    await author.does(f"run:{told['cancelled']}", CancelRun(by="ann", reason="no need"))
    started = await author.starts(told["stopped"])
    await author.does(f"run:{told['stopped']}", CancelRun(by="ann"))
    await author.reports(told["stopped"], started, InterruptRun)
    await author.starts(told["poison"])
    await author.wakes(f"run:{told['poison']}")
    await author.fails(told["retrying"])
    await author.starts(told["running"])
    author.passes(21)
    await author.wakes(f"run:{told['limited']}")
    await author.does(f"run:{told['limited']}", replace(hold, until=author.time + timedelta(days=1)))
    author.passes(10)
    await author.wakes(f"run:{told['expired']}")
    return told


async def _a_job_deleted_while_running(author):
    job_id = await author.create(every=60)
    author.passes(61)
    (run_id,) = await author.wakes(f"job:{job_id}")
    await author.starts(run_id)
    await author.does(f"job:{job_id}", DeleteJob(by="ann"))
    return job_id


async def _a_job_that_is_erased(author, *, beside):
    """Its key is made and destroyed; that of another stays."""
    office, job_id = author.office, await author.create(every=60)
    keys = PersonalKeys(office.redis, office.pool, prefix=office.bench.prefix)
    await keys.make([job_id, beside], tenant="t")
    await author.does(f"job:{job_id}", EraseJob(by="ann", reason="ticket 4711"))
    return job_id


async def _a_job_that_was_late(author):
    job_id = await author.create(every=30, overlap_policy="allow")
    author.passes(125)
    for run_id in await author.wakes(f"job:{job_id}"):
        await author.runs(run_id)
    return job_id


async def _runs_that_wait(author):
    """A run at work that has waited, one that waits for its end, and one that was replaced before it started."""
    job_id = await author.create(overlap_policy="queue_all", start_deadline_seconds=86_400)
    first = await author.triggers(job_id)
    second = await author.triggers(job_id)
    await author.runs(first)
    await author.starts(second)
    told = {"released": second, "held": await author.triggers(job_id)}
    job_id = await author.create(overlap_policy="replace")
    return told | {"dropped": await author.triggers(job_id), "replacing": await author.triggers(job_id)}


async def _a_job_skipped_by_hand(author):
    """With jitter; one occurrence is skipped, the next one isn't after all, and a later one is to be."""
    job_id = await author.create(every=60, jitter_seconds=20)
    ref, first = f"job:{job_id}", author.time + timedelta(seconds=60)
    following = first + timedelta(seconds=60)
    for each in (first, following, first + timedelta(days=1)):
        await author.does(ref, SkipOccurrence(scheduled_for=each, by="ann", reason="the database moves"))
    await author.does(ref, UnskipOccurrence(scheduled_for=following, by="bob"))
    author.passes(81)
    assert await author.wakes(ref) == []
    author.passes(60)
    (run_id,) = await author.wakes(ref)
    await author.runs(run_id)
    return job_id


async def _chains(author):
    """Runs whose end another job follows on: of the first it was told, of the second not yet."""
    follower = await author.create(overlap_policy="allow")
    job_id = await author.create(overlap_policy="allow", chain=Chain(on_success=(follower,)))
    runs = [await author.triggers(job_id) for _ in range(2)]
    for run_id in runs:
        await author.runs(run_id)
    command = FollowRun(run_id=a_job_id(0, author.time), correlation_id="c", of=runs[0], depth=1)
    once = of_follower(runs[0], follower, answer=command.run_id)
    await author.does(f"job:{follower}", command, once=(once,))
    links = (ChainLink(job_id=follower, run_id=command.run_id),)
    await author.does(f"relay:{runs[0]}", TellRelay(links=links))
    return runs


async def _a_job_planned_anew(author):
    """Announced for an hour and a minute from then; Berlin puts its clocks forward, so that it is a minute."""
    at = (author.time + timedelta(minutes=61)).astimezone(zone_named("Europe/Berlin"))
    east_h = at.utcoffset() // timedelta(hours=1) + 1
    job_id = await author.create(cron=f"{at.minute} {at.hour} * * *", timezone="Europe/Berlin")
    ref = f"job:{job_id}"
    with tables({"Europe/Berlin": f"Etc/GMT-{east_h}"}):
        await author.does(ref, ReplanJob(tables="2026.7", before="2026.6"), Context(actor="timer"))
        author.passes(61)
        (run_id,) = await author.wakes(ref)
    await author.runs(run_id)
    return job_id


async def _calendars(author):
    """A calendar that was changed, by which a job skips, and one that was deleted: their ids."""
    names = (each for each in map(str, itertools.count()) if calendar.partition_of(f"t:{each}", 2) == 0)
    held, gone = itertools.islice(names, 2)
    today = Span(from_=author.time.date() - timedelta(days=1), to=author.time.date() + timedelta(days=1))
    content = CalendarContent(
        description="days off", dates=(today,), weekdays=("sat",), timezone="Asia/Tokyo"
    )
    for name in (held, gone):
        made = ChangeCalendar(name=name, tenant="t", by="ann", content=content)
        await author.does(f"calendar:t:{name}", made)
    await author.does(f"calendar:t:{gone}", DeleteCalendar(by="ann"))
    job_id = await author.create(every=60, exclude_calendars=(held,))
    author.passes(61)
    assert await author.wakes(f"job:{job_id}") == []
    content = replace(content, weekdays=(), timezone=None)
    changed = ChangeCalendar(name=held, tenant="t", by="ann", content=content)
    await author.does(f"calendar:t:{held}", changed)
    return f"t:{held}", f"t:{gone}"


async def _keys(author):
    """Two API keys, one of which was taken back: their hashes."""
    partitions = author.office.partitions
    digests = (apikey.digest(apikey.made_of(f"secret {n}")) for n in itertools.count())
    hashes = list(
        itertools.islice((each for each in digests if apikey.partition_of(each, partitions) == 0), 2)
    )
    for key in hashes:
        command = IssueApiKey(
            id=a_job_id(0, author.time), hash=key, prefix="dbk_", name="a key", role="viewer", tenant="acme",
            owner="ann", by="tester", expires_at=None,
        )  # fmt: skip
        await author.does(f"apikey:{key}", command)
    await author.does(f"apikey:{hashes[1]}", RevokeApiKey(by="ann"))
    return hashes


async def _reopen(office):
    """As if the server had been restarted."""
    await office.redis.hset(office.keys(0).meta, "incarnation", "another")
    await office.open(0)


# A book, and copies of it.


@asynccontextmanager
async def an_original(postgres, valkey):
    """The book: its office, and what is told of it. Its tables are kept in a schema of their own."""
    async with an_office(postgres, valkey) as office:
        await archive.record_deployment(office.pool, partitions=office.partitions, prefix=office.bench.prefix)
        told = await write(office)
        await office.pool.execute("create schema kept")
        for table in TABLES:
            await office.pool.execute(f"create table kept.{table.split('.')[1]} as table {table}")
        yield office, told


class Copy:
    """A book to tamper with; `told` names runs and jobs."""

    def __init__(self, office, prefix, told):
        self.office, self.prefix, self.told = office, prefix, told
        self.pool, self.redis = office.pool, office.redis
        self.keys = Keys(prefix, 0)

    async def sql(self, statement, *values):
        return await self.pool.execute(statement, *values)

    async def audit(self, partition=None):
        return await verify(self.pool, self.redis, partition=partition)

    async def wrong(self):
        """Names of the lines that don't hold, and their examples."""
        return {line.name: line.first for line in (await self.audit()).lines if line.violations}

    def ref(self, kind, name):
        return f"{kind}:{self.told[name]}"

    async def archived(self):
        """The archived events of partition 0."""
        return [
            recorded({name: row[name] for name in ARCHIVED if name != "chain"})
            for row in await self.pool.fetch("select * from book.events where partition = 0 order by pos, at")
        ]

    async def find(self, kind, *, last=False, **data):
        """The first (last) event of a type in the archive whose data says so."""
        found = [each for each in await self.archived() if each.type == kind and says(each, **data)]
        return found[-1 if last else 0]

    async def relink(self):
        """Make the hash chain anew, as if the archive had been written like this."""
        chain, rows = GENESIS, []
        for event in await self.archived():
            chain = link(chain, fields(event))
            rows.append((chain, event.position.pos, ids.from_ms(event.at)))
            last = event
        await self.pool.executemany(
            "update book.events set chain = $1 where partition = 0 and pos = $2 and at = $3", rows
        )
        await self.sql("update book.checkpoints set chain = $1, id = $2 where partition = 0", chain, last.id)

    async def in_log(self, event, **changes):
        """Change an entry of the log, or drop it if there are no changes."""
        entries = await self.redis.xrange(self.keys.log)
        async with self.redis.pipeline() as pipe:
            pipe.delete(self.keys.log)
            for entry_id, pairs in entries:
                is_meant = entry_id.decode() == str(event.position)
                if not is_meant or changes:
                    fresh = {name.encode(): value for name, value in changes.items()} if is_meant else {}
                    pipe.xadd(self.keys.log, pairs | fresh, id=entry_id)
            await pipe.execute()

    async def rewrites(self, event, **changes):
        """Change an event in archive and log alike."""
        for name, value in changes.items():
            statement = f"update book.events set {name} = $1 where partition = 0 and pos = $2"  # noqa: S608
            await self.sql(statement, value, event.position.pos)
        await self.relink()
        await self.in_log(event, **changes)

    async def retells(self, edit):
        """Write partition 0 again from its edited events: log, archive, ledgers and write side tell the new story."""
        rows = await self.redis.xrange(self.keys.log)
        events = numbered(edit([from_entry(0, *row) for row in rows]))
        await self._burn()
        async with self.redis.pipeline() as pipe:  # one write to the disk
            for event in events:
                pairs = dict(zip(FIELDS, map(str, fields(event)[3:]), strict=True))
                pipe.xadd(self.keys.log, pairs, id=str(event.position))
            self._fold(pipe, events)
            pipe.hset(self.keys.meta, "pos", events[-1].position.pos)
            await pipe.execute()
        async with self.in_office() as office:
            await all_of(office.projector("again"))

    @asynccontextmanager
    async def in_office(self):
        """The office at work on this copy."""
        office = self.office
        prefix, log = office.bench.prefix, office.decider._log
        office.bench.prefix, office.keys = self.prefix, partial(Keys, self.prefix)
        office.decider._log = office.bench.another_log(f"copy {secrets.token_hex(4)}")
        await office.decider._log.sync()
        try:
            yield office
        finally:
            await office.decider._log.close()
            office.bench.prefix, office.decider._log = prefix, log
            del office.keys

    async def goes_on(self):
        """Some more happens in partition 0, and is archived; return a run that was begun, and its start."""
        async with self.in_office() as office:
            job_id = await office.create(overlap_policy="allow")
            for end in (SucceedRun, FailRun, CancelRun):
                await carry_out(office, await office.trigger(job_id), end)
            run_id = await office.trigger(job_id)
            started = await office.decider.decide(
                f"run:{run_id}", StartRun(worker="w"), Context(actor="executor")
            )
            await all_of(office.projector("more"))
        return run_id, started

    async def ends(self, run_id, started):
        """The run succeeds."""
        context = Context(actor="executor", cause=started.event_ids[-1])
        async with self.in_office() as office:
            await office.decider.decide(f"run:{run_id}", SucceedRun(fence=started.after.fence), context)

    async def _burn(self):
        await self.sql("delete from book.events where partition = 0")
        for table in ("book.snapshots", "ledger.jobs", "ledger.runs", "ledger.run_hourly"):
            await self.sql(f"delete from {table} where partition = 0")  # noqa: S608
        await self.sql(
            "update book.checkpoints set epoch = 0, pos = 0, id = '', at = null, chain = $1 where partition = 0",
            GENESIS,
        )
        names = [name async for name in self.redis.scan_iter(match=f"{self.keys.base}:*", count=1000)]
        await self.redis.delete(*(name for name in names if name.decode() != self.keys.meta))

    def _fold(self, pipe, events):
        states, versions, fences = {}, {}, {}
        for event in events:
            if event.subject == "log" or event.v == 99:
                continue
            change = event.change()
            for ref in change.advances:
                if event.type == "ApiKeyRevoked" and ref not in states:
                    continue
                states[ref] = kinds.of_ref(ref).evolve(states.get(ref), change)
                versions[ref] = str(event.position)
                if event.type == "RunStarted":
                    fences[change.subject] = str(event.position)
        for ref, state in states.items():
            self._put(pipe, ref, state, versions[ref], fences.get(ref))

    def _put(self, pipe, ref, state, version, fence):
        if isinstance(state, run.Run):
            if state.ended:
                return
            due = run.due_at(state, now=ids.time_of(state.id), lease=timedelta(seconds=15))
            if state.offered:
                pairs = {"run": state.id} | ({"job": state.job_id} if state.follows else {})
                pipe.xadd(self.keys.work(state.spec.queue, state.spec.priority), pairs, id=version)
        else:
            due = kinds.of_state(state).due_at(state)
        told = {"version": version, "state": snapshot.dump_apart(state), "spec": snapshot.dump_spec(state)}
        pipe.hset(self.keys.aggregate(ref), mapping=told | ({"fence": fence} if fence else {}))
        if due is not None:
            pipe.zadd(self.keys.due, {ref: ids.to_ms(due)})


@asynccontextmanager
async def a_copy(original, number):
    """A copy of the book under a prefix of its own; its tables are as they were written."""
    office, told = original
    copy = Copy(office, f"{office.bench.prefix}-{number}", told)
    await copy.sql(";".join(map(_restored, TABLES)))
    await copy.sql("update book.deployment set prefix = $1", copy.prefix)
    await _copy_keys(office.redis, office.bench.prefix, copy.prefix)
    yield copy
    await office.redis.delete(
        *[key async for key in office.redis.scan_iter(match=f"{copy.prefix}:*", count=1000)]
    )


async def _copy_keys(redis, prefix, to):
    keys = [key async for key in redis.scan_iter(match=f"{prefix}:*", count=1000)]
    async with redis.pipeline() as pipe:
        for key in keys:
            pipe.copy(key, to.encode() + key.removeprefix(prefix.encode()))
        await pipe.execute()


WRITTEN = {
    "book.events": ARCHIVED,
    "ledger.runs": RunRow.__struct_fields__,
}  # these have generated columns too


def _restored(table):
    columns = ", ".join(WRITTEN.get(table, ())) or "*"
    into = f"({columns})" if table in WRITTEN else ""
    kept = f"kept.{table.split('.')[1]}"
    return f"delete from {table}; insert into {table} {into} select {columns} from {kept}"  # noqa: S608


# A system at work.


@asynccontextmanager
async def at_work(office):
    """Timer and projector at work over an office, and clients and workers that don't rest, all by Redis's time."""
    vars(office.log).pop("now", None)  # an author's clock stands: the timer would be ahead of the clients
    stop, projector = Stop(), office.projector()
    projecting = asyncio.create_task(projector.run(stop))
    async with a_timer(office):
        hands = [asyncio.create_task(_client(office, stop, n)) for n in range(3)]
        hands += [
            asyncio.create_task(_worker(office, stop, partition)) for partition in range(office.partitions)
        ]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*hands)
            await asyncio.wait_for(projecting, 20)


async def _client(office, stop, number):
    """Jobs that fire each second, are triggered, changed, paused, resumed, and deleted or erased."""
    keys = PersonalKeys(office.redis, office.pool, prefix=office.bench.prefix)
    partition = number % office.partitions
    days = CalendarContent(description="", dates=(), weekdays=(), timezone=None)
    made = ChangeCalendar(name=f"days-{number}", tenant="t", by="ann", content=days)
    await office.decider.decide(f"calendar:t:days-{number}", made, TESTER)
    while not stop.is_set():
        job_id = await office.create(
            partition, every=1, retry=QUICK, overlap_policy="skip" if number else "allow"
        )
        await keys.make([job_id], tenant="t")
        ref = f"job:{job_id}"
        for command in (
            UpdateJob(spec=a_spec(every=2, retry=QUICK)),
            PauseJob(by="ann"),
            ResumeJob(by="ann"),
            TriggerJob(run_id=a_job_id(partition, office.log.now()), correlation_id="c"),
            TriggerJob(run_id=a_job_id(partition, office.log.now()), correlation_id="c"),
        ):
            with contextlib.suppress(Refused):
                await office.decider.decide(ref, command, TESTER)
            await asyncio.sleep(0.02)
        if number:
            end = DeleteJob(by="ann") if number == 1 else EraseJob(by="ann", reason="ticket 4711")
            await office.decider.decide(ref, end, TESTER)


async def _worker(office, stop, partition):
    """Starts what is queued and lets it succeed, fail, be interrupted or cancelled, in turn."""
    stream = office.keys(partition).work("default", 5)
    ends = itertools.cycle((SucceedRun, FailRun, InterruptRun, CancelRun))
    while not stop.is_set():
        for _, pairs in await office.redis.xrange(stream, count=20):
            with contextlib.suppress(Refused):
                await carry_out(office, pairs[b"run"].decode(), next(ends))
        await asyncio.sleep(0.01)


async def carry_out(office, run_id, end):
    ref = f"run:{run_id}"
    started = await office.decider.decide(ref, StartRun(worker="w"), Context(actor="executor"))
    more = {}
    if end is CancelRun:
        await office.decider.decide(ref, CancelRun(by="ann"), TESTER)
        end = InterruptRun
    if end is FailRun:
        more = {"error": Failure(class_="ValueError", message="ouch"), "names": ("ValueError",), "draw": 0.5}
    context = Context(actor="executor", cause=started.event_ids[-1])
    await office.decider.decide(ref, end(fence=started.after.fence, output=Output(text="."), **more), context)


# Events.

FIELDS = ("id", "type", "v", "subject", "job", "advances", "at", "actor", "cause", "corr", "trace", "data")


def fields(event):
    """What the chain goes over."""
    return (0, *event.position, *(getattr(event, name) for name in FIELDS))


def says(event, **data):
    told = json.loads(event.data)
    return all(told.get(name) == value for name, value in data.items())


def tells(event, **data):
    """The event with other data; None stays None."""
    return replace(
        event, data=json.dumps(json.loads(event.data) | data, separators=(",", ":"), ensure_ascii=False)
    )


def numbered(events):
    """The events at positions 1, 2, 3 …, each LogOpened naming the one before."""
    told, epoch = [], 0
    for pos, event in enumerate(events, 1):
        if event.type == "LogOpened":
            epoch = event.position.epoch
            if told:
                event = tells(event, previous=[*told[-1].position, told[-1].id])  # noqa: PLW2901
        told.append(replace(event, position=Position(epoch, pos)))
    return told
