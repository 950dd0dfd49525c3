"""Violations in what keeps the story: archive and log, Redis, and the ledgers in Postgres."""

import json

from tests.integration.audit_kit import tells

DAY_MS = 24 * 3600 * 1000

# The archive and the log.


async def an_event_is_missing(copy):
    output = await copy.find("RunOutput")
    await copy.sql("delete from book.events where partition = 0 and pos = $1", output.position.pos)
    await copy.relink()
    await copy.in_log(output)


async def a_log_was_opened_after_another_event(copy):
    opened = await copy.find("LogOpened", reason="restart")
    epoch, pos, _ = json.loads(opened.data)["previous"]
    await copy.rewrites(opened, data=tells(opened, previous=[epoch, pos, "another"]).data)


async def a_log_was_opened_for_another_epoch(copy):
    opened = await copy.find("LogOpened", reason="restart")
    await copy.rewrites(opened, data=tells(opened, epoch=opened.position.epoch + 1).data)


async def two_events_have_one_id(copy):
    created = await copy.find("JobCreated")
    await copy.rewrites(await copy.find("RunOutput"), id=created.id)


async def two_events_have_one_position(copy):
    output = await copy.find("RunOutput")
    await copy.sql(
        "insert into book.events (partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, "
        "trace, data, chain) select partition, epoch, pos, 'another', type, v, subject, job, advances, "
        "at - interval '1 ms', actor, cause, corr, trace, data, chain from book.events "
        "where partition = 0 and pos = $1",
        output.position.pos,
    )
    await copy.relink()


async def the_log_says_something_else(copy):
    await copy.in_log(await copy.find("RunOutput"), actor="somebody")


async def the_log_has_a_hole(copy):
    await copy.redis.xdel(copy.keys.log, str((await copy.find("RunOutput")).position))


async def the_log_is_behind(copy):
    await copy.redis.hset(copy.keys.meta, "pos", 3)


async def an_archived_event_was_rewritten(copy):
    output = await copy.find("RunOutput")
    await copy.sql(
        "update book.events set actor = 'somebody' where partition = 0 and pos = $1", output.position.pos
    )
    await copy.in_log(output, actor="somebody")


# Redis.


def _redis(command, key, *values):
    """One command on a key of partition 0; values and keys may be functions of the copy."""

    async def plant(copy):
        told = [value(copy) if callable(value) else value for value in values]
        await copy.redis.execute_command(command, key(copy), *told)

    plant.__name__ = f"{command} {key.__name__}"
    return plant


def _due(copy):
    return copy.keys.due


def hash_of(kind, name):
    def key(copy):
        return copy.keys.aggregate(copy.ref(kind, name))

    return key


def _ref(kind, name):
    return lambda copy: copy.ref(kind, name)


def _personal(copy):
    return copy.keys.personal


def _work(copy):
    return copy.keys.work("many", 7)


async def a_queued_run_is_in_no_work_stream(copy):
    (entry, _), *_ = await copy.redis.xrange(_work(copy))
    await copy.redis.xdel(_work(copy), entry)


async def a_queued_run_stands_in_another_work_stream_too(copy):
    (entry, pairs), *_ = await copy.redis.xrange(_work(copy))
    await copy.redis.xadd(copy.keys.work("many", 6), pairs, id=entry)


async def a_work_entry_names_a_job_that_follows_nothing(copy):
    entries = await copy.redis.xrange(_work(copy))
    await copy.redis.delete(_work(copy))
    for entry, pairs in entries:
        await copy.redis.xadd(_work(copy), pairs | {"job": copy.told["many"]}, id=entry)


async def a_retry_is_late_by_a_day(copy):
    await copy.redis.zincrby(copy.keys.due, DAY_MS, copy.ref("run", "retrying"))


async def a_snapshot_says_something_else(copy):
    key = hash_of("job", "regular")(copy)
    state = await copy.redis.hget(key, "state")
    await copy.redis.hset(key, "state", state.replace(b'"revision":3', b'"revision":4'))


async def a_snapshot_says_the_same_in_other_bytes(copy):
    key = hash_of("job", "regular")(copy)
    state = await copy.redis.hget(key, "state")
    await copy.redis.hset(key, "state", state.replace(b',"owner"', b', "owner"'))


# Postgres.


def _sql(statement):
    async def plant(copy):
        if "$1" in statement:
            name = statement.partition("/* ")[2].partition(" */")[0]
            await copy.sql(statement, copy.told[name])
        else:
            await copy.sql(statement)

    plant.__name__ = statement[:60]
    return plant


async def a_refused_row_is_still_missing(copy):
    job_id = copy.told["regular"]
    await copy.sql("delete from ledger.jobs where id = $1", job_id)
    await copy.sql(
        "insert into book.projection_errors values (0, 1, 1, 'jobs', $1, '22P05', 'ouch', now())", job_id
    )


async def a_revoked_key_opens_again(copy):
    name = copy.keys.aggregate(copy.ref("apikey", "revoked"))
    told = json.loads(await copy.redis.hget(name, "state"))
    del told["revoked"]
    await copy.redis.hset(name, "state", json.dumps(told, separators=(",", ":")))


STORES = [
    (_redis("ZREM", _due, _ref("run", "held")), {"standing"}),
    (_redis("ZREM", _due, _ref("run", "dropped")), {"standing"}),
    (an_event_is_missing, {"positions"}),
    (a_log_was_opened_after_another_event, {"positions"}),
    (a_log_was_opened_for_another_epoch, {"positions"}),
    (two_events_have_one_id, {"ids"}),
    (two_events_have_one_position, {"ids"}),
    (the_log_says_something_else, {"log"}),
    (the_log_has_a_hole, {"log"}),
    (the_log_is_behind, {"log"}),
    (an_archived_event_was_rewritten, {"chain"}),
    (_sql("update book.events set chain = sha256('') where partition = 0 and pos = 4"), {"chain"}),
    (_sql("update book.checkpoints set id = 'another' where partition = 0"), {"checkpoint"}),
    (_redis("ZREM", _due, _ref("job", "regular")), {"standing"}),
    (_redis("ZREM", _due, _ref("run", "retrying")), {"standing"}),
    (_redis("ZREM", _due, _ref("run", "running")), {"standing"}),
    (_redis("ZREM", _due, _ref("run", "latest")), {"standing"}),
    (a_queued_run_is_in_no_work_stream, {"standing"}),
    (_redis("ZADD", _due, 1, _ref("job", "deleted")), {"strays"}),
    (_redis("ZADD", _due, 1, _ref("run", "cancelled")), {"strays"}),
    (_redis("ZADD", _due, 1, "relay:nobody"), {"strays"}),
    (_redis("XADD", _work, "*", "run", lambda copy: copy.told["running"]), {"strays"}),
    (a_queued_run_stands_in_another_work_stream_too, {"strays"}),
    (a_work_entry_names_a_job_that_follows_nothing, {"strays"}),
    (_redis("ZADD", _due, 1, _ref("job", "once")), {"due_times"}),
    (a_retry_is_late_by_a_day, {"due_times"}),
    (_redis("HSET", hash_of("job", "regular"), "version", "1-1"), {"versions"}),
    (_redis("HSET", _personal, lambda copy: copy.told["erased"], "k" * 32), {"erasures"}),
    (
        _sql(
            "update book.personal_keys set key = sha256(''), erased_at = null where job = $1 /* erased */"
        ),
        {"erasures"},
    ),
    (
        _sql("update book.personal_keys set key = null, erased_at = now() where job = $1 /* regular */"),
        {"erasures"},
    ),
    (_redis("HSET", hash_of("apikey", "key"), "version", "1-1"), {"versions"}),
    (_redis("HSET", hash_of("run", "running"), "fence", "1-1"), {"fences"}),
    (a_snapshot_says_something_else, {"snapshots"}),
    (a_snapshot_says_the_same_in_other_bytes, {"snapshots"}),
    (_redis("HSET", hash_of("run", "queued"), "spec", "{}"), {"snapshots"}),
    (_redis("DEL", hash_of("job", "paused")), {"snapshots"}),
    (_redis("COPY", hash_of("job", "paused"), lambda copy: copy.keys.aggregate("job:nobody")), {"snapshots"}),
    (a_revoked_key_opens_again, {"snapshots"}),
    (_redis("DEL", hash_of("apikey", "key")), {"snapshots"}),
    (_redis("COPY", hash_of("apikey", "key"), lambda copy: copy.keys.aggregate("apikey:nobody")), {"snapshots"}),
    (_redis("ZADD", _due, 1, _ref("apikey", "key")), {"strays"}),
    (_redis("DEL", hash_of("calendar", "calendar_gone")), {"snapshots"}),
    (_redis("HSET", hash_of("calendar", "calendar"), "version", "1-1"), {"versions"}),
    (_sql("update book.snapshots set pos = pos - 1 where ref = 'job:' || $1 /* regular */"), {"book_snapshots"}),
    (_sql("delete from book.snapshots where ref = 'job:' || $1 /* regular */"), {"book_snapshots"}),
    (_sql("update ledger.jobs set revision = revision + 1 where id = $1 /* regular */"), {"jobs"}),
    (_sql("delete from ledger.jobs where id = $1 /* regular */"), {"jobs"}),
    (_sql("update ledger.runs set attempt = attempt + 1 where id = $1 /* expired */"), {"runs"}),
    (_sql("update ledger.runs set result = '{}' where result is not null"), {"runs"}),
    (_sql("delete from ledger.runs where id = $1 /* running */"), {"runs"}),
    (_sql("update ledger.runs set id = '00000000-0000-8000-8000-000000000000' where id = $1 /* stopped */"), {"runs"}),
    (
        _sql(
            "insert into ledger.runs (id, id_at, partition, job_id, job_name, job_type, status, trigger, revision, "
            "queue, priority, attempt, max_attempts, scheduled_for, fires_at, correlation_id, attempts, epoch, pos) "
            "select '00000000-0000-8000-8000-000000000000', id_at, partition, job_id, job_name, job_type, status, "
            "trigger, revision, queue, priority, attempt, max_attempts, scheduled_for, fires_at, correlation_id, "
            "attempts, epoch, pos from ledger.runs where id = $1 /* stopped */"
        ),
        {"runs"},
    ),
    (_sql("update ledger.run_hourly set started = started + 1 where partition = 0"), {"hours"}),
    (_sql("update ledger.calendars set revision = 9 where tenant || ':' || name = $1 /* calendar */"), {"calendars"}),
    (_sql("delete from ledger.calendars where deleted"), {"calendars"}),
    (a_refused_row_is_still_missing, {"refused"}),
    (
        _sql("insert into book.projection_errors values (0, 1, 1, 'event', 'nobody', '', 'ouch', now())"),
        {"refused"},
    ),
]  # fmt: skip
"""How each is planted in a copy, and the lines that see it."""
