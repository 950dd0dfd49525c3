"""Clients and a healed log: what was answered stands, what was lost is decided again, nothing is done twice."""

import asyncio

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.eventlog.position import Position
from shared.testing import wait_until
from tests.integration.api_stage import JOB, stage_on
from tests.integration.trace_kit import Rewindable, back, logged


@pytest.fixture
def server(tmp_path):
    with Rewindable(tmp_path) as made:
        yield made


@pytest.fixture
async def stage(server, postgres, tmp_path):
    async with stage_on(server, postgres, tmp_path, partitions=1) as made:
        yield made


async def the_log(stage):
    return await logged(stage.redis, stage.log.keys(0))


async def archived(stage, subject):
    rows = await stage.pool.fetch("select type, epoch, pos from book.events where subject = $1", subject)
    return [(row["type"], Position(row["epoch"], row["pos"])) for row in rows]


async def test_a_write_in_the_lost_tail_is_decided_again_after_the_heal_and_only_then_answered(stage, server):
    """It was committed, and not archived, when Redis came back without what *was* archived."""
    server.remember()
    kept = await stage.create(name="archived, and lost in Redis")
    await stage.level()
    await stage.stop_projector()
    asked = asyncio.create_task(stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "wait=25"}))

    async def written():
        last = (await the_log(stage))[-1]
        return last if last.position.pos == 3 else None

    gone = await wait_until(written, "it is in the log")
    server.rewind()
    await back(stage.redis)
    await back(stage.blocking)
    stage.start_projector()
    made = await asyncio.wait_for(asked, 30)
    assert made.status == 201
    opened, again = await the_log(stage)
    assert (opened.type, again.subject) == ("LogOpened", gone.subject)
    assert made.headers["Daybook-Position"] == f"0:{again.position}"
    assert await archived(stage, gone.subject) == [("JobCreated", again.position)]
    for job_id in (kept["id"], made.json["id"]):
        await stage.ask("POST", f"jobs/{job_id}/pause", status=200)


async def test_a_create_that_was_archived_before_its_reply_was_lost_is_answered_as_it_stands(
    stage, monkeypatch
):
    """No 409: the job that is there is the one that was asked for. Redis is wiped before it can say so."""
    await stage.create()  # from here on the server knows the script: what is sent is carried out
    real, lost = stage.log._writer._sent, []

    async def reply_lost(batches):
        reply = await real(batches)
        if lost:
            return reply
        lost.append(batches)
        await stage.level()
        await stage.redis.flushall()
        return [RedisConnectionError("no reply")] * len(batches)

    monkeypatch.setattr(stage.log._writer, "_sent", reply_lost)
    made = await stage.ask("POST", "jobs", json=JOB, status=201)
    assert lost
    [(kind, at)] = await archived(stage, f"job/{made.json['id']}")
    assert (kind, made.headers["Daybook-Position"]) == ("JobCreated", f"0:{at}")
    assert [event.type for event in await the_log(stage)] == ["LogOpened"]
    await stage.ask("POST", f"jobs/{made.json['id']}/pause", status=200)


async def test_a_trigger_whose_reply_was_lost_with_the_log_is_not_done_twice(stage, monkeypatch):
    job = await stage.create(overlap_policy="allow")
    await stage.level()
    real, lost = stage.log._writer._sent, []

    async def reply_lost(batches):
        reply = await real(batches)
        if lost:
            return reply
        lost.append(batches)
        await stage.level()
        await stage.redis.flushall()
        return [RedisConnectionError("no reply")] * len(batches)

    monkeypatch.setattr(stage.log._writer, "_sent", reply_lost)
    made = await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)
    assert [kind for kind, _ in await archived(stage, f"run/{made.json['id']}")] == ["RunRequested"]


async def test_a_write_whose_reply_and_event_were_both_lost_is_written_once(stage, server, monkeypatch):
    """In doubt, and the archive hasn't got it: it is sent again to the healed log."""
    server.remember()
    await stage.create()
    await stage.level()
    await stage.stop_projector()
    real, lost = stage.log._writer._sent, []

    async def reply_lost(batches):
        if lost:
            return await real(batches)
        lost.append(await real(batches))
        server.rewind()
        await back(stage.redis)
        return [RedisConnectionError("no reply")] * len(batches)

    monkeypatch.setattr(stage.log._writer, "_sent", reply_lost)
    asked = asyncio.create_task(stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "wait=25"}))
    await wait_until(lambda: lost, "it was sent")
    await back(stage.blocking)
    stage.start_projector()
    made = await asyncio.wait_for(asked, 30)
    assert made.status == 201
    assert [kind for kind, _ in await archived(stage, f"job/{made.json['id']}")] == ["JobCreated"]
    assert [event.type for event in await the_log(stage)] == ["LogOpened", "JobCreated"]
