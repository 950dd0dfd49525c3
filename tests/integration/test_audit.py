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

from services.projector.audit import Invariant, archive, verify, write_side
from shared.domain import ids
from shared.embedded import DataDir, Endpoints
from shared.readmodel import archive as deployment
from shared.testing import a_job_id, chance, wait_until
from tests.integration.archive_kit import an_office
from tests.integration.audit_kit import a_copy, an_original, at_work, says, tells

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("audit")]
NEW = {"start_deadline_seconds", "max_lost"}  # fields that the second version has
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

    plant.__name__ = f"another {kind}"
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
        events[two] = tells(events[two], scheduled_for=earlier, fires_at=earlier)
        return events

    await copy.retells(edit)


async def an_occurrence_is_decided_again_after_a_change(copy):
    def edit(events):
        completed = _at(events, "JobCompleted", nth=-1)
        job = events[completed].subject
        requested = events[completed - 1]
        changed = next(e for e in events if e.type == "JobUpdated" and e.subject == job)
        at = json.loads(requested.data)["scheduled_for"]
        again = [
            _copied(tells(changed, next_for=at)),
            _copied(requested, subject=f"run/{a_job_id(0, datetime.fromisoformat(at))}"),
            _copied(events[completed]),
        ]
        return [*events[: completed + 1], *again, *events[completed + 1 :]]

    await copy.retells(edit)


async def a_run_fires_after_the_time_of_the_next(copy):
    """As it was announced, but its order isn't kept."""

    def edit(events):
        at = next(
            n
            for n, event in enumerate(events)
            if event.type == "RunRequested" and event.job == copy.told["skipped"]
        )
        told = json.loads(events[at].data)
        late = _later(seconds=1)(told["next_for"])
        announcing = max(n for n in range(at) if events[n].subject == f"job/{events[at].job}")
        events[announcing] = tells(events[announcing], next_fires_at=late)
        events[at] = tells(events[at], fires_at=late, requested_at=late)
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


async def a_run_that_waits_is_forgotten(copy):
    def edit(events):
        held = {e.subject for e in events if e.type == "RunRequested" and e.change().event.held}
        released = next(e for e in events if e.type == "RunQueued" and e.subject in held)
        gone = [e for e in events if e.subject == released.subject and e.type in ("RunQueued", "RunStarted")]
        return [event for event in events if event not in gone]

    await copy.retells(edit)


async def a_run_waits_for_nothing(copy):
    def edit(events):
        at = _at(events, "RunRequested", held=True)
        requested = [e for e in events[:at] if e.job == events[at].job and e.type == "RunRequested"]
        ours = [e for e in events if e.subject == requested[0].subject]
        return [event for event in events if event not in ours]

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


async def a_cancel_answers_an_older_start(copy):
    def edit(events):
        at = _at(events, "RunCancelled", attempt=1)
        events[at] = replace(events[at], cause="another")
        return events

    await copy.retells(edit)


async def a_run_expires_after_its_start(copy):
    def edit(events):
        at = _at(events, "RunExpired")
        started = next(
            e for e in events if e.type == "RunStarted" and e.subject.endswith(copy.told["poison"])
        )
        lost = next(e for e in events if e.type == "RunLost" and e.subject == started.subject)
        queued = events[_at(events, "RunQueued", reason="lost")]
        of_it = {"subject": events[at].subject, "job": events[at].job}
        more = [_copied(started, **of_it), _copied(lost, **of_it), _copied(queued, **of_it)]
        return [*events[:at], *more, *events[at:]]

    await copy.retells(edit)


async def a_result_answers_an_older_start(copy):
    def edit(events):
        at = _at(events, "RunOutput") + 1
        older = next(e for e in events if e.type == "RunStarted" and e.subject == events[at].subject)
        events[at] = replace(events[at], cause=older.id)
        return events

    await copy.retells(edit)


async def an_output_answers_an_older_start(copy):
    def edit(events):
        at = _at(events, "RunOutput")
        events[at] = replace(events[at], cause="another")
        return events

    await copy.retells(edit)


async def a_run_starts_again_without_a_reason(copy):
    def edit(events):
        del events[_at(events, "RunInterrupted")]
        return events

    await copy.retells(edit)


async def a_run_starts_again_without_being_queued(copy):
    def edit(events):
        del events[_at(events, "RunQueued", reason="interrupted")]
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


async def a_newer_event_of_a_job_stands_there(copy):
    def edit(events):
        at = _at(events, "JobUpdated")
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


# … in Redis.


def _redis(command, key, *values):
    """One command on a key of partition 0; values and keys may be functions of the copy."""

    async def plant(copy):
        told = [value(copy) if callable(value) else value for value in values]
        await copy.redis.execute_command(command, key(copy), *told)

    plant.__name__ = f"{command} {key.__name__}"
    return plant


def _due(copy):
    return copy.keys.due


def _hash(kind, name):
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
    key = _hash("job", "regular")(copy)
    state = await copy.redis.hget(key, "state")
    await copy.redis.hset(key, "state", state.replace(b'"revision":3', b'"revision":4'))


async def a_snapshot_says_the_same_in_other_bytes(copy):
    key = _hash("job", "regular")(copy)
    state = await copy.redis.hget(key, "state")
    await copy.redis.hset(key, "state", state.replace(b',"owner"', b', "owner"'))


# … in Postgres.


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


async def a_job_is_erased_that_is_not_deleted(copy):
    def edit(events):
        del events[_at(events, "PersonalDataErased") - 1]
        return events

    await copy.retells(edit)


async def a_key_is_revoked_that_nobody_issued(copy):
    def edit(events):
        del events[_at(events, "ApiKeyIssued", nth=1)]
        return events

    await copy.retells(edit)


PLANTED = [
    (_edited("RunRequested", where={"trigger": "schedule"}, next_for=_later(seconds=1)), {"occurrences"}),
    (_edited("ScheduleReplanned", next_for=_later(seconds=1)), {"occurrences"}),
    (_edited("ScheduleReplanned", replanned_at=_later(hours=2)), {"occurrences"}),
    (an_occurrence_is_skipped_in_silence, {"occurrences"}),
    (an_occurrence_is_swallowed_by_a_change, {"occurrences"}),
    (an_occurrence_is_decided_again_after_a_change, {"occurrences"}),
    (an_occurrence_is_decided_out_of_order, {"order"}),
    (a_paused_job_fires, {"firings"}),
    (_edited("RunRequested", where={"trigger": "schedule"}, fires_at=_later(seconds=0.5)), {"jitter"}),
    (a_run_fires_after_the_time_of_the_next, {"jitter"}),
    (_edited("OccurrencesSkipped", where={"reason": "excluded"}, reason="misfire"), {"excluded"}),
    (_edited("OccurrenceExcluded", scheduled_for=_later(seconds=60)), {"excluded"}),
    (a_deleted_job_skips, {"firings"}),
    (a_run_starts_beside_another, {"overlaps"}),
    (a_run_that_waits_is_forgotten, {"overlaps", "standing"}),
    (a_run_waits_for_nothing, {"overlaps"}),
    (_redis("ZREM", _due, _ref("run", "held")), {"standing"}),
    (_redis("ZREM", _due, _ref("run", "dropped")), {"standing"}),
    (a_run_ends_twice, {"ends"}),
    (a_run_goes_on_after_its_end, {"ends"}),
    (a_run_expires_after_its_start, {"ends"}),
    (an_attempt_is_left_out, {"attempts"}),
    (a_result_answers_an_older_start, {"results"}),
    (a_cancel_answers_an_older_start, {"results"}),
    (an_output_answers_an_older_start, {"results"}),
    (_edited("RunFailed", attempt=2), {"results"}),
    (_edited("RunFailed", nth=1, attempt=2), {"results"}),
    (_edited("RunLost", attempt=7), {"results"}),
    (a_run_starts_again_without_a_reason, {"restarts"}),
    (a_run_starts_again_without_being_queued, {"restarts"}),
    (_edited("RunRetryPlanned", wake_at=_later(days=1)), {"retries"}),
    (_redis("HSET", _personal, lambda copy: copy.told["erased"], "k" * 32), {"erasures"}),
    (
        _sql("update book.personal_keys set key = sha256(''), erased_at = null where job = $1 /* erased */"),
        {"erasures"},
    ),
    (_sql("update book.personal_keys set key = null, erased_at = now() where job = $1 /* regular */"), {"erasures"}),
    (a_job_is_erased_that_is_not_deleted, {"erasures"}),
    # The projector records what it can't read, and is still right to.
    (a_key_is_revoked_that_nobody_issued, {"readable"}),
    (a_newer_event_stands_there, {"readable", "refused"}),
    (a_newer_event_of_a_job_stands_there, {"readable", "refused"}),
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
    (_redis("HSET", _hash("job", "regular"), "version", "1-1"), {"versions"}),
    (_redis("HSET", _hash("apikey", "key"), "version", "1-1"), {"versions"}),
    (_redis("HSET", _hash("run", "running"), "fence", "1-1"), {"fences"}),
    (a_snapshot_says_something_else, {"snapshots"}),
    (a_snapshot_says_the_same_in_other_bytes, {"snapshots"}),
    (_redis("HSET", _hash("run", "queued"), "spec", "{}"), {"snapshots"}),
    (_redis("DEL", _hash("job", "paused")), {"snapshots"}),
    (_redis("COPY", _hash("job", "paused"), lambda copy: copy.keys.aggregate("job:nobody")), {"snapshots"}),
    (a_revoked_key_opens_again, {"snapshots"}),
    (_redis("DEL", _hash("apikey", "key")), {"snapshots"}),
    (_redis("COPY", _hash("apikey", "key"), lambda copy: copy.keys.aggregate("apikey:nobody")), {"snapshots"}),
    (_redis("ZADD", _due, 1, _ref("apikey", "key")), {"strays"}),
    (_redis("DEL", _hash("calendar", "calendar_gone")), {"snapshots"}),
    (_redis("HSET", _hash("calendar", "calendar"), "version", "1-1"), {"versions"}),
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


@pytest.mark.parametrize(("plant", "lines"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
async def test_a_violation_is_seen_by_its_own_line(copy, plant, lines):
    await plant(copy)
    wrong = await copy.wrong()
    assert wrong.keys() == lines, wrong
    assert all(wrong.values())


async def test_every_line_is_seen_to_fail():
    assert set().union(*(lines for _, lines in PLANTED)) == {each.name.lower() for each in Invariant}


# What is no violation.


async def test_what_the_timer_has_put_off_is_no_violation(copy):
    """It comes again within a minute; later than that nobody puts it off."""
    seconds, _ = await copy.redis.time()
    late = await copy.redis.zscore(copy.keys.due, copy.ref("job", "late"))
    assert late < seconds * 1000
    await copy.redis.zadd(copy.keys.due, {copy.ref("job", "late"): (seconds + 30) * 1000})
    assert await copy.wrong() == {}
    await copy.redis.zadd(copy.keys.due, {copy.ref("job", "late"): (seconds + 90) * 1000})
    assert (await copy.wrong()).keys() == {"due_times"}


async def test_what_was_refused_and_is_right_by_now_is_no_violation(copy):
    event = await copy.find("JobUpdated")
    statement = "insert into book.projection_errors values (0, 1, 1, $1, $2, '', 'ouch', now())"
    await copy.sql(statement, "event", event.id)
    await copy.sql(statement, "jobs", copy.told["regular"])
    await copy.sql(statement, "runs", copy.told["running"])
    report = await copy.audit()
    assert report.violations == 0
    assert {line.name: line.checked for line in report.lines}["refused"] == 3


async def test_the_size_of_pages_changes_nothing(copy, monkeypatch):
    before = await copy.audit()
    monkeypatch.setattr(archive, "AT_ONCE", 1)
    monkeypatch.setattr(write_side, "AT_ONCE", 3)
    monkeypatch.setattr(write_side, "ENTRIES", 2)
    assert before == await copy.audit()
    assert before.violations == 0
    await a_run_ends_twice(copy)
    assert (await copy.wrong()).keys() == {"ends"}


async def test_what_an_older_build_wrote_is_compared_as_it_is_read(copy):
    """Its specification has not all that there is by now, and a snapshot another number."""
    key = _hash("job", "regular")(copy)
    state, spec = await copy.redis.hmget(key, "state", "spec")
    old = json.dumps({name: value for name, value in json.loads(spec).items() if name not in NEW})
    await copy.redis.hset(key, "spec", old)
    assert await copy.wrong() == {}
    await copy.redis.hset(key, "state", b'{"shape":1,' + state.partition(b",")[2])
    row = json.loads(
        await copy.pool.fetchval(
            "select state from book.snapshots where ref = $1", copy.ref("job", "regular")
        )
    )
    row |= {"spec": json.loads(old)}
    text = '{"shape":1,' + json.dumps(row, separators=(",", ":")).partition(",")[2]
    await copy.sql(
        "update book.snapshots set shape = 1, state = $1 where ref = $2", text, copy.ref("job", "regular")
    )
    await copy.sql("update ledger.jobs set spec = $1 where id = $2", old, copy.told["regular"])
    assert await copy.wrong() == {}
    await copy.redis.hset(key, "spec", old.replace('"priority": 5', '"priority": 6'))
    await copy.sql("""update book.snapshots set state = replace(state, '"revision":3', '"revision":4')""")
    await copy.sql("update ledger.jobs set spec = spec || '{\"priority\": 6}'")
    assert (await copy.wrong()).keys() == {"snapshots", "book_snapshots", "jobs"}


async def test_a_snapshot_of_a_newer_build_is_not_judged(copy):
    key = _hash("job", "regular")(copy)
    state = await copy.redis.hget(key, "state")
    await copy.redis.hset(key, "state", b'{"shape":99,"new":0,' + state.partition(b",")[2])
    await copy.sql(
        "update book.snapshots set shape = 99, state = '{}' where ref = $1", copy.ref("job", "regular")
    )
    report = await copy.audit()
    assert report.violations == 0
    assert {line.name: line.unchecked for line in report.lines if line.unchecked} == {
        "snapshots": 1,
        "book_snapshots": 1,
    }


# A system at work.


async def test_what_the_log_has_trimmed_meanwhile_is_read_from_the_archive(copy, monkeypatch):
    seen = archive.checkpoint

    async def seen_and_gone_by(connection, partition):
        found = await seen(connection, partition)
        if partition == 0:
            await copy.goes_on()
            await copy.redis.xtrim(copy.keys.log, maxlen=1, approximate=False)
        return found

    monkeypatch.setattr(archive, "checkpoint", seen_and_gone_by)
    before = await copy.pool.fetchval("select pos from book.checkpoints where partition = 0")
    report = await copy.audit(0)
    assert {line.name: line.first for line in report.lines if line.violations} == {}
    assert (
        report.events
        == await copy.pool.fetchval("select pos from book.checkpoints where partition = 0")
        > before
    )
    (entry,) = await copy.redis.xrange(copy.keys.log)
    assert entry[0].decode().endswith(f"-{report.events}")


async def test_a_run_that_ends_while_it_is_looked_at_is_no_violation(copy, monkeypatch):
    """It wasn't there when the keys were listed, and is over when its page is read; its hash stays for a minute."""
    checkpoint, due, begun = archive.checkpoint, write_side.WriteSide.due, []

    async def begins(connection, partition):
        begun.append(await copy.goes_on())
        return await checkpoint(connection, partition)

    async def ends(redis):
        await copy.ends(*begun[0])
        return await due(redis)

    monkeypatch.setattr(archive, "checkpoint", begins)
    monkeypatch.setattr(write_side.WriteSide, "due", ends)
    report = await copy.audit(0)
    assert {line.name: line.first for line in report.lines if line.violations} == {}
    assert await copy.redis.exists(copy.keys.aggregate(f"run:{begun[0][0]}"))


async def test_events_that_are_nowhere_are_missed(copy):
    """The log was trimmed before it was archived."""
    await copy.redis.xtrim(copy.keys.log, maxlen=1, approximate=False)
    assert (await copy.wrong()).keys() == {"positions"}


async def test_a_system_at_work_balances(postgres, valkey):
    async with an_office(postgres, valkey) as office:
        await deployment.record_deployment(office.pool, partitions=2, prefix=office.bench.prefix)
        async with at_work(office):
            await wait_until(lambda: _archived(office, 300), "300 events are archived", timeout_s=40)
            seen, unchecked = [], {"not yet"}
            async with asyncio.timeout(40):  # the schedule decides nothing before the jobs are seconds old
                while len(seen) < 4 or seen[-1] < seen[0] + 300 or unchecked:
                    report = await verify(office.pool, office.redis)
                    assert {line.name: line.first for line in report.lines if line.violations} == {}
                    seen.append(report.events)
                    unchecked = {line.name for line in report.lines if line.checked == 0} - {"refused"}


async def _archived(office, count):
    return await office.pool.fetchval("select sum(pos) from book.checkpoints") >= count


# The command.


async def _daybook(*args, **environment):
    """Status, output and errors of `daybook audit verify`."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", "audit", "verify", *args,
        cwd=Path(__file__).parents[2], env=ours | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


@pytest_asyncio.fixture(loop_scope="module")
async def servers(copy, valkey, postgres):
    """The addresses of the copy's servers, as the environment tells them."""
    name = await copy.pool.fetchval("select current_database()")
    database = postgres.endpoint.url.rsplit("/", 1)[0] + "/" + name
    return {"DAYBOOK_REDIS_URL": valkey.endpoint.url, "DAYBOOK_DATABASE_URL": database}


async def test_the_command_prints_a_line_for_each_invariant(servers):
    status, out, err = await _daybook(**servers)
    assert (status, err) == (0, "")
    *lines, last = out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"ok    {each}" for each in Invariant]
    assert last.endswith("events of partitions 0, 1: holds")


async def test_a_violation_is_status_1_and_shown(copy, servers):
    await copy.redis.zrem(copy.keys.due, copy.ref("job", "regular"))
    status, out, _ = await _daybook(**servers)
    (wrong,) = [line for line in out.splitlines() if not line.startswith("ok ")][:-1]
    assert status == 1
    assert wrong.startswith(f"WRONG {Invariant.STANDING}: ")
    assert f"1 violations; the first: due hasn't {copy.ref('job', 'regular')}" in wrong
    assert out.splitlines()[-1].endswith("of partitions 0, 1: 1 violations")


async def test_machines_are_told_in_json(copy, servers):
    await copy.sql("update ledger.run_hourly set started = started + 1 where partition = 0")
    status, out, _ = await _daybook("--json", **servers)
    told = json.loads(out)
    assert (status, told["holds"], told["partitions"]) == (1, False, [0, 1])
    assert [line["name"] for line in told["lines"]] == [each.name.lower() for each in Invariant]
    (wrong,) = [line for line in told["lines"] if line["violations"]]
    assert wrong["name"] == "hours"
    assert wrong["violations"] == told["violations"] > 0
    assert "started should be" in wrong["first"]
    status, out, _ = await _daybook("--json", "--partition", "1", **servers)
    assert (status, json.loads(out)["partitions"]) == (0, [1])


async def test_the_servers_of_a_running_system_are_found(servers, tmp_path):
    DataDir(tmp_path).write_endpoints(
        Endpoints(pid=1, api="", redis=servers["DAYBOOK_REDIS_URL"], postgres=servers["DAYBOOK_DATABASE_URL"])
    )
    status, out, err = await _daybook(DAYBOOK_DATA_DIR=str(tmp_path))
    assert (status, err) == (0, "")
    assert out.splitlines()[-1].endswith("holds")


async def test_what_cannot_be_read_is_status_2_and_a_sentence(copy, servers, postgres, tmp_path):
    nowhere = {"DAYBOOK_REDIS_URL": "redis://127.0.0.1:1/0"}
    empty = {"DAYBOOK_DATABASE_URL": postgres.endpoint.url}
    for args, environment, sentence in [
        ((), {"DAYBOOK_DATA_DIR": str(tmp_path)}, "Nothing runs over"),
        ((), servers | nowhere, "could not be read"),
        ((), servers | empty, "has no deployment yet"),
        (("--partition", "7"), servers, "no partition 7"),
        ((), servers | {"DAYBOOK_PORT": "many"}, "DAYBOOK_PORT=many is refused"),
    ]:
        status, out, err = await _daybook(*args, **environment)
        assert (status, out) == (2, ""), err
        assert sentence in err
        assert "Traceback" not in err
    await copy.redis.delete(copy.keys.log)
    status, out, err = await _daybook(**servers)
    assert (status, out) == (2, ""), err
    assert "Redis holds no log of partition 0" in err
