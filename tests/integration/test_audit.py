"""`daybook audit verify`: a healthy book balances, at rest and at work; each violation is seen by its own line."""

import asyncio
import itertools
import json
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from services.projector.audit import Invariant
from shared.domain import ids
from shared.embedded import DataDir, Endpoints
from shared.testing import chance
from tests.integration.audit_kit import a_copy, an_original, says, tells

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("audit")]
DAY_MS = 24 * 3600 * 1000
_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def original(postgres, valkey):
    async with an_original(postgres, valkey) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def copy(original):
    async with a_copy(original, next(_numbers)) as made:
        yield made


async def test_a_healthy_book_balances_in_every_line(copy):
    report = await copy.audit()
    assert {line.name: line.first for line in report.lines if line.violations} == {}
    assert [line.name for line in report.lines if line.checked == 0] == ["refused"]
    assert sum(line.unchecked for line in report.lines) == 0


async def test_a_story_that_is_written_again_balances(copy):
    """What tests below edit is else as it must be."""
    await copy.retells(lambda events: events)
    assert await copy.wrong() == {}


# Violations, one a test: how it is planted, and the line that sees it. Stories are written again from edited events, so
# that all ledgers tell the same wrong story.


def _at(events, kind, *, nth=0, **data):
    """Index of the nth event of a type whose data says so."""
    return [n for n, event in enumerate(events) if event.type == kind and says(event, **data)][nth]


def _edited(kind, *, nth=0, where=None, **data):
    """A story in which one event has other data; a function makes the new value from the old one."""

    async def plant(copy):
        def edit(events):
            at = _at(events, kind, nth=nth, **(where or {}))
            told = json.loads(events[at].data)
            fresh = {name: value(told[name]) if callable(value) else value for name, value in data.items()}
            events[at] = tells(events[at], **fresh)
            return events

        await copy.retells(edit)

    return plant


def _later(**delta):
    return lambda text: (datetime.fromisoformat(text) + timedelta(**delta)).isoformat().replace("+00:00", "Z")


def _fired(events):
    """The first two firings of the job that has several."""
    return _at(events, "RunRequested", trigger="schedule"), _at(
        events, "RunRequested", trigger="schedule", nth=1
    )


async def an_occurrence_is_skipped_in_silence(copy):
    def edit(events):
        del events[_at(events, "OccurrencesSkipped", reason="overlap")]
        return events

    await copy.retells(edit)


async def an_occurrence_is_swallowed_by_a_change(copy):
    def edit(events):
        skipped = _at(events, "OccurrencesSkipped", reason="paused")
        following = json.loads(events[skipped].data)["next_for"]
        resumed = _at(events, "JobResumed")
        events[resumed] = tells(events[resumed], resumed_at=_later(seconds=1)(following))
        return events

    await copy.retells(edit)


async def an_occurrence_is_decided_out_of_order(copy):
    def edit(events):
        one, two = _fired(events)
        earlier = _later(seconds=-1)(json.loads(events[one].data)["scheduled_for"])
        events[one] = tells(events[one], next_for=earlier)
        events[two] = tells(events[two], scheduled_for=earlier)
        return events

    await copy.retells(edit)


async def a_paused_job_fires(copy):
    def edit(events):
        at, _ = _fired(events)
        when = _later(seconds=-1)(json.loads(events[at].data)["scheduled_for"])
        paused, resumed = events[_at(events, "JobPaused")], events[_at(events, "JobResumed")]
        subject = f"job/{events[at].job}"
        before = _copied(tells(paused, paused_at=when), subject=subject)
        after = _copied(tells(resumed, resumed_at=when), subject=subject)
        return [*events[:at], before, events[at], after, *events[at + 1 :]]

    await copy.retells(edit)


async def a_deleted_job_skips(copy):
    def edit(events):
        deleted = events[_at(events, "JobDeleted")]
        at = _at(events, "OccurrencesSkipped", reason="misfire")
        when = _later(seconds=-1)(json.loads(events[at].data)["from"])
        return [
            *events[:at],
            _copied(tells(deleted, deleted_at=when), subject=events[at].subject),
            *events[at:],
        ]

    await copy.retells(edit)


async def a_run_starts_beside_another(copy):
    def edit(events):
        _, second = _fired(events)
        ended = _at(events, "RunSucceeded")
        assert ended < second
        return [*events[:ended], *events[ended + 1 : second + 1], events[ended], *events[second + 1 :]]

    await copy.retells(edit)


async def a_run_ends_twice(copy):
    def edit(events):
        at = _at(events, "RunSucceeded")
        return [*events[: at + 1], _copied(events[at]), *events[at + 1 :]]

    await copy.retells(edit)


async def a_run_goes_on_after_its_end(copy):
    def edit(events):
        at = _at(events, "RunCancelled")
        output = replace(
            _copied(events[_at(events, "RunOutput")]), subject=events[at].subject, job=events[at].job
        )
        return [*events[: at + 1], output, *events[at + 1 :]]

    await copy.retells(edit)


async def an_attempt_is_left_out(copy):
    def edit(events):
        ends = _at(events, "RunOutput") + 1
        attempt = json.loads(events[ends].data)["attempt"]
        for at, event in enumerate(events):
            if (
                event.subject == events[ends].subject
                and event.type != "RunLost"
                and says(event, attempt=attempt)
            ):
                events[at] = tells(event, attempt=attempt + 1)
        return events

    await copy.retells(edit)


async def a_result_answers_an_older_start(copy):
    def edit(events):
        at = _at(events, "RunOutput") + 1
        older = next(e for e in events if e.type == "RunStarted" and e.subject == events[at].subject)
        events[at] = replace(events[at], cause=older.id)
        return events

    await copy.retells(edit)


async def a_run_starts_again_without_a_reason(copy):
    def edit(events):
        del events[_at(events, "RunInterrupted")]
        return events

    await copy.retells(edit)


def _copied(event, **changes):
    return replace(event, id=ids.event_id(event.at, chance()), **changes)


async def a_newer_event_stands_there(copy):
    def edit(events):
        at = _at(events, "RunOutput")
        events[at] = replace(events[at], v=99)
        return events

    await copy.retells(edit)


# … in the archive and the log.


async def an_event_is_missing(copy):
    output = await copy.find("RunOutput")
    await copy.sql("delete from book.events where partition = 0 and pos = $1", output.position.pos)
    await copy.relink()
    await copy.in_log(output)


async def a_log_was_opened_after_another_event(copy):
    opened = await copy.find("LogOpened", reason="restart")
    epoch, pos, _ = json.loads(opened.data)["previous"]
    await copy.rewrites(opened, data=tells(opened, previous=[epoch, pos, "another"]).data)


async def two_events_have_one_id(copy):
    created = await copy.find("JobCreated")
    await copy.rewrites(await copy.find("RunOutput"), id=created.id)


async def two_events_have_one_position(copy):
    output = await copy.find("RunOutput")
    await copy.sql(
        "insert into book.events (partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, "
        "trace, data, chain) select partition, epoch, pos, 'another', type, v, subject, job, advances, "
        "at - interval '1 ms', actor, cause, corr, trace, data, chain from book.events where partition = 0 and pos = $1",
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


# … in Redis.


def _redis(command, key, *values):
    """One command on a key of partition 0; values and keys may be functions of the copy."""

    async def plant(copy):
        told = [value(copy) if callable(value) else value for value in values]
        await copy.redis.execute_command(command, key(copy), *told)

    return plant


def _due(copy):
    return copy.keys.due


def _hash(kind, name):
    return lambda copy: copy.keys.aggregate(copy.ref(kind, name))


def _ref(kind, name):
    return lambda copy: copy.ref(kind, name)


def _work(copy):
    return copy.keys.work("many", 7)


async def a_queued_run_is_in_no_work_stream(copy):
    (entry, _), *_ = await copy.redis.xrange(_work(copy))
    await copy.redis.xdel(_work(copy), entry)


async def a_queued_run_stands_in_another_work_stream_too(copy):
    (entry, pairs), *_ = await copy.redis.xrange(_work(copy))
    await copy.redis.xadd(copy.keys.work("many", 6), pairs, id=entry)


async def a_retry_is_late_by_a_day(copy):
    await copy.redis.zincrby(copy.keys.due, DAY_MS, copy.ref("run", "retrying"))


async def a_snapshot_says_something_else(copy):
    key = _hash("job", "regular")(copy)
    state = await copy.redis.hget(key, "state")
    await copy.redis.hset(key, "state", state.replace(b'"revision":3', b'"revision":4'))


# … in Postgres.


def _sql(statement):
    async def plant(copy):
        if "$1" in statement:
            name = statement.partition("/* ")[2].partition(" */")[0]
            await copy.sql(statement, copy.told[name])
        else:
            await copy.sql(statement)

    return plant


async def a_refused_row_is_still_missing(copy):
    job_id = copy.told["regular"]
    await copy.sql("delete from ledger.jobs where id = $1", job_id)
    await copy.sql(
        "insert into book.projection_errors values (0, 1, 1, 'jobs', $1, '22P05', 'ouch', now())", job_id
    )


PLANTED = [
    (_edited("RunRequested", where={"trigger": "schedule"}, next_for=_later(seconds=1)), {"occurrences"}),
    (an_occurrence_is_skipped_in_silence, {"occurrences"}),
    (an_occurrence_is_swallowed_by_a_change, {"occurrences"}),
    (an_occurrence_is_decided_out_of_order, {"order"}),
    (a_paused_job_fires, {"firings"}),
    (a_deleted_job_skips, {"firings"}),
    (a_run_starts_beside_another, {"overlaps"}),
    (a_run_ends_twice, {"ends"}),
    (a_run_goes_on_after_its_end, {"ends"}),
    (an_attempt_is_left_out, {"attempts"}),
    (a_result_answers_an_older_start, {"results"}),
    (_edited("RunFailed", attempt=2), {"results"}),
    (a_run_starts_again_without_a_reason, {"restarts"}),
    (_edited("RunRetryPlanned", wake_at=_later(days=1)), {"retries"}),
    # The projector records what it can't read, and is still right to.
    (a_newer_event_stands_there, {"readable", "refused"}),
    (an_event_is_missing, {"positions"}),
    (a_log_was_opened_after_another_event, {"positions"}),
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
    (_redis("ZADD", _due, 1, _ref("job", "once")), {"due_times"}),
    (a_retry_is_late_by_a_day, {"due_times"}),
    (_redis("HSET", _hash("job", "regular"), "version", "1-1"), {"versions"}),
    (_redis("HSET", _hash("run", "running"), "fence", "1-1"), {"fences"}),
    (a_snapshot_says_something_else, {"snapshots"}),
    (_redis("HSET", _hash("run", "queued"), "spec", "{}"), {"snapshots"}),
    (_redis("DEL", _hash("job", "paused")), {"snapshots"}),
    (_redis("COPY", _hash("job", "paused"), lambda copy: copy.keys.aggregate(f"job:{ids.event_id(1, 1)}")), {"snapshots"}),
    (_sql("update book.snapshots set pos = pos - 1 where ref = 'job:' || $1 /* regular */"), {"book_snapshots"}),
    (_sql("delete from book.snapshots where ref = 'job:' || $1 /* regular */"), {"book_snapshots"}),
    (_sql("update ledger.jobs set revision = revision + 1 where id = $1 /* regular */"), {"jobs"}),
    (_sql("delete from ledger.jobs where id = $1 /* regular */"), {"jobs"}),
    (_sql("update ledger.runs set attempt = attempt + 1 where id = $1 /* expired */"), {"runs"}),
    (_sql("update ledger.runs set result = '{}' where result is not null"), {"runs"}),
    (_sql("delete from ledger.runs where id = $1 /* running */"), {"runs"}),
    (_sql("update ledger.runs set id = '00000000-0000-8000-8000-000000000000' where id = $1 /* stopped */"), {"runs"}),
    (_sql("update ledger.run_hourly set started = started + 1 where partition = 0"), {"hours"}),
    (a_refused_row_is_still_missing, {"refused"}),
    (
        _sql("insert into book.projection_errors values (0, 1, 1, 'event', 'nobody', '', 'ouch', now())"),
        {"refused"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("plant", "lines"), PLANTED)
async def test_a_violation_is_seen_by_its_own_line(copy, plant, lines):
    await plant(copy)
    wrong = await copy.wrong()
    assert wrong.keys() == lines, wrong
    assert all(wrong.values())


async def test_every_line_is_seen_to_fail():
    assert set().union(*(lines for _, lines in PLANTED)) == {each.name.lower() for each in Invariant}
