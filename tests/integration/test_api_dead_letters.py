"""Dead letters: what ended badly is run again once, one or many, and told apart by what it failed of."""

import asyncio
from collections import Counter
from datetime import timedelta
from itertools import count

import pytest

from services.api import redrive
from services.api.archived import Fate
from services.projector.gauges import count_ledgers
from shared.domain import ids
from shared.domain.commands import CancelRun, FailRun, RetryRun, StartRun, SucceedRun, TriggerJob
from shared.domain.events import Failure
from shared.eventlog import once
from shared.eventlog.decider import Decider
from shared.eventlog.envelope import rfc3339
from shared.eventlog.writer import LogFull
from shared.metrics import Metrics
from shared.recovery import recorded
from shared.testing import TESTER, chance, wait_until

from .api_stage import JOB, stage_on

NOBODY = "01a20a7f-3775-8000-b406-3d54fdf57110"


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


async def _requested(stage, job_id):
    run_id = ids.chance_id(stage.log.now(), ids.partition_of(job_id), chance())
    command = TriggerJob(run_id=run_id, correlation_id="c", overlap_policy="allow")
    await stage.deps.decider.decide(f"job:{job_id}", command, TESTER)
    await wait_until(lambda: stage.log.now() > ids.time_of(run_id), "another ms: ids sort by theirs")
    return run_id


async def _failed(stage, job_id, message="no route to host 7", class_="OSError"):
    """A run that has failed for good."""
    run_id = await _requested(stage, job_id)
    started = await stage.deps.decider.decide(f"run:{run_id}", StartRun(worker="w"), TESTER)
    error = Failure(class_=class_, message=message)
    report = FailRun(fence=started.after.fence, error=error, names=(class_,), draw=0.5, give_up=True)
    await stage.deps.decider.decide(f"run:{run_id}", report, TESTER)
    return run_id


async def _ended(stage, run_id, how):
    decide = stage.deps.decider.decide
    if how == "cancelled":
        await decide(f"run:{run_id}", CancelRun(by="ann"), TESTER)
    else:
        fence = (await decide(f"run:{run_id}", StartRun(worker="w"), TESTER)).after.fence
        await decide(f"run:{run_id}", SucceedRun(fence=fence), TESTER)


async def _expired(stage, job_id):
    """A run that nobody has started within its second."""
    run_id = await _requested(stage, job_id)
    deadline = ids.time_of(run_id) + timedelta(seconds=1.1)
    await wait_until(lambda: stage.log.now() > deadline, "its deadline is over")
    ended = await stage.deps.decider.decide(f"run:{run_id}", StartRun(worker="w"), TESTER)
    assert ended.after.state.status == "expired"
    return run_id


async def _forgotten(stage, *run_ids):
    """The write model lets go of what has ended, as it does after a minute."""
    await stage.level()
    for run_id in run_ids:
        await stage.redis.delete(stage.log.keys(ids.partition_of(run_id)).aggregate(f"run:{run_id}"))


async def _retries_of(stage, run_id):
    await stage.level()
    return await stage.pool.fetch("select id, trigger, of from ledger.runs where of = $1", run_id)


# One.


@pytest.mark.parametrize("where", ["redis", "archive"])
async def test_a_failed_execution_is_run_again_as_it_was_to_run(stage, where):
    job = await stage.create(priority=3, max_retries=7)
    old = await _failed(stage, job["id"])
    other = {"name": "edited", "priority": 9, "job_data": {"operation": "echo", "parameters": {}}}
    await stage.ask("PUT", f"jobs/{job['id']}", json=JOB | other, status=200)
    if where == "archive":
        await _forgotten(stage, old)
    made = await stage.ask("POST", f"executions/{old}/retry", headers={"X-Request-ID": "again-1"}, status=201)
    assert made.headers["Location"] == f"/api/v1/executions/{made.json['id']}"
    seen = await stage.ask(
        "GET", f"executions/{made.json['id']}?min_position={made.headers['Daybook-Position']}", status=200
    )
    assert seen.json == made.json
    assert {name: made.json[name] for name in ("of", "trigger", "status", "revision", "correlation_id")} == {
        "of": old, "trigger": "retry", "status": "queued", "revision": 1, "correlation_id": "again-1",
    }  # fmt: skip
    before = (await stage.ask("GET", f"executions/{old}")).json
    same = ("job_id", "job_name", "priority", "max_attempts", "scheduled_for", "revision")
    assert {name: made.json[name] for name in same} == {name: before[name] for name in same}
    assert made.json["fires_at"] > made.json["scheduled_for"]
    assert before["status"] == "failed"
    data = (await stage.ask("GET", f"jobs/{job['id']}/events")).json["items"][0]["data"]
    assert data["spec"]["job_data"] == {"operation": "echo", "parameters": {"n": 1}}


async def test_a_retry_may_change_data_and_priority_and_the_types_model_checks_them(stage):
    job = await stage.create()
    old = await _failed(stage, job["id"])
    path = f"executions/{old}/retry"
    refused = await stage.ask("POST", path, json={"job_data": {"operation": "dance"}}, status=422)
    assert refused.json["errors"][0]["pointer"] == "#/job_data/operation"
    assert (await stage.ask("POST", path, json={"colour": 1}, status=422)).json["errors"][0][
        "pointer"
    ] == "#/colour"
    body = {"job_data": {"parameters": {"n": 2}}, "priority": 9}
    made = await stage.ask("POST", path, json=body, status=201)
    assert made.json["priority"] == 9
    data = (await stage.ask("GET", f"jobs/{job['id']}/events")).json["items"][0]["data"]
    assert data["spec"]["job_data"] == {"operation": "echo", "parameters": {"n": 2}}


@pytest.mark.parametrize("how", ["cancelled", "expired"])
async def test_what_was_cancelled_or_expired_may_be_run_again(stage, how):
    job = await stage.create(start_deadline_seconds=1)
    if how == "expired":
        old = await _expired(stage, job["id"])
    else:
        old = await _requested(stage, job["id"])
        await _ended(stage, old, how)
    made = await stage.ask("POST", f"executions/{old}/retry", status=201)
    assert (made.json["of"], made.json["status"]) == (old, "queued")


@pytest.mark.parametrize("where", ["redis", "archive"])
async def test_what_succeeded_or_has_not_ended_is_not_retried(stage, where):
    job = await stage.create()
    run = await _requested(stage, job["id"])
    refused = await stage.ask("POST", f"executions/{run}/retry", status=409)
    assert (refused.json["current"], "wait until it has ended" in refused.json["detail"]) == ("queued", True)
    await _ended(stage, run, "succeeded")
    if where == "archive":
        await _forgotten(stage, run)
    before = await stage.contents()
    refused = await stage.ask("POST", f"executions/{run}/retry", status=409)
    assert (refused.json["current"], "trigger its job" in refused.json["detail"]) == ("succeeded", True)
    await stage.ask("POST", f"executions/{NOBODY}/retry", status=404)
    assert await stage.contents() == before


async def test_an_end_that_the_archive_has_not_heard_of_is_not_guessed(stage):
    job = await stage.create()
    run = await _requested(stage, job["id"])
    await stage.level()
    await stage.stop_projector()
    await _ended(stage, run, "cancelled")
    await stage.redis.delete(stage.log.keys(ids.partition_of(run)).aggregate(f"run:{run}"))
    late = await stage.ask("POST", f"executions/{run}/retry", status=503)
    assert late.headers["Retry-After"]
    stage.start_projector()
    await stage.level()
    await stage.ask("POST", f"executions/{run}/retry", status=201)


async def test_an_execution_of_a_deleted_job_is_not_run_again(stage):
    job = await stage.create()
    old = await _failed(stage, job["id"])
    await stage.ask("DELETE", f"jobs/{job['id']}", status=204)
    refused = await stage.ask("POST", f"executions/{old}/retry", status=409)
    assert (refused.json["current"], "was deleted" in refused.json["detail"]) == ("deleted", True)


async def test_a_retry_beside_an_active_run_needs_leave_and_leaves_a_pause_alone(stage):
    job = await stage.create(interval_seconds=3600)
    old = await _failed(stage, job["id"])
    await stage.ask("POST", f"jobs/{job['id']}/pause", status=200)
    await _requested(stage, job["id"])
    path = f"executions/{old}/retry"
    assert (await stage.ask("POST", path, status=409)).json["current"] == "running"
    await stage.ask("POST", path, json={"overlap_policy": "allow"}, status=201)
    assert (await stage.ask("GET", f"jobs/{job['id']}")).json["status"] == "paused"


@pytest.mark.parametrize("overlap", ["skip", "allow"])
@pytest.mark.parametrize("where", ["redis", "archive"])
async def test_two_retries_at_once_and_a_repeated_one_are_the_same_execution(stage, where, overlap):
    job = await stage.create(overlap_policy=overlap)
    old = await _failed(stage, job["id"])
    if where == "archive":
        await _forgotten(stage, old)
    path = f"executions/{old}/retry"
    both = await asyncio.gather(*(stage.ask("POST", path) for _ in range(6)))
    assert Counter(each.status for each in both) == {201: 1, 200: 5}
    assert {each.json["id"] for each in both} == {both[0].json["id"]}
    assert all(each.headers["Daybook-Position"] for each in both)
    again = await stage.ask("POST", path, json={"priority": 9}, status=200)
    assert again.json == both[0].json
    assert len(await _retries_of(stage, old)) == 1


async def test_a_repeated_retry_shows_how_far_it_has_come(stage):
    job = await stage.create()
    old = await _failed(stage, job["id"])
    retry = (await stage.ask("POST", f"executions/{old}/retry", status=201)).json
    await _ended(stage, retry["id"], "succeeded")
    await stage.level()
    again = (await stage.ask("POST", f"executions/{old}/retry", status=200)).json
    assert (again["id"], again["status"], again["of"]) == (retry["id"], "succeeded", old)


async def test_a_run_is_retried_once_when_its_answer_is_kept_no_longer(stage):
    job = await stage.create()
    old = await _failed(stage, job["id"])
    retry = (await stage.ask("POST", f"executions/{old}/retry", status=201)).json
    await _ended(stage, retry["id"], "cancelled")
    digest = once.of_retry(old, answer="").digest
    assert await stage.redis.delete(stage.log.keys(ids.partition_of(old)).once(digest)) == 1
    await _forgotten(stage, old)
    again = await stage.ask("POST", f"executions/{old}/retry", status=200)
    assert (again.json["id"], again.json["status"]) == (retry["id"], "cancelled")
    assert again.headers["Daybook-Position"]
    newest = await stage.ask("POST", f"executions/{retry['id']}/retry", status=201)
    assert newest.json["of"] == retry["id"]


async def test_a_retry_while_the_archive_lags_is_written_and_is_the_same_when_repeated(stage):
    job = await stage.create()
    old = await _failed(stage, job["id"])
    await stage.level()
    await stage.stop_projector()
    later = {"headers": {"Prefer": "respond-async"}, "status": 202}
    first = await stage.ask("POST", f"executions/{old}/retry", **later)
    again = await stage.ask("POST", f"executions/{old}/retry", **later)
    assert again.json == first.json
    assert again.headers["Location"] == first.headers["Location"] == f"/api/v1/executions/{first.json['id']}"
    stage.start_projector()
    await stage.level()
    assert (await stage.ask("GET", f"executions/{first.json['id']}", status=200)).json == first.json


async def test_the_archived_request_of_a_retry_tells_what_its_commit_kept(stage):
    job = await stage.create()
    old = await _failed(stage, job["id"])
    retry = (await stage.ask("POST", f"executions/{old}/retry", status=201)).json
    row = await stage.pool.fetchrow(
        "select partition, epoch, pos, id, type, v, subject, job, advances, at, actor, cause, corr, trace, data"
        " from book.events where subject = $1 and type = 'RunRequested'", f"run/{retry['id']}",
    )  # fmt: skip
    event = recorded(row)
    rebuilt = once.of_change(event.change(), now=stage.log.now())
    kept = await stage.log.answered(event.partition, rebuilt.digest)
    assert (kept.fingerprint, kept.answer, kept.position) == (
        rebuilt.fingerprint, rebuilt.answer, event.position,
    )  # fmt: skip
    left_ms = await stage.redis.pttl(stage.log.keys(event.partition).once(rebuilt.digest))
    assert abs(left_ms - rebuilt.ttl_ms) < 1_000


# Many.


async def _redriven(stage, status=200, **body):
    return await stage.ask("POST", "executions/redrive", json=body, status=status)


async def _letters(stage, jobs=3, each=2, **spec):
    """Jobs, and failed runs of them, oldest first."""
    made = [await stage.create(name=f"job {n}", **spec) for n in range(jobs)]
    letters = [await _failed(stage, job["id"]) for _ in range(each) for job in made]
    await stage.level()
    return made, letters


async def test_a_dry_run_says_what_would_be_run_again_and_writes_nothing(stage):
    _, letters = await _letters(stage)
    before = await stage.contents()
    told = (await _redriven(stage, dry_run=True, limit=4)).json
    assert told == {
        "matched": 6, "total_is_capped": False, "retried": [{"of": of, "id": None} for of in letters[:4]],
        "refused": [], "more": True, "dry_run": True,
    }  # fmt: skip
    assert await stage.contents() == before


@pytest.mark.parametrize("overlap", ["skip", "allow"])
async def test_all_dead_letters_are_run_again_and_read_after_the_position_of_the_answer(stage, overlap):
    await stage.create()
    _, letters = await _letters(stage, jobs=4, overlap_policy=overlap)
    done = await _redriven(stage, overlap_policy="allow")
    assert [each["of"] for each in done.json["retried"]] == letters
    assert (done.json["matched"], done.json["refused"], done.json["more"]) == (8, [], False)
    places = done.headers["Daybook-Position"]
    partitions = {ids.partition_of(run_id) for run_id in letters}
    assert {int(place.split(":")[0]) for place in places.split(",")} == partitions
    listed = await stage.ask("GET", f"executions?status=queued&min_position={places}", status=200)
    assert {each["id"]: each["of"] for each in listed.json["items"]} == {
        each["id"]: each["of"] for each in done.json["retried"]
    }
    again = await _redriven(stage)
    assert (again.json["matched"], again.json["retried"], again.json["more"]) == (0, [], False)
    assert "Daybook-Position" not in again.headers


async def test_the_position_of_a_redrive_is_of_each_partitions_last_event(stage):
    _, letters = await _letters(stage, jobs=4, overlap_policy="allow")
    await stage.stop_projector()
    done = await stage.ask(
        "POST", "executions/redrive", json={}, headers={"Prefer": "respond-async"}, status=202
    )
    tails = {
        f"{p}:{(await stage.redis.xrevrange(stage.log.keys(p).log, count=1))[0][0].decode()}"
        for p in {ids.partition_of(run_id) for run_id in letters}
    }
    assert set(done.headers["Daybook-Position"].split(",")) == tails
    stage.start_projector()


async def test_a_redrive_goes_on_where_another_one_or_a_single_retry_has_stopped(stage):
    _, letters = await _letters(stage, overlap_policy="allow")
    single = (await stage.ask("POST", f"executions/{letters[0]}/retry", status=201)).json
    first = (await _redriven(stage, limit=2)).json
    assert [each["of"] for each in first["retried"]] == letters[1:3]
    assert (first["matched"], first["more"]) == (5, True)
    rest = (await _redriven(stage)).json
    assert [each["of"] for each in rest["retried"]] == letters[3:]
    # What the archive doesn't know yet, the log does: nothing is run twice.
    await stage.pool.execute("update ledger.runs set of = null")
    known = {each["of"]: each["id"] for each in first["retried"] + rest["retried"]} | {
        letters[0]: single["id"]
    }
    again = (await _redriven(stage)).json
    assert {each["of"]: each["id"] for each in again["retried"]} == known
    assert await stage.pool.fetchval("select count(*) from ledger.runs where trigger = 'retry'") == 6


async def test_two_redrives_at_once_make_one_retry_each(stage):
    _, letters = await _letters(stage)
    both = await asyncio.gather(*(_redriven(stage, overlap_policy="allow") for _ in range(3)))
    for done in both:
        assert {each["of"] for each in done.json["retried"]} <= set(letters)
    ids_of = {(each["of"], each["id"]) for done in both for each in done.json["retried"]}
    assert len(ids_of) == len(letters)
    for letter in letters:
        assert len(await _retries_of(stage, letter)) == 1


async def test_what_is_refused_says_why_and_does_not_use_up_the_limit(stage):
    made, letters = await _letters(stage, jobs=2, each=2)
    other = await _failed(stage, (await stage.create())["id"])
    await stage.level()
    done = (await _redriven(stage, limit=3)).json
    assert [each["of"] for each in done["retried"]] == [letters[0], letters[1], other]
    assert [each["of"] for each in done["refused"]] == letters[2:]
    assert all("overlap_policy" in each["detail"] for each in done["refused"])
    assert (done["matched"], done["more"]) == (5, False)
    assert made


async def test_a_redrive_looks_at_so_many_and_says_that_there_are_more(stage, monkeypatch):
    monkeypatch.setattr(redrive, "LOOKED_MAX", 3)
    monkeypatch.setattr(redrive, "CHUNK", 2)
    _, letters = await _letters(stage, jobs=1, each=5)
    done = (await _redriven(stage)).json
    assert [each["of"] for each in done["retried"]] == letters[:1]
    assert [each["of"] for each in done["refused"]] == letters[1:3]
    assert (done["matched"], done["more"]) == (5, True)


async def test_a_redrive_takes_no_more_in_hand_when_its_time_is_over(stage, monkeypatch):
    monkeypatch.setattr(redrive, "BEGIN_S", 0)
    await _letters(stage, jobs=1, each=1)
    done = (await _redriven(stage)).json
    assert (done["retried"], done["refused"], done["matched"], done["more"]) == ([], [], 1, True)


async def test_a_redrive_that_broke_half_way_goes_on_when_it_is_repeated(stage, monkeypatch):
    _, letters = await _letters(stage, jobs=4, each=2)
    decide, asked = Decider.decide, count(1)

    async def no_room(self, ref, command, *rest, **options):
        if isinstance(command, RetryRun) and next(asked) > 3:
            raise LogFull("Redis is out of memory")
        return await decide(self, ref, command, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Decider, "decide", no_room)
        refused = await _redriven(stage, status=503, overlap_policy="allow")
    assert (refused.json["type"], refused.headers["Retry-After"]) == ("/problems/log-full", "5")
    await stage.level()
    written = await stage.pool.fetch("select of from ledger.runs where trigger = 'retry'")
    assert len(written) == 3
    rest = (await _redriven(stage, overlap_policy="allow")).json
    assert {each["of"] for each in rest["retried"]} == set(letters) - {row["of"] for row in written}
    for letter in letters:
        assert len(await _retries_of(stage, letter)) == 1


async def test_a_redrive_whose_log_was_opened_anew_without_it_is_not_acknowledged(stage, monkeypatch):
    _, letters = await _letters(stage, jobs=2, each=1)
    fate, lost = type(stage.deps.archive).fate, [Fate.LOST]

    async def without_one(self, *asked):
        return lost.pop() if lost else await fate(self, *asked)

    monkeypatch.setattr(type(stage.deps.archive), "fate", without_one)
    await _redriven(stage, status=503)
    for letter in letters:
        assert len(await _retries_of(stage, letter)) == 1
    assert (await _redriven(stage)).json["matched"] == 0


async def test_letters_of_a_deleted_job_stand_in_nobodys_way(stage):
    made, letters = await _letters(stage, jobs=2, each=1)
    await stage.ask("DELETE", f"jobs/{made[0]['id']}", status=204)
    done = (await _redriven(stage)).json
    assert ([each["of"] for each in done["retried"]], done["refused"], done["matched"]) == (
        letters[1:],
        [],
        1,
    )


async def test_a_job_deleted_meanwhile_refuses_its_letters_and_no_others(stage):
    made, letters = await _letters(stage, jobs=2, each=1)
    await stage.ask("DELETE", f"jobs/{made[0]['id']}", status=204)
    await stage.pool.execute("update ledger.jobs set status = 'pending' where id = $1", made[0]["id"])
    done = (await _redriven(stage)).json
    assert [each["of"] for each in done["retried"]] == letters[1:]
    assert [(each["of"], "was deleted" in each["detail"]) for each in done["refused"]] == [(letters[0], True)]


async def test_a_redrive_takes_only_what_fits_the_filter(stage):
    first = await stage.create(queue="slow", overlap_policy="allow")
    second = await stage.create(overlap_policy="allow")
    slow = await _failed(stage, first["id"], "timed out after 7 s", "TimeoutError")
    fast = await _failed(stage, second["id"], "no such file 'a'", "OSError")
    other = await _failed(stage, second["id"], "disk full", "OSError")
    cancelled = await _requested(stage, second["id"])
    await _ended(stage, cancelled, "cancelled")
    await stage.level()
    at = {
        str(row["id"]): row
        for row in await stage.pool.fetch("select id, finished_at, error_fingerprint from ledger.runs")
    }
    for given, expected in (
        ({}, [slow, fast, other]),
        ({"status": "cancelled"}, [cancelled]),
        ({"status": "expired"}, []),
        ({"job_id": first["id"]}, [slow]),
        ({"job_type": "custom", "queue": "default"}, [fast, other]),
        ({"job_type": "cleanup_task"}, []),
        ({"error_class": "OSError"}, [fast, other]),
        ({"error_fingerprint": at[fast]["error_fingerprint"]}, [fast]),
        ({"finished_after": rfc3339(at[fast]["finished_at"])}, [fast, other]),
        ({"finished_before": rfc3339(at[fast]["finished_at"])}, [slow]),
    ):
        told = (await _redriven(stage, filter=given, dry_run=True)).json
        assert [each["of"] for each in told["retried"]] == expected, given
        assert told["matched"] == len(expected), given
    done = (await _redriven(stage, filter={"status": "cancelled"})).json
    assert [each["of"] for each in done["retried"]] == [cancelled]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"filter": {"status": "succeeded"}}, "#/filter/status"),
        ({"filter": {"job_id": "x"}}, "#/filter/job_id"),
        ({"filter": {"error_fingerprint": "xyz"}}, "#/filter/error_fingerprint"),
        ({"filter": {"finished_after": "yesterday"}}, "#/filter/finished_after"),
        ({"filter": {"finished_before": "9999-12-31T23:59:59-23:00"}}, "#/filter/finished_before"),
        ({"filter": {"colour": 1}}, "#/filter/colour"),
        ({"limit": 0}, "#/limit"),
        ({"limit": 1001}, "#/limit"),
        ({"dry_run": 1}, "#/dry_run"),
        ({"overlap_policy": "never"}, "#/overlap_policy"),
        ({"all": True}, "#/all"),
    ],
)  # fmt: skip
async def test_a_redrive_that_is_not_understood_is_refused(stage, body, pointer):
    refused = await _redriven(stage, status=422, **body)
    assert [each["pointer"] for each in refused.json["errors"]] == [pointer]
    await stage.ask("POST", "executions/redrive", status=415)


# By what they failed of.


async def test_errors_are_grouped_by_class_and_by_what_is_alike_in_their_messages(stage):
    one = await stage.create(overlap_policy="allow")
    two = await stage.create(overlap_policy="allow")
    runs = [
        await _failed(stage, one["id"], "no route to host 7"),
        await _failed(stage, two["id"], "no route to host 12"),
        await _failed(stage, one["id"], "no route to host 3"),
        await _failed(stage, one["id"], "no route to host 3", "TimeoutError"),
    ]
    await _requested(stage, one["id"])
    await stage.ask("POST", f"executions/{runs[0]}/retry", status=201)
    items = (await stage.ask("GET", "stats/errors", status=200)).json["items"]
    seen = [(await stage.ask("GET", f"executions/{run_id}")).json for run_id in runs]
    prints = [each.pop("fingerprint") for each in items]
    assert items == [
        {
            "error_class": "OSError", "count": 3, "retried": 1, "jobs": 2, "sample": "no route to host 3",
            "first_at": seen[0]["finished_at"], "last_at": seen[2]["finished_at"], "last_execution_id": runs[2],
        },
        {
            "error_class": "TimeoutError", "count": 1, "retried": 0, "jobs": 1, "sample": "no route to host 3",
            "first_at": seen[3]["finished_at"], "last_at": seen[3]["finished_at"], "last_execution_id": runs[3],
        },
    ]  # fmt: skip
    assert len(set(prints)) == 2

    async def counts(query):
        return [
            each["count"]
            for each in (await stage.ask("GET", f"stats/errors?{query}", status=200)).json["items"]
        ]

    assert await counts("limit=1") == [3]
    assert await counts(f"job_id={two['id']}") == [1]
    assert await counts("job_type=cleanup_task") == []
    assert await counts(f"from={seen[2]['finished_at']}") == [1, 1]
    assert await counts(f"to={seen[2]['finished_at']}") == [2]
    listed = (
        await stage.ask("GET", f"executions?status=failed&error_fingerprint={prints[0]}", status=200)
    ).json
    assert {each["id"] for each in listed["items"]} == set(runs[:3])
    listed = (await stage.ask("GET", "executions?error_class=TimeoutError", status=200)).json
    assert ([each["id"] for each in listed["items"]], listed["total"]) == ([runs[3]], 1)


@pytest.mark.parametrize(
    "query",
    ["limit=201", "from=now", "to=2026-01-01", "job_id=x", "page=1", "from=9999-12-31T23:59:59-23:00"],
)
async def test_a_question_about_errors_that_is_not_understood_is_refused(stage, query):
    refused = await stage.ask("GET", f"stats/errors?{query}", status=422)
    assert refused.json["errors"][0]["pointer"] == "?" + query.split("=")[0]


async def test_a_dead_letter_that_was_run_again_waits_for_nobody(stage):
    _, letters = await _letters(stage, jobs=2)
    metrics = Metrics()

    async def waiting():
        await count_ledgers(metrics, stage.pool, range(stage.partitions))
        return metrics.registry.get_sample_value("daybook_dead_letters")

    assert await waiting() == 4
    retry = (await stage.ask("POST", f"executions/{letters[0]}/retry", status=201)).json
    assert await waiting() == 3
    started = await stage.deps.decider.decide(f"run:{retry['id']}", StartRun(worker="w"), TESTER)
    error = Failure(class_="OSError", message="again")
    report = FailRun(fence=started.after.fence, error=error, names=("OSError",), draw=0.5, give_up=True)
    await stage.deps.decider.decide(f"run:{retry['id']}", report, TESTER)
    await stage.level()
    assert await waiting() == 4  # the retry is a dead letter of its own
