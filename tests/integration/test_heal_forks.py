"""A log that was set back, forked, or is another's: the archive wins, or nothing is done."""

import pytest

from shared.domain.events import LogOpened
from shared.domain.refusals import LostLease, Refused
from shared.eventlog import opening
from shared.eventlog.position import START, Position
from shared.faults import Fatal
from shared.readmodel import archive
from shared.recovery import Behind, Forked
from tests.integration.archive_kit import all_of, an_office
from tests.integration.heal_kit import forged, rewrite, write_side
from tests.integration.trace_kit import a_rewindable_office, back, look


@pytest.fixture
async def office(postgres, valkey):
    async with an_office(postgres, valkey) as made:
        yield made


@pytest.fixture
async def set_back(postgres, tmp_path):
    """An office, and its server, which can be set back."""
    async with a_rewindable_office(postgres, tmp_path) as made:
        yield made


async def test_a_log_that_was_set_back_is_healed_and_what_nobody_archived_is_refused(set_back):
    """Keys of the older state are taken away: a run that has ended since must not stand in a work stream."""
    office, server = set_back
    job_id = await office.create(overlap_policy="allow")
    ended, kept = await office.trigger(job_id), await office.trigger(job_id)
    await all_of(office.projector())
    server.remember()
    await office.succeed(ended, await office.start(ended))
    kept_fence = await office.start(kept)
    late = await office.trigger(job_id)
    await all_of(office.projectors[0])
    before = await write_side(office)
    lost_fence = await office.start(late)
    unarchived = await office.trigger(job_id)
    server.rewind()
    await back(office.redis)
    found = (await office.open(0)).found
    assert (found.tail.pos, found.lost) == (4, 4)
    assert await write_side(office) == before
    await office.succeed(kept, kept_fence)
    with pytest.raises(LostLease):
        await office.succeed(late, lost_fence)
    with pytest.raises(Refused):
        await office.start(unarchived)
    await office.succeed(late, await office.start(late))


@pytest.mark.parametrize("archived", [5, 12], ids=["the log is longer", "the archive is longer"])
@pytest.mark.parametrize("epoch", [False, True], ids=["same epoch", "another epoch"])
async def test_of_a_fork_the_archive_wins_and_the_logs_own_events_are_kept_aside(office, archived, epoch):
    for _ in range(archived - 1):
        await office.create()
    await all_of(office.projector())
    before = await write_side(office)
    now = await look(office)
    for _ in range(8 - archived):
        await office.create(name="the log's own")
    await rewrite(office, lambda entries: forged(entries[:8], 3, epoch=now.epoch + 7 if epoch else None))
    found = await look(office)
    done = await office.open(0)
    assert done.found == Forked(
        common=Position(now.epoch, 3), tail=found.tail_at, archived=Position(now.epoch, archived)
    )
    assert done.quarantined == 5
    assert await write_side(office) == before
    rows = await office.pool.fetch("select * from book.quarantine order by pos")
    assert [(row["pos"], row["id"]) for row in rows] == [(pos, f"forged-{pos - 1}") for pos in range(4, 9)]
    assert {row["reason"] for row in rows} == {
        f"the log forked after {now.epoch}-3; the archive, at {now.epoch}-{archived}, won"
    }
    await office.create(name="after")
    assert await all_of(office.projectors[0]) == 2
    assert await office.pool.fetchval("select count(*) from ledger.jobs where name = 'the log''s own'") == 0


async def test_a_fork_of_a_log_that_was_healed_before_is_known_by_what_it_was_opened_after(set_back):
    """Healed twice from one point, and set back to the first time: no entry of the log is in the archive."""
    office, server = set_back
    await office.create()
    await all_of(office.projector())
    await office.redis.flushall()
    await office.open(0)
    await office.open(1)
    await office.create(name="of a healed log that nobody archived")
    server.remember()
    await office.redis.flushall()
    await office.open(0)
    await office.create(name="kept")
    await back(office.blocking)
    await all_of(office.projectors[0])
    server.rewind()
    await back(office.redis)
    done = await office.open(0)
    assert isinstance(done.found, Forked)
    assert done.found.common.pos == 2
    assert done.quarantined == 2
    assert await office.pool.fetchval("select count(*) from ledger.jobs where name = 'kept'") == 1


async def test_a_log_that_has_nothing_in_common_with_the_archive_is_left_alone(office):
    await office.create()
    await all_of(office.projector())
    await rewrite(office, lambda entries: forged(entries, 0))
    before = await office.redis.dump(office.keys(0).log)
    fence = (await archive.checkpoint(office.pool, 0)).fence
    with pytest.raises(Fatal, match="no event in common with the archive: one of DAYBOOK_REDIS_URL"):
        await office.open(0)
    assert await office.redis.dump(office.keys(0).log) == before
    assert (await archive.checkpoint(office.pool, 0)).fence == fence, "another Redis may be the right one"


async def test_a_log_that_is_wiped_while_it_is_compared_is_looked_at_again(office, monkeypatch):
    await office.create()
    await all_of(office.projector())
    await office.redis.delete(office.keys(0).meta)
    really, wiped = opening.look, []

    async def look_and_wipe(redis, keys):
        state = await really(redis, keys)
        if keys.partition == 0 and not wiped:
            wiped.append(await redis.delete(keys.log))
        return state

    monkeypatch.setattr(opening, "look", look_and_wipe)
    done = await office.open(0)
    assert wiped == [1]
    archived = await archive.checkpoint(office.pool, 0)
    assert done.found == Behind(tail=START, archived=Position(archived.epoch, archived.pos))


async def test_a_log_that_begins_right_after_the_archive_but_after_another_event_is_left_alone(office):
    await office.create()
    await all_of(office.projector())
    now = await look(office)
    opened = LogOpened(epoch=now.epoch + 1, reason="heal", previous=(now.epoch, 2, "other"), partitions=2)
    data = opening.encode(opened).encode()
    entry = (f"{now.epoch + 1}-3", {b"id": b"x", b"type": b"LogOpened", b"data": data})
    await rewrite(office, lambda entries: [(entry[0], entries[0][1] | entry[1])])
    with pytest.raises(Fatal, match="no event in common"):
        await office.open(0)
