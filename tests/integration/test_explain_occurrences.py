"""Why a job ran at a time, or did not: each reason provoked, and told by its code and the events behind it."""

from datetime import timedelta
from urllib.parse import quote

import pytest

from services.api.explaining import reading
from services.api.explaining.codes import Code
from services.api.explaining.explainer import LEFT_OUT
from shared.domain import ids, zones
from shared.domain.commands import ReplanJob, SuspendJob
from shared.testing import wait_until
from tests.integration.era_kit import an_era, shifted_valkey, utc
from tests.zone_tables import WITHOUT_DST, tables

BERLIN = {"timezone": "Europe/Berlin"}
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture(scope="module")
def then(tmp_path_factory):
    server, clock = shifted_valkey(tmp_path_factory.mktemp("era"))
    with server:
        yield server, clock


@pytest.fixture
async def era(then, postgres, tmp_path):
    async with an_era(postgres, tmp_path, *then, "2026-03-28T23:00:00") as made:
        yield made


async def ran(era, job, count=1):
    """Have it run to its end."""
    async with era.timer(), era.executor():
        await era.comes(job, "RunSucceeded", count)


async def decided(era, job, kind, count=1):
    """Have a timer decide."""
    async with era.timer():
        return await era.comes(job, kind, count)


# Where clocks change.


async def test_half_past_two_on_the_day_on_which_there_was_none(era):
    daily = await era.creates(cron_expression="30 2 * * *", **BERLIN)
    often = await era.creates(cron_expression="*/30 * * * *", queue="often", **BERLIN)
    await era.be("2026-03-29T00:59:59.500")
    await ran(era, daily)
    fired = await era.event(daily, "RunRequested")
    for at in ("2026-03-29T02:30:00+01:00", "2026-03-29T02:30:00+02:00", "2026-03-29T03:00:00+02:00"):
        told = await era.explains(daily, at)
        told.says(
            Code.SCHEDULED,
            fired,
            scheduled_for="2026-03-29T01:00:00.000Z",
            timezone="Europe/Berlin",
            revision=1,
        )
        told.says(
            Code.DST_MOVED, fired, local_time="2026-03-29T02:30:00", moved_to="2026-03-29T01:00:00.000Z"
        )
        told.says(Code.FIRED, fired, by="timer")
        told.says(Code.STARTED, await era.event(daily, "RunStarted"), worker="w7", attempt=1)
        told.says(Code.SUCCEEDED, await era.event(daily, "RunSucceeded"))
        assert told.codes == ["scheduled", "dst_moved", "fired", "started", "succeeded"]
        assert told.summary.startswith(
            "Fired for 2026-03-29 03:00 Europe/Berlin (01:00 UTC); attempt 1 succeeded"
        )
    told = await era.explains(often, "2026-03-29T02:30:00+01:00")
    told.says(Code.DST_SKIPPED, await era.event(often, "JobCreated"), local_time="2026-03-29T02:30:00")
    assert "02:30 Europe/Berlin did not exist that day" in told.summary


async def test_half_past_two_on_the_day_on_which_it_came_twice(era):
    await era.be("2026-10-24T23:00:00")
    first = await era.creates(cron_expression="30 2 * * *", **BERLIN)
    last = await era.creates(cron_expression="30 2 * * *", dst_policy={"overlap": "last"}, **BERLIN)
    await era.be("2026-10-25T02:00:00")
    await decided(era, first, "RunRequested")
    await decided(era, last, "RunRequested")
    told = await era.explains(first, "2026-10-25T02:30:00+01:00")
    told.says(Code.DST_REPEATED, await era.event(first, "JobCreated"), rule="overlap_first")
    assert "FIRED" not in told.codes
    told = await era.explains(last, "2026-10-25T02:30:00+01:00")
    told.says(Code.DST_REPEATED, await era.event(last, "RunRequested"), rule="overlap_last")
    told = await era.explains(last, "2026-10-25T02:30:00+02:00")
    told.says(Code.DST_REPEATED, await era.event(last, "JobCreated"), rule="overlap_last")


async def test_newer_zone_tables_move_what_was_announced(era):
    job = await era.creates(cron_expression="0 9 * * *", **BERLIN)
    await era.be("2026-03-29T01:30:00")
    with tables(WITHOUT_DST):
        await era.tells(f"job:{job['id']}", ReplanJob(before="2026.1", tables="2026.2"), actor="timer")
        moved = await era.event(job, "ScheduleReplanned")
        for _ in range(2):  # before and after the time
            told = await era.explains(job, "2026-03-29T07:00:00Z")
            told.says(Code.REPLANNED, moved, tables="2026.2", next_for="2026-03-29T08:00:00.000Z")
            await era.be("2026-03-29T07:30:00")
        told = await era.explains(job)
        told.says(Code.REPLANNED, moved)
        told.says(Code.NEXT, moved, scheduled_for="2026-03-29T08:00:00.000Z")


async def test_a_zone_that_is_not_known_any_more_is_said_to_be_what_is_wrong(era, monkeypatch):
    job = await era.creates(cron_expression="0 9 * * *", **BERLIN)
    suspend = SuspendJob(by="timer", reason="its schedule could not be decided 5 times: UnknownZone")
    await era.tells(f"job:{job['id']}", suspend, actor="timer")
    paused = await era.event(job, "JobPaused")
    known = zones._zone_names()
    with tables({}):
        monkeypatch.setattr(zones, "_zone_names", lambda: known - {"Europe/Berlin"})
        for at in (None, "2026-03-28T20:00:00Z", "2026-03-29T07:00:00Z"):
            told = await era.explains(job, at)
            told.says(Code.UNREADABLE_SCHEDULE, await era.event(job, "JobCreated"))
            told.says(Code.PAUSED_UNDECIDABLE, paused)
            assert "'Europe/Berlin' is no IANA time zone" in told.summary


# Late, and not at all.


async def test_nobody_was_there_to_decide(era):
    latest = await era.creates(interval_seconds=600, overlap_policy="allow")
    skips = await era.creates(interval_seconds=600, misfire_policy="skip", overlap_policy="allow")
    at = utc("2026-03-28T23:10:00") + (await born(era, latest))
    await era.be(at + MINUTE / 60)
    await decided(era, latest, "RunRequested")
    await decided(era, skips, "RunRequested")
    announced, last = await era.event(latest, "RunRequested"), (await of_timers(era, latest, skips))[-1]
    seen = len(await of_timers(era, latest, skips))
    await era.be(at + 3 * HOUR / 12)  # two more have come, and are later than the grace
    overdue = await era.explains(latest, at + 10 * MINUTE)
    overdue.says(Code.OVERDUE, announced, scheduled_for=text(at + 10 * MINUTE))
    overdue.says(Code.NO_TIMER, last, to=None, due_at=text(at + 10 * MINUTE))
    assert "is due, and undecided" in overdue.summary
    assert "no timer was alive from" in overdue.summary
    (await era.explains(latest)).says(Code.OVERDUE, announced)
    back = await decided(era, latest, "RunRequested", 2)
    await decided(era, skips, "OccurrencesSkipped")
    told = await era.explains(latest, at + 10 * MINUTE)
    first = (await of_timers(era, latest, skips))[seen]
    told.says(Code.NO_TIMER, last, first, due_at=text(at + 10 * MINUTE))
    told.says(Code.CAUGHT_UP, back, misfire_policy="latest", misfire_grace_seconds=60.0)
    told.says(Code.FIRED, back)
    told = await era.explains(skips, at + (await born(era, skips)) - (await born(era, latest)) + 10 * MINUTE)
    told.says(Code.MISFIRE, await era.event(skips, "OccurrencesSkipped"), misfire_policy="skip", count=1)
    assert Code.NO_TIMER in told.codes
    assert told.summary.startswith("It did not run for ")


async def test_a_timer_was_there_and_it_came_late_all_the_same(era):
    """Its wake was put off for a minute, as one is that fails; others were decided meanwhile."""
    late = await era.creates(run_at="2026-03-28T23:10:00Z")
    while (other := await era.creates(interval_seconds=60))["id"][15:18] != late["id"][15:18]:
        pass
    keys = era.stage.log.keys(int(late["id"][15:18], 16))
    await era.be("2026-03-28T23:10:00")
    await era.redis.zadd(keys.due, {f"job:{late['id']}": int(utc("2026-03-28T23:11:00").timestamp() * 1000)})
    await decided(era, other, "RunRequested")
    await era.be("2026-03-28T23:11:00")
    fired = await decided(era, late, "RunRequested")
    told = await era.explains(late, "2026-03-28T23:10:00Z")
    finding = told.of(Code.DECIDED_LATE)
    assert finding["events"][-1]["id"] == fired.id
    assert finding["details"]["late_seconds"] >= 60
    assert Code.NO_TIMER not in told.codes


async def test_the_log_was_opened_anew_meanwhile(era):
    job = await era.creates(run_at="2026-03-28T23:10:00Z")
    partition = int(job["id"][15:18], 16)
    await era.be("2026-03-28T23:11:00")
    await era.redis.hdel(era.stage.log.keys(partition).meta, "incarnation")  # as a restart leaves it
    fired = await decided(era, job, "RunRequested")
    told = await era.explains(job, "2026-03-28T23:10:00Z")
    rows = await era.stage.pool.fetch(
        "select id from book.events where partition = $1 and type = 'LogOpened'", partition
    )
    opened = [row["id"] for row in rows][-1]
    assert [each["id"] for each in told.of(Code.LOG_OPENED)["events"]] == [opened]
    assert told.of(Code.NO_TIMER)["events"][-1]["id"] == fired.id


async def test_what_is_decided_and_not_archived_yet_is_not_said_to_be_missing(era):
    job = await era.creates(run_at="2026-03-28T23:10:00Z")
    await era.stage.level()
    await era.stage.stop_projector()
    await era.be("2026-03-28T23:10:20")
    async with era.timer():
        work = era.stage.log.keys(int(job["id"][15:18], 16)).work("default", 5)
        await wait_until(lambda: era.redis.xlen(work), "it fired")
    at, now = quote("2026-03-28T23:10:00Z"), {"headers": {"Prefer": "wait=0"}}
    refused = await era.stage.ask("GET", f"jobs/{job['id']}/explain?at={at}", status=503, **now)
    assert "has not come to that time yet" in refused.json["detail"]
    told = (await era.stage.ask("GET", f"jobs/{job['id']}/explain", status=200, **now)).json
    assert [each["code"] for each in told["findings"]] == ["created", "next"]
    era.stage.start_projector()
    assert Code.FIRED in (await era.explains(job, "2026-03-28T23:10:00Z")).codes


# Skipped.


async def test_another_run_was_in_the_way(era):
    job = await era.creates(cron_expression="*/10 * * * *")
    await era.be("2026-03-28T23:10:00")
    first = await decided(era, job, "RunRequested")
    await era.be("2026-03-28T23:20:00")
    skipped = await decided(era, job, "OccurrencesSkipped")
    told = await era.explains(job, "2026-03-28T23:20:00Z")
    run_id = first.subject.removeprefix("run/")
    told.says(Code.OVERLAP, first, skipped, run_id=run_id)
    told.says(Code.SCHEDULED, skipped, revision=1)
    assert f"run {run_id} of the job had not ended (overlap_policy skip)" in told.summary


async def test_another_run_waited_already_or_took_its_place(era):
    waits = await era.creates(cron_expression="*/10 * * * *", overlap_policy="queue_one")
    gives_way = await era.creates(
        cron_expression="*/10 * * * *", overlap_policy="replace", misfire_policy="all"
    )
    for count, minute in ((1, 10), (2, 20)):
        await era.be(f"2026-03-28T23:{minute}:00")
        await decided(era, waits, "RunRequested", count)
    await era.be("2026-03-28T23:30:00")
    skipped = await decided(era, waits, "OccurrencesSkipped")
    _, second = await era.events(waits, "RunRequested")
    told = await era.explains(waits, "2026-03-28T23:30:00Z")
    told.says(Code.OVERLAP, second, skipped, overlap_policy="queue_one")
    assert "waits already" in told.summary
    await era.be("2026-03-28T23:51:00")  # two are due, of which the newer one is to run
    await decided(era, gives_way, "OccurrencesSkipped")
    told = await era.explains(gives_way, "2026-03-28T23:40:00Z")
    assert "of a newer occurrence takes its place" in told.summary


async def test_it_fell_due_in_a_pause(era):
    skips = await era.creates(cron_expression="*/10 * * * *")
    catches = await era.creates(cron_expression="*/10 * * * *", overlap_policy="allow")
    await era.asks("POST", f"jobs/{skips['id']}/pause", reason="the disk is full")
    await era.asks("POST", f"jobs/{catches['id']}/pause", catch_up="all")
    pauses = {job["id"]: await era.event(job, "JobPaused") for job in (skips, catches)}
    await era.be("2026-03-28T23:15:00")
    waits = await era.explains(catches, "2026-03-28T23:10:00Z")
    waits.says(Code.PAUSED, pauses[catches["id"]], by="anonymous", reason="", catch_up="all")
    waits.says(Code.PAUSE_PENDING, pauses[catches["id"]], catch_up="all")
    now = await era.explains(skips)
    now.says(Code.PAUSED, pauses[skips["id"]], reason="the disk is full")
    now.says(
        Code.PAUSE_PENDING, pauses[skips["id"]], catch_up="skip", scheduled_for="2026-03-28T23:10:00.000Z"
    )
    assert now.summary.startswith("Paused by anonymous at 23:0")
    assert now.summary.endswith(' "the disk is full".')
    for job in (skips, catches):
        await era.asks("POST", f"jobs/{job['id']}/resume")
    resumed = {job["id"]: await era.event(job, "JobResumed") for job in (skips, catches)}
    caught = await decided(era, catches, "RunRequested")
    told = await era.explains(skips, "2026-03-28T23:10:00Z")
    skipped = await era.event(skips, "OccurrencesSkipped")
    told.says(Code.PAUSED, pauses[skips["id"]], by="anonymous", reason="the disk is full")
    told.says(Code.PAUSE_SKIPPED, skipped, resumed[skips["id"]], reason="paused")
    told = await era.explains(catches, "2026-03-28T23:10:00Z")
    told.says(Code.PAUSE_CAUGHT_UP, resumed[catches["id"]], caught, catch_up="all")
    assert {Code.DECIDED_LATE, Code.NO_TIMER, Code.CAUGHT_UP}.isdisjoint(told.codes), (
        "the pause is the reason"
    )


async def test_what_was_decided_much_later_is_not_said_to_be_no_occurrence(era, monkeypatch):
    job = await era.creates(cron_expression="*/10 * * * *")
    await era.asks("POST", f"jobs/{job['id']}/pause")
    await era.be("2026-03-28T23:15:00")
    for priority in (3, 4):
        await era.asks("PATCH", f"jobs/{job['id']}", priority=priority)
    await era.asks("POST", f"jobs/{job['id']}/resume")
    (await era.explains(job, "2026-03-28T23:10:00Z")).says(
        Code.PAUSE_SKIPPED,
        await era.event(job, "OccurrencesSkipped"),
        await era.event(job, "JobResumed"),
        reason="paused",
    )
    monkeypatch.setattr(reading, "LOOKED_AT", 1)
    refused = await era.explains(job, "2026-03-28T23:10:00Z", status=422)
    assert "events of the job later" in refused["errors"][0]["detail"]
    told = await era.explains(job, "2026-03-28T23:11:00Z")
    assert told.codes == [Code.NO_OCCURRENCE]


async def test_it_was_paused_by_nobody(era):
    fails = await era.creates(
        cron_expression="*/10 * * * *", job_data={"operation": "fail"}, max_retries=0, pause_after_failures=1
    )
    broken = await era.creates(cron_expression="*/10 * * * *")
    suspend = SuspendJob(by="timer", reason="its schedule could not be decided 5 times: ValueError: x")
    await era.tells(f"job:{broken['id']}", suspend, actor="timer")
    await era.be("2026-03-28T23:10:00")
    async with era.timer(), era.executor():
        paused = await era.comes(fails, "JobPaused")
    await era.be("2026-03-28T23:21:00")
    (await era.explains(fails)).says(Code.PAUSED_BY_FAILURES, paused, by="daybook", reason="a run has failed")
    told = await era.explains(fails, "2026-03-28T23:20:00Z")
    told.says(Code.PAUSED_BY_FAILURES, paused)
    told.says(Code.PAUSE_PENDING, paused)
    told = await era.explains(broken, "2026-03-28T23:20:00Z")
    told.says(Code.PAUSED_UNDECIDABLE, await era.event(broken, "JobPaused"))


async def test_somebody_or_a_calendar_left_it_out(era):
    await era.stage.ask("PUT", "calendars/holidays", json={"dates": ["2026-03-29"]}, status=201)
    rows = "select * from book.events where type = 'CalendarChanged'"
    job = await era.creates(cron_expression="0 9 * * *", exclude_calendars=["holidays"])
    other = await era.creates(cron_expression="0 9 * * *", exclude=["2026-03-30"])
    await era.asks("POST", f"jobs/{other['id']}/skip", scheduled_for="2026-03-29T09:00:00Z", reason="a move")
    wish = await era.event(other, "OccurrenceExcluded")
    told = await era.explains(job, "2026-03-29T09:00:00Z")
    told.says(Code.CALENDAR, by="holidays")
    (await era.explains(other, "2026-03-29T09:00:00Z")).says(Code.SKIPPED_BY_HAND, wish, by="anonymous")
    (await era.explains(other)).says(Code.SKIPPED_BY_HAND, wish)
    await era.be("2026-03-29T09:00:00")
    skipped = await decided(era, job, "OccurrencesSkipped")
    by_hand = await decided(era, other, "OccurrencesSkipped")
    told = await era.explains(job, "2026-03-29T09:00:00Z")
    changed = await era.stage.pool.fetchrow(rows)
    assert {each["id"] for each in told.of(Code.CALENDAR)["events"]} == {changed["id"], skipped.id}
    assert told.of(Code.CALENDAR)["details"]["calendar"] == "holidays"
    told = await era.explains(other, "2026-03-29T09:00:00Z")
    told.says(Code.SKIPPED_BY_HAND, wish, by_hand, by="anonymous", reason_given="a move")
    assert '"a move"' in told.summary
    await era.be("2026-03-30T10:00:00")
    told = await era.explains(other, "2026-03-30T09:00:00Z")
    told.says(Code.EXCLUDED_DATE, await era.event(other, "JobCreated"))


async def test_of_two_wishes_and_a_long_holiday_each_is_told_by_its_own(era):
    """What lies ahead is told from the event behind it, not from the last one of its type."""
    daily = await era.creates(cron_expression="0 9 * * *")
    first, last = "2026-03-29T09:00:00Z", "2026-03-30T09:00:00Z"
    for at in (first, last):
        await era.asks("POST", f"jobs/{daily['id']}/skip", scheduled_for=at, reason="a move")
    wishes = await era.events(daily, "OccurrenceExcluded")
    for at, wish in zip((first, last), wishes, strict=True):
        (await era.explains(daily, at)).says(Code.SKIPPED_BY_HAND, wish)
    now = [
        each for each in (await era.explains(daily)).answer["findings"] if each["code"] == "skipped_by_hand"
    ]
    assert [each["events"][0]["id"] for each in now] == [each.id for each in wishes]
    await era.stage.ask("PUT", "calendars/closed", json={"dates": ["2026-03-28", "2026-03-29"]}, status=201)
    often = await era.creates(cron_expression="* * * * *", exclude_calendars=["closed"])
    told = await era.explains(often)
    told.says(Code.NEXT, await era.event(often, "JobCreated"), scheduled_for="2026-03-30T00:00:00.000Z")
    assert told.codes.count("calendar") == LEFT_OUT
    assert told.summary.startswith("It runs next at 2026-03-30 00:00 UTC")


async def test_a_pause_stands_in_the_summary_of_what_lies_ahead_too(era):
    job = await era.creates(cron_expression="0 9 * * *")
    await era.asks("POST", f"jobs/{job['id']}/pause", reason="holidays")
    told = await era.explains(job, "2026-03-29T09:00:00Z")
    told.says(Code.PAUSED, await era.event(job, "JobPaused"))
    assert told.summary.startswith("Paused by anonymous at ")
    assert "2026-03-29 09:00 UTC has not come yet" in told.summary


async def test_what_a_job_is_given_to_do_is_no_decision_of_its_schedule(era):
    """Its data may have the very words by which decisions are found."""
    parameters = {"trigger": "schedule", "n": 1}
    job = await era.creates(interval_seconds=3600, job_data={"operation": "echo", "parameters": parameters})
    at = era.clock.now().replace(microsecond=0)
    await era.asks("POST", f"jobs/{job['id']}/trigger", 201)
    asked_for = await era.event(job, "RunRequested")
    told = await era.explains(job, at)
    assert "scheduled" not in told.codes
    (await era.explains(job)).says(Code.NEXT, await era.event(job, "JobCreated"))
    assert (await era.explains(job, ids.from_ms(asked_for.at))).codes.count("triggered") == 1


async def test_jitter_put_it_off_and_an_edit_or_deletion_came_first(era):
    jobs = [await era.creates(cron_expression="0 9 * * *", jitter_seconds=3000) for _ in range(3)]
    fires = [
        utc((await era.asks("GET", f"jobs/{job['id']}/next"))["occurrences"][0]["fires_at"][:23])
        for job in jobs
    ]
    await era.be("2026-03-29T09:00:00.100")
    await era.asks("PATCH", f"jobs/{jobs[0]['id']}", cron_expression="30 9 * * *")
    await era.stage.ask("DELETE", f"jobs/{jobs[1]['id']}", status=204)
    told = await era.explains(jobs[0], "2026-03-29T09:00:00Z")
    told.says(Code.EDITED, *await era.events(jobs[0], "OccurrencesSkipped", "JobUpdated"), by="anonymous")
    told = await era.explains(jobs[1], "2026-03-29T09:00:00Z")
    told.says(Code.DELETED, *await era.events(jobs[1], "OccurrencesSkipped", "JobDeleted"), by="anonymous")
    told = await era.explains(jobs[2], "2026-03-29T09:00:00Z")
    told.says(Code.AHEAD, await era.event(jobs[2], "JobCreated"), fires_at=text(fires[2]))
    await era.be(fires[2])
    fired = await decided(era, jobs[2], "RunRequested")
    for at in ("2026-03-29T09:00:00Z", fires[2]):
        told = await era.explains(jobs[2], at)
        told.says(Code.JITTERED, fired, fires_at=text(fires[2]))
        assert not {Code.NO_TIMER, Code.DECIDED_LATE} & set(told.codes)


# No occurrence.


async def test_there_was_no_job_or_no_schedule_or_nothing_left(era):
    await era.be("2026-03-29T08:00:00")
    job = await era.creates(cron_expression="0 9 * * *")
    bare = await era.creates()
    once = await era.creates(run_at="2026-03-29T09:00:00Z")
    few = await era.creates(cron_expression="0 * * * *", max_runs=1)
    ends = await era.creates(cron_expression="0 9 * * *", end_at="2026-03-29T12:00:00Z")
    told = await era.explains(job, "2026-03-29T07:00:00Z")
    told.says(Code.NOT_CREATED, await era.event(job, "JobCreated"), by="anonymous")
    told = await era.explains(bare, "2026-03-29T07:59:00Z")
    told.says(Code.NOT_CREATED, await era.event(bare, "JobCreated"))
    await era.be("2026-03-29T09:00:00")
    for each in (once, few, ends):
        await decided(era, each, "JobCompleted")
    await era.stage.ask("DELETE", f"jobs/{job['id']}", status=204)
    await era.be("2026-03-29T13:00:00")
    told = await era.explains(bare, "2026-03-29T09:00:00Z")
    told.says(Code.NO_SCHEDULE, await era.event(bare, "JobCreated"))
    for each, why in ((once, "run_at"), (few, "max_runs"), (ends, "end_at")):
        for at in ("2026-03-29T12:30:00Z", None, "2026-03-29T15:00:00Z"):
            (await era.explains(each, at)).says(
                Code.COMPLETED, await era.event(each, "JobCompleted"), why=why
            )
    for at in ("2026-03-29T12:30:00Z", None, "2026-03-29T15:00:00Z"):
        (await era.explains(job, at)).says(Code.DELETED, await era.event(job, "JobDeleted"), by="anonymous")


async def test_there_was_no_occurrence_then(era):
    job = await era.creates(
        cron_expression="0 9 * * *", start_at="2026-03-30T00:00:00Z", end_at="2026-04-20T00:00:00Z"
    )
    made = await era.event(job, "JobCreated")
    await era.be("2026-03-29T08:00:00")
    patched = await era.asks("PATCH", f"jobs/{job['id']}", priority=7)
    assert patched["revision"] == 2
    edited = await era.event(job, "JobUpdated")
    await era.be("2026-03-31T12:00:00")
    await decided(era, job, "RunRequested")
    (await era.explains(job, "2026-03-29T09:00:00Z")).says(
        Code.OUTSIDE_WINDOW, edited, else_an_occurrence=True
    )
    (await era.explains(job, "2026-04-20T09:00:00Z")).says(Code.OUTSIDE_WINDOW, edited)
    told = await era.explains(job, "2026-03-31T09:30:00Z")
    around = {"before": "2026-03-31T09:00:00.000Z", "after": "2026-04-01T09:00:00.000Z"}
    told.says(Code.NO_OCCURRENCE, edited, **around, revision=2)
    await era.asks("PATCH", f"jobs/{job['id']}", cron_expression="0 10 * * *")
    later = await era.event(job, "JobUpdated")
    await era.be("2026-04-02T08:00:00")
    told = await era.explains(job, "2026-04-01T09:00:00Z")
    told.says(
        Code.EDITED, edited, later, by="anonymous", revision=3, scheduled_for="2026-04-01T09:00:00.000Z"
    )
    told.says(Code.NO_OCCURRENCE, later)
    assert "an occurrence of revision 2; anonymous edited the schedule" in told.summary
    few = await era.creates(interval_seconds=1, max_runs=10_000)
    refused = await era.explains(few, "2026-04-02T10:00:00Z", status=422)
    assert "occurrences ahead" in refused["errors"][0]["detail"]
    told = await era.explains(job, "2026-04-02T10:00:00Z")
    told.says(Code.AHEAD, later, scheduled_for="2026-04-02T10:00:00.000Z", revision=3)
    assert made.id != edited.id


async def of_timers(era, job, other):
    """The events of timers in a job's partition, in which another one may be, too."""
    told = [*await era.events(job), *await era.events(other)]
    mine = [each for each in told if each.actor == "timer" and each.partition == int(job["id"][15:18], 16)]
    return sorted(mine, key=lambda each: each.position.pos)


async def born(era, job):
    """How long after the minute a job was made: the phase of its interval."""
    made = utc(job["created_at"][:23])
    return made - made.replace(second=0, microsecond=0)


def text(at):
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
