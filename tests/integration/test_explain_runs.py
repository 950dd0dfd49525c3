"""Why an execution came, waited and ended as it did: each reason provoked, and told by its code and its events."""

from datetime import timedelta

import pytest

from services.api.explaining import reading
from services.api.explaining.codes import Code
from shared.domain.commands import CancelRun, FailRun, InterruptRun, StartRun, SucceedRun
from shared.domain.events import Failure
from tests.integration.era_kit import an_era, shifted_valkey

NEVER = {"max_retries": 0}


@pytest.fixture(scope="module")
def then(tmp_path_factory):
    server, clock = shifted_valkey(tmp_path_factory.mktemp("era"))
    with server:
        yield server, clock


@pytest.fixture
async def era(then, postgres, tmp_path):
    async with an_era(postgres, tmp_path, *then, "2026-03-02T08:00:00") as made:
        yield made


async def triggered(era, job, **body):
    return (await era.asks("POST", f"jobs/{job['id']}/trigger", 201, **body))["id"]


async def started(era, run, worker="w1"):
    """A worker's; its fence."""
    return (await era.tells(f"run:{run}", StartRun(worker=worker))).after.fence


def failed(fence, message="nobody answers", **more):
    error = Failure(class_="ConnectionError", message=message)
    return FailRun(fence=fence, error=error, names=("ConnectionError",), draw=0.5, **more)


async def test_it_was_asked_for_by_somebody_failed_was_tried_again_and_given_up(era):
    job = await era.creates(max_retries=1)
    run = await triggered(era, job)
    await era.tells(f"run:{run}", failed(await started(era, run, "w1")))
    planned = await era.event(job, "RunRetryPlanned")
    told = await era.explains_run(run)
    told.says(Code.TRIGGERED, await era.event(job, "RunRequested"), by="anonymous", run_id=run)
    told.says(Code.STARTED, await era.event(job, "RunStarted"), worker="w1", attempt=1)
    told.says(Code.ATTEMPT_FAILED, planned, error="ConnectionError", delay_seconds=1.0)
    assert "attempt 1 failed: ConnectionError: nobody answers; the next one in 1 s" in told.summary
    await era.passes(timedelta(seconds=2))
    async with era.timer():
        await era.comes(job, "RunQueued")
    (await era.explains_run(run)).says(Code.QUEUED_AGAIN, await era.event(job, "RunQueued"), reason="retry")
    await era.tells(f"run:{run}", failed(await started(era, run, "w2")))
    told = await era.explains_run(run)
    told.says(Code.RETRIES_USED_UP, await era.event(job, "RunFailed"), attempt=2, max_attempts=2)
    again = (await era.asks("POST", f"executions/{run}/retry", 201))["id"]
    await era.tells(f"run:{again}", failed(await started(era, again), give_up=True))
    told = await era.explains_run(again)
    told.says(
        Code.RETRIED, await era.event(job, "RunFailed", run=run), await era.event(job, "RunRequested"), of=run
    )
    told.says(Code.GIVEN_UP, await era.event(job, "RunFailed", run=again), error="ConnectionError")
    sealed = await triggered(era, job)
    await era.tells(f"run:{sealed}", failed(await started(era, sealed), '{"$personal":"AXc"}', give_up=True))
    assert "failed at" in (summary := (await era.explains_run(sealed)).summary)
    assert "ConnectionError; that is not retried" in summary, "what is sealed isn't told"
    told = await era.explains(job)
    told.says(Code.LAST_RUN, await era.event(job, "RunFailed", run=sealed), run_id=sealed, outcome="failed")


async def test_its_workers_were_lost_or_stopped(era):
    job = await era.creates(max_lost=2)
    run = await triggered(era, job)
    for attempt in (1, 2):
        fence = await started(era, run, f"w{attempt}")
        if attempt == 1:
            running = await era.explains_run(run)
            running.says(Code.RUNNING, await era.event(job, "RunStarted"), worker="w1", attempt=1)
            (await era.explains(job)).says(Code.ACTIVE, await era.event(job, "RunRequested"), run_id=run)
        await era.passes(timedelta(seconds=20))  # nobody beats for it
        async with era.timer():
            await era.comes(job, "RunLost", attempt)
    told = await era.explains_run(run)
    told.says(Code.WORKER_LOST, (await era.events(job, "RunLost"))[0], worker="w1", attempt=1)
    told.says(Code.QUEUED_AGAIN, await era.event(job, "RunQueued"), reason="lost")
    told.says(Code.POISON, await era.event(job, "RunFailed"), lost=2, error="WorkerLost")
    other = await triggered(era, job)
    fence = await started(era, other)
    await era.tells(f"run:{other}", InterruptRun(fence=fence))
    told = await era.explains_run(other)
    told.says(Code.INTERRUPTED, await era.event(job, "RunInterrupted"), worker="w1")
    told.says(Code.QUEUED_AGAIN, await era.event(job, "RunQueued", run=other), reason="interrupted")


async def test_somebody_cancelled_it_or_nobody_started_it_in_time(era):
    job = await era.creates(overlap_policy="allow")
    waiting, running = await triggered(era, job), await triggered(era, job)
    await era.asks("POST", f"executions/{waiting}/cancel", reason="not needed")
    told = await era.explains_run(waiting)
    told.says(Code.CANCELLED, await era.event(job, "RunCancelled"), by="anonymous", reason="not needed")
    assert "cancelled by anonymous at 08:0" in told.summary
    assert told.summary.endswith(' "not needed".')
    fence = await started(era, running)
    await era.tells(f"run:{running}", CancelRun(by="bob", reason="too long"), actor="bob")
    await era.tells(f"run:{running}", InterruptRun(fence=fence))
    told = await era.explains_run(running)
    told.says(Code.CANCEL_REQUESTED, await era.event(job, "RunCancelRequested"), by="bob", reason="too long")
    told.says(Code.CANCELLED, await era.event(job, "RunCancelled", run=running), by="bob")
    hurried = await era.creates(start_deadline_seconds=30)
    run = await triggered(era, hurried)
    await era.passes(timedelta(seconds=31))
    async with era.timer():
        expired = await era.comes(hurried, "RunExpired")
    told = await era.explains_run(run)
    told.says(Code.START_DEADLINE, expired)
    told.says(Code.NO_EXECUTOR, await era.event(hurried, "RunRequested"), queue="default")


async def test_it_waited_for_other_runs_of_its_job(era):
    job = await era.creates(overlap_policy="queue_all")
    first, second = await triggered(era, job), await triggered(era, job)
    held = await era.event(job, "RunRequested", run=second)
    told = await era.explains_run(second)
    told.says(Code.HELD_BY_OVERLAP, held, behind=[first])
    await era.tells(f"run:{first}", SucceedRun(fence=await started(era, first), result=None))
    told = await era.explains_run(second)
    told.says(Code.RELEASED, await era.event(job, "RunQueued", run=second))
    newest = await triggered(era, job, overlap_policy="replace")
    told = await era.explains_run(second)
    told.says(Code.REPLACED, await era.event(job, "RunCancelRequested", run=second), run_id=newest)


async def test_it_waited_for_a_limit(era):
    key = {"concurrency_key": "the crane", "overlap_policy": "allow"}
    job = await era.creates(job_data={"operation": "sleep", "parameters": {"seconds": 0.5}}, **key)
    async with era.executor(name="w1"):
        one, other = await triggered(era, job), await triggered(era, job)
        await era.comes(job, "RunSucceeded", 2)
    run = other if await era.events(job, "RunHeld", run=other) else one
    told = await era.explains_run(run)
    held = await era.events(job, "RunHeld", run=run)
    told.says(Code.HELD_BY_CONCURRENCY, held[0], key="the crane")
    released = await era.events(job, "RunQueued", run=run)
    told.says(Code.RELEASED, released[0], reason="released")
    assert "the crane had room" in told.of(Code.RELEASED)["sentence"]


async def test_it_waited_for_the_rate_of_its_type(era):
    job = await era.creates(overlap_policy="allow")
    async with era.executor(name="w1", type_rates="custom=1/m"), era.timer():
        runs = [await triggered(era, job) for _ in range(3)]
        held = await era.comes(job, "RunHeld")
    told = await era.explains_run(held.subject.removeprefix("run/"))
    told.says(Code.HELD_BY_RATE, held, key="custom")
    assert held.subject.removeprefix("run/") in runs


async def test_it_waited_in_its_queue(era):
    job = await era.creates(overlap_policy="allow", queue="few")
    nobody = await era.creates(queue="gpu")
    first, behind = [await triggered(era, job) for _ in range(3)], await triggered(era, job, priority=1)
    lonely = await triggered(era, nobody)
    await era.passes(timedelta(seconds=2))
    for run in first:
        await era.tells(f"run:{run}", SucceedRun(fence=await started(era, run), result=None))
    starts = await era.events(job, "RunStarted")
    queued = await era.event(job, "RunRequested", run=behind)
    told = await era.explains_run(behind)
    told.says(Code.IN_QUEUE, queued, *starts, queue="few", priority=1, started_meanwhile=3)
    await era.passes(timedelta(seconds=10))
    await started(era, behind)
    told = await era.explains_run(behind)
    told.says(Code.QUEUED_BEHIND, queued, *starts, runs=3, queue="few")
    assert "queued behind 3 runs of queue few" in told.of(Code.QUEUED_BEHIND)["sentence"]
    assert Code.NO_EXECUTOR not in told.codes
    busy = await era.explains_run(await triggered(era, job))
    busy.says(Code.IN_QUEUE, await era.event(job, "RunRequested"), at_work=1)
    told = await era.explains_run(lonely)
    told.says(Code.NO_EXECUTOR, await era.event(nobody, "RunRequested"), queue="gpu")
    told.says(Code.IN_QUEUE, await era.event(nobody, "RunRequested"), started_meanwhile=0)


async def test_of_runs_that_retention_has_deleted_it_is_not_said_that_there_were_none(era):
    """Their events say that somebody was at work; of which queue, only the ledger could have told."""
    job = await era.creates(overlap_policy="allow", queue="few")
    other, waiting = await triggered(era, job), await triggered(era, job)
    await era.passes(timedelta(seconds=2))
    await era.tells(f"run:{other}", SucceedRun(fence=await started(era, other), result=None))
    await era.passes(timedelta(seconds=10))
    await started(era, waiting)
    assert "queued_behind" in (await era.explains_run(waiting)).codes
    await era.stage.pool.execute("delete from ledger.runs where id = $1", other)
    told = await era.explains_run(waiting)
    assert told.codes == ["triggered", "started", "running"]


async def test_of_what_happened_meanwhile_only_the_beginning_is_read(era, monkeypatch):
    """It may have waited for days beside others; more is not claimed than was seen."""
    monkeypatch.setattr(reading, "SIGNS", 2)
    monkeypatch.setattr(reading, "SIGNS_MIN", 1)
    job = await era.creates(overlap_policy="allow", queue="few")
    waiting = await triggered(era, job, priority=1)
    lonely = await triggered(era, job)
    await era.passes(timedelta(seconds=10))
    assert Code.NO_EXECUTOR in (await era.explains_run(lonely)).codes
    for _ in range(reading.AMONG + 1):
        await triggered(era, job)
    await era.tells(f"run:{lonely}", SucceedRun(fence=await started(era, lonely), result=None))
    told = await era.explains_run(waiting)
    assert told.codes == ["triggered", "in_queue"], "somebody may have been there"
    told.says(Code.IN_QUEUE, await era.event(job, "RunRequested", run=waiting), started_meanwhile=0)


async def test_a_chain_or_a_backfill_asked_for_it(era):
    follower, paused = await era.creates(), await era.creates(cron_expression="0 9 * * *")
    await era.asks("POST", f"jobs/{paused['id']}/pause")
    leader = await era.creates(on_success=[follower["id"], paused["id"]])
    run = await triggered(era, leader)
    await era.tells(f"run:{run}", SucceedRun(fence=await started(era, run), result=None))
    async with era.timer():
        followed = await era.has_run(follower)
        told_by = await era.comes(leader, "ChainTriggered")
    told = await era.explains_run(followed)
    told.says(
        Code.CHAINED,
        await era.event(leader, "RunSucceeded"),
        await era.event(follower, "RunRequested"),
        of=run,
    )
    links = [
        {"job_id": follower["id"], "run_id": followed, "refused": None},
        {"job_id": paused["id"], "run_id": None, "refused": "paused"},
    ]
    (await era.explains_run(run)).says(Code.HANDED_ON, told_by, links=links)
    body = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-02T00:00:00Z", "reason": "the outage"}
    await era.asks("POST", f"jobs/{paused['id']}/resume")
    made = await era.asks("POST", f"jobs/{paused['id']}/backfill", 201, **body)
    async with era.timer():
        filled = await era.has_run(paused)
    asked = await era.event(paused, "BackfillRequested")
    (await era.explains(paused)).says(Code.BACKFILLING, asked, backfill_id=made["id"], by="anonymous")
    told = await era.explains_run(filled)
    told.says(
        Code.BACKFILLED, asked, await era.event(paused, "RunRequested"), by="anonymous", reason="the outage"
    )


async def test_a_run_that_somebody_asked_for_is_told_of_at_its_time(era):
    job = await era.creates()
    run = await triggered(era, job)
    requested = await era.event(job, "RunRequested")
    told = await era.explains(job, (await era.asks("GET", f"executions/{run}"))["scheduled_for"])
    told.says(Code.TRIGGERED, requested, run_id=run)
    assert told.summary.startswith("Asked for by anonymous at 2026-03-02 08:0")


async def test_its_personal_data_was_erased(era):
    job = await era.creates()
    await era.stage.ask("POST", f"jobs/{job['id']}/erase", json={"reason": "as Ann asked"}, status=200)
    told = await era.explains(job)
    told.says(Code.ERASED, await era.event(job, "PersonalDataErased"), by="anonymous", reason="as Ann asked")
    told.says(Code.DELETED, await era.event(job, "JobDeleted"), by="anonymous")


async def test_a_job_as_it_stands_and_as_it_stood(era):
    job = await era.creates(cron_expression="0 9 * * *", timezone="Europe/Berlin")
    made = await era.event(job, "JobCreated")
    await era.asks("PATCH", f"jobs/{job['id']}", cron_expression="30 9 * * *")
    edited = await era.event(job, "JobUpdated")
    await era.asks("POST", f"jobs/{job['id']}/pause", reason="why not")
    paused = await era.event(job, "JobPaused")
    await era.asks("POST", f"jobs/{job['id']}/resume")
    resumed = await era.event(job, "JobResumed")
    now = await era.explains(job)
    now.says(Code.CREATED, made, by="anonymous", revision=1)
    now.says(Code.REVISED, edited, by="anonymous", revision=2)
    now.says(Code.RESUMED, resumed, by="anonymous", catch_up="skip")
    now.says(Code.NEXT, edited, scheduled_for="2026-03-02T08:30:00.000Z", revision=2)
    assert now.summary == "It runs next at 2026-03-02 09:30 Europe/Berlin (08:30 UTC), by revision 2."
    assert now.codes == ["created", "revised", "resumed", "next"]
    then = await era.explains(job, paused.place)
    then.says(Code.PAUSED, paused, reason="why not")
    assert then.codes == ["created", "revised", "paused", "next"]
    assert Code.REVISED not in (await era.explains(job, made.place)).codes
