"""Backfills over HTTP: what is found to be owed, what is made of it, and what is refused."""

import asyncio
from datetime import timedelta

import pytest

from services.api import backfills, owing
from services.projector.audit import verify
from shared.domain import ids
from shared.domain.commands import (
    CancelRun,
    DeleteJob,
    FailRun,
    PauseJob,
    StartRun,
    SucceedRun,
    UpdateJob,
    Wake,
)
from shared.domain.events import Failure
from shared.eventlog import once
from shared.eventlog.envelope import Context, rfc3339
from shared.readmodel import archive
from shared.recovery import recorded
from shared.testing import TESTER, a_spec, wait_until

from .api_stage import stage_on

NOBODY = "01a20a7f-3775-8000-b406-3d54fdf57110"
HOUR = timedelta(hours=1)


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


class Work:
    """A job with an occurrence each minute, and an hour of them that has gone by."""

    def __init__(self, stage, job):
        self.stage, self.id = stage, job["id"]
        self.path = f"jobs/{self.id}/backfill"
        hour = stage.log.now().replace(minute=0, second=0, microsecond=0) - HOUR
        self.hour = [hour + timedelta(minutes=minute) for minute in range(60)]

    def body(self, count, **fields):
        """For the first `count` of them."""
        return {"from": rfc3339(self.hour[0]), "to": rfc3339(self.hour[count])} | fields

    async def ask(self, count, status=201, headers=None, **fields):
        body = self.body(count, **fields)
        return (await self.stage.ask("POST", self.path, json=body, headers=headers or {}, status=status)).json

    async def would(self, count, **fields):
        """The times that a dry run tells."""
        return (await self.ask(count, status=200, dry_run=True, **fields))["times"]

    async def does(self, ref, command):
        return await self.stage.deps.decider.decide(ref, command, TESTER)

    async def woken(self, backfill):
        """Wake it; the ids of the runs that it asks for."""
        changes = (await self.does(f"backfill:{backfill['id']}", Wake())).changes
        return [change.subject[4:] for change in changes if change.subject.startswith("run:")]

    async def starts(self, run_id):
        return await self.does(f"run:{run_id}", StartRun(worker="w"))

    async def reports(self, run_id, command, **fields):
        """Report as executors do: the cause is the start that is answered."""
        started = await self.starts(run_id)
        context = Context(actor="executor", cause=started.event_ids[-1])
        command = command(fence=started.after.fence, **fields)
        await self.stage.deps.decider.decide(f"run:{run_id}", command, context)

    async def succeeds(self, run_id):
        await self.reports(run_id, SucceedRun)

    async def fails(self, run_id):
        error = Failure(class_="OSError", message="no")
        await self.reports(run_id, FailRun, error=error, names=("OSError",), draw=0.5, give_up=True)

    async def now(self, backfill):
        await self.stage.level()
        return (await self.stage.ask("GET", f"backfills/{backfill['id']}", status=200)).json

    async def runs(self, **filters):
        query = {"sort": "scheduled_for", **filters}
        await self.stage.level()
        return (
            await self.stage.ask("GET", f"jobs/{self.id}/executions", query_string=query, status=200)
        ).json["items"]


@pytest.fixture
async def work(stage):
    return Work(stage, await stage.create(cron_expression="* * * * *"))


async def wrong(stage):
    """What an audit finds, by line."""
    await stage.level()
    await archive.record_deployment(stage.pool, partitions=stage.partitions, prefix=stage.prefix)
    found = await verify(stage.pool, stage.redis)
    return {line.name: line.first for line in found.lines if line.violations}


def times(hour):
    return [rfc3339(at) for at in hour]


async def test_it_runs_what_is_missing_and_tells_how_far_it_is(stage, work):
    made = await stage.ask("POST", work.path, json=work.body(4, max_parallel=2, reason="a night"), status=201)
    backfill = made.json
    assert made.headers["Location"] == f"/api/v1/backfills/{backfill['id']}"
    assert {name: backfill[name] for name in ("job_id", "status", "which", "total", "requested", "by")} == {
        "job_id": work.id, "status": "running", "which": "missing", "total": 4, "requested": 0, "by": "anonymous",
    }  # fmt: skip
    assert (backfill["from"], backfill["to"]) == (rfc3339(work.hour[0]), rfc3339(work.hour[4]))
    first, second = await work.woken(backfill)
    told = await work.now(backfill)
    assert (told["requested"], told["running"], told["succeeded"], told["failed"]) == (2, 2, 0, 0)
    await work.succeeds(first)
    await work.fails(second)
    third, fourth = await work.woken(backfill)
    await work.succeeds(third)
    await work.succeeds(fourth)
    told = await work.now(backfill)
    assert (told["status"], told["requested"], told["running"]) == ("completed", 4, 0)
    assert (told["succeeded"], told["failed"], told["reason"]) == (3, 1, "a night")
    assert told["finished_at"] is not None
    runs = await work.runs(trigger="backfill")
    assert [run["scheduled_for"] for run in runs] == times(work.hour[:4])
    assert {run["backfill"] for run in runs} == {backfill["id"]}
    assert [run["of"] for run in runs] == times(work.hour[:4])
    assert all(run["lateness_seconds"] < 60 for run in runs)  # from when it was asked for
    assert await work.runs(backfill=NOBODY) == []
    assert len(await work.runs(backfill=backfill["id"])) == 4
    listed = (await stage.ask("GET", f"jobs/{work.id}/backfills", status=200)).json
    assert (listed["items"], listed["total"]) == ([told], 1)
    assert await wrong(stage) == {}


async def test_a_dry_run_says_which_and_writes_nothing(stage, work):
    before = await stage.contents()
    told = await work.ask(50, status=200, dry_run=True)
    assert (told["total"], told["first"], told["last"]) == (50, *times((work.hour[0], work.hour[49])))
    assert told["times"] == times(work.hour[:50])
    assert await stage.contents() == before
    nothing = await work.ask(1, status=200, dry_run=True, which="failed")
    assert (nothing["total"], nothing["first"], nothing["last"]) == (0, None, None)


async def test_what_was_asked_for_counts_whoever_asked_and_whatever_became_of_it(stage, work):
    backfill = await work.ask(6, max_parallel=6)
    one, two, three, four, five, six = await work.woken(backfill)
    await work.succeeds(one)
    await work.fails(two)
    await work.does(f"run:{three}", CancelRun(by="ann"))
    await work.fails(four)
    retried = (await stage.ask("POST", f"executions/{four}/retry", status=201)).json["id"]
    await work.fails(five)
    again = (
        await stage.ask("POST", f"executions/{five}/retry", status=201, json={"overlap_policy": "allow"})
    ).json
    await work.succeeds(again["id"])
    assert await work.would(8) == times(work.hour[6:8])
    assert await work.would(8, which="failed") == times((work.hour[1], work.hour[2]))
    await work.fails(retried)
    assert await work.would(8, which="failed") == times((work.hour[1], work.hour[2], work.hour[3]))
    assert await work.would(8, which="all") == times(work.hour[:8])
    await work.succeeds(six)


async def test_a_second_one_of_a_job_is_refused_by_the_name_of_the_first(stage, work):
    first = await work.ask(2)
    refused = await work.ask(2, status=409)
    assert first["id"] in refused["detail"]
    assert refused["current"] == "running"
    assert await work.would(3) == times(work.hour[:3])
    both = await asyncio.gather(
        *(stage.ask("POST", f"backfills/{first['id']}/cancel", status=200) for _ in range(2))
    )
    assert {each.json["status"] for each in both} == {"cancelled"}
    raced = await asyncio.gather(*(stage.ask("POST", work.path, json=work.body(2)) for _ in range(4)))
    assert sorted(each.status for each in raced) == [201, 409, 409, 409]


async def test_a_cancelled_one_leaves_what_it_has_asked_for_and_another_takes_the_rest(stage, work):
    first = await work.ask(5, max_parallel=2)
    one, two = await work.woken(first)
    told = (
        await stage.ask("POST", f"backfills/{first['id']}/cancel", json={"reason": "enough"}, status=200)
    ).json
    assert (told["status"], told["running"]) == ("cancelled", 2)
    assert (told["cancel"]["by"], told["cancel"]["reason"]) == ("anonymous", "enough")
    second = await work.ask(5, max_parallel=5)
    assert second["total"] == 3
    await work.succeeds(one)
    await work.fails(two)
    told = await work.now(first)
    assert (told["status"], told["succeeded"], told["failed"], told["running"]) == ("cancelled", 1, 1, 0)
    for run in await work.woken(second):
        await work.succeeds(run)
    assert (await work.now(second))["status"] == "completed"
    again = await stage.ask("POST", f"backfills/{second['id']}/cancel", status=409)
    assert again.json["current"] == "completed"
    assert await wrong(stage) == {}


async def test_a_run_of_it_that_is_cancelled_is_what_that_request_is_about(stage, work):
    """Its end completes the backfill, in the same unit; the answer under the key is the execution still."""
    backfill = await work.ask(1)
    (run,) = await work.woken(backfill)
    headers = {"Idempotency-Key": "end"}
    await stage.ask("POST", f"executions/{run}/cancel", headers=headers, status=200)
    await stage.level()
    rows = await archive.events_after(stage.pool, ids.partition_of(run), 0, limit=1000)
    unit = [recorded(row) for row in rows][-3:]
    assert [event.type for event in unit] == ["BackfillAdvanced", "BackfillCompleted", "RunCancelled"]
    kept = [each for event in unit for each in once.of_event(event, now=stage.log.now())]
    assert kept[-1].answer == f"run:{run}"
    told = await work.now(backfill)
    assert (told["status"], told["failed"]) == ("completed", 1)


async def test_a_deleted_job_takes_its_backfill_with_it(stage, work):
    backfill = await work.ask(5)
    (run,) = await work.woken(backfill)
    await work.does(f"job:{work.id}", DeleteJob(by="ann"))
    assert await work.woken(backfill) == []
    await work.succeeds(run)
    told = await work.now(backfill)
    assert (told["status"], told["succeeded"]) == ("cancelled", 1)
    assert told["cancel"]["reason"] == "its job was deleted"
    assert (await stage.ask("POST", work.path, json=work.body(2))).status == 404
    assert await wrong(stage) == {}


async def test_what_the_schedule_is_still_to_decide_is_none_of_it(stage):
    """A timer that is late by a minute is no reason to run the minute twice."""
    work = Work(stage, await stage.create(interval_seconds=1))
    await wait_until(lambda: stage.log.now() - ids.time_of(work.id) > timedelta(seconds=1.2), "one is due")
    await stage.log.sync()
    body = {"from": rfc3339(ids.time_of(work.id) - HOUR), "dry_run": True}
    assert (await stage.ask("POST", work.path, json=body, status=200)).json["total"] == 0
    await work.does(f"job:{work.id}", Wake())
    assert (await stage.ask("POST", work.path, json=body | {"which": "all"}, status=200)).json["total"] > 0


async def test_an_edit_meanwhile_makes_it_look_again(stage, work, monkeypatch):
    found = owing.Owing.__call__
    edits = iter([a_spec(cron="*/2 * * * *")])

    async def overtaken(self, job, body):
        told = await found(self, job, body)
        if (spec := next(edits, None)) is not None:
            await work.does(f"job:{work.id}", UpdateJob(spec=spec))
        return told

    monkeypatch.setattr(owing.Owing, "__call__", overtaken)
    backfill = await work.ask(4)
    assert (backfill["total"], backfill["revision"]) == (2, 2)
    monkeypatch.setattr(backfills, "TRIES", 1)
    await stage.ask("POST", f"backfills/{backfill['id']}/cancel", status=200)
    edits = iter([a_spec(cron="*/3 * * * *")])
    await work.ask(4, status=412)


async def test_the_same_request_again_gets_the_same_backfill(stage, work):
    headers = {"Idempotency-Key": "once"}
    first = await work.ask(2, headers=headers)
    again = await stage.ask("POST", work.path, json=work.body(2), headers=headers, status=201)
    assert again.json == first
    assert again.headers["Idempotency-Replayed"] == "true"
    await stage.ask("POST", work.path, json=work.body(3), headers=headers, status=422)
    async for name in stage.redis.scan_iter(match=f"{stage.prefix}:*told*"):
        await stage.redis.delete(name)
    assert (await stage.ask("POST", work.path, json=work.body(2), headers=headers, status=201)).json == first


async def test_what_means_nothing_is_refused(stage, work, monkeypatch):
    def pointers(answer):
        return {fault["pointer"] for fault in answer["errors"]}

    ahead = rfc3339(stage.log.now() + HOUR)
    for body, pointer in (
        ({}, "#/from"),
        ({"from": None}, "#/from"),
        ({"from": "yesterday"}, "#/from"),
        ({"from": "1969-12-31T00:00:00Z"}, "#/from"),
        ({"from": ahead}, "#/from"),
        (work.body(1, to=rfc3339(work.hour[0])), "#/to"),
        (work.body(1, which="some"), "#/which"),
        (work.body(1, max_parallel=0), "#/max_parallel"),
        (work.body(1, max_parallel=101), "#/max_parallel"),
        (work.body(1, overlap_policy="allow"), "#/overlap_policy"),
    ):
        answer = await stage.ask("POST", work.path, json=body, status=422)
        assert pointer in pointers(answer.json), body
    assert (await stage.ask("POST", work.path, json=work.body(1) | {"to": ahead}, status=201)).json[
        "to"
    ] < ahead
    for path in (f"jobs/{NOBODY}/backfill", f"backfills/{NOBODY}/cancel"):
        await stage.ask(
            "POST", path, json={"from": rfc3339(work.hour[0])} if "jobs" in path else {}, status=404
        )
    for path in (f"jobs/{NOBODY}/backfills", f"backfills/{NOBODY}", "backfills/none"):
        await stage.ask("GET", path, status=404)
    monkeypatch.setattr(owing, "TIMES_MAX", 10)
    other = Work(stage, await stage.create(cron_expression="* * * * *"))
    assert "there are 11 such occurrences" in (await other.ask(11, status=422))["detail"]
    assert (await other.ask(11, status=200, dry_run=True))["total"] == 11
    monkeypatch.setattr(owing, "WALK_MAX", 10)
    assert "more than 10 occurrences" in (await other.ask(11, status=422, dry_run=True))["detail"]


async def test_it_waits_until_the_ledger_has_all_that_the_log_has(stage, work, monkeypatch):
    backfill = await work.ask(2)
    await stage.level()
    await stage.stop_projector()
    await work.woken(backfill)
    monkeypatch.setattr(owing, "LEVEL_S", 0.05)
    refused = await work.ask(2, status=503, dry_run=True)
    assert "where the log is" in refused["detail"]
    stage.start_projector()
    monkeypatch.setattr(owing, "LEVEL_S", 5.0)
    assert await work.would(2) == times(work.hour[1:2])


async def test_what_was_cleaned_up_or_was_not_to_run_is_not_taken_for_missing(stage, work):
    await stage.pool.execute(
        "insert into book.run_cuts (run_id, job_id, finished_before, statuses) values ('r', 'j', $1, '{succeeded}')",
        work.hour[1],
    )
    for which in ("missing", "failed"):
        assert "cleaned up" in (await work.ask(2, status=422, which=which, dry_run=True))["detail"]
    assert await work.would(2, which="all") == times(work.hour[:2])
    await stage.pool.execute("delete from book.run_cuts")
    await stage.pool.execute(
        "insert into book.events (partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr,"
        " trace, data, chain) values (0, 1, 1000000, 'x', 'OccurrencesSkipped', 3, $1, '', 'subject', now(), 'timer',"
        " '', '', '', $2, '')",
        f"job/{work.id}",
        f'{{"from":"{rfc3339(work.hour[1])}","to":"{rfc3339(work.hour[2])}","count":2,"reason":"calendar"}}',
    )
    assert await work.would(4) == times((work.hour[0], work.hour[3]))


async def test_it_does_what_the_request_says_instead_of_the_job_and_a_pause_is_no_matter(stage, work):
    await work.does(f"job:{work.id}", PauseJob(by="ann"))
    backfill = await work.ask(1, job_data={"parameters": {"n": 9}}, priority=9)
    (run,) = await work.woken(backfill)
    state = (await stage.log.load(f"run:{run}"))[f"run:{run}"].state
    assert state.spec.job_data == {"operation": "echo", "parameters": {"n": 9}}
    assert (state.spec.priority, state.follows) == (9, False)
    await work.succeeds(run)
    assert (await work.now(backfill))["status"] == "completed"
    await work.ask(1, status=422, which="all", job_data={"operation": "no such"})


async def test_what_is_run_again_may_be_run_again_once_more_and_nothing_is_completed_at_once(work):
    nothing = await work.ask(1, which="failed")
    assert (nothing["status"], nothing["total"], nothing["requested"]) == ("completed", 0, 0)
    assert (await work.now(nothing))["status"] == "completed"
    first = await work.ask(2, max_parallel=2)
    for run in await work.woken(first):
        await work.succeeds(run)
    second = await work.ask(2, which="all", max_parallel=2)
    runs = await work.woken(second)
    assert len(runs) == 2
    for run in runs:
        await work.fails(run)
    assert await work.would(2, which="failed") == times(work.hour[:2])
    assert (await work.now(second))["failed"] == 2
