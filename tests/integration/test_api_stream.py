"""Streams of events: nothing is missed, nothing comes twice, and no client costs more than its share."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from services.api import listener, stream
from shared.eventlog.position import parse_places
from shared.testing import wait_until
from tests.integration.api_stage import JOB, stage_on
from tests.integration.stream_kit import archived_ids, deaf, flood, served
from tests.integration.test_api_auth import SECRET, by, key_of
from tests.integration.trace_kit import Rewindable, back

PATH = "events/stream"


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path) as made:
        yield made


@pytest.fixture
async def server(stage):
    async with served(stage) as made:
        yield made


@pytest.fixture
async def guarded(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, auth="on", secret_key=SECRET) as made:
        yield made


def by_partition(stage, messages):
    """Ids of events as they came, by partition."""
    return {
        number: [each.data["id"] for each in messages if each.data["sequence"].startswith(f"{number}:")]
        for number in range(stage.partitions)
    }


def open_streams(stage):
    return stage.metrics.registry.get_sample_value("daybook_event_streams")


async def test_each_event_comes_once_as_it_is_archived_and_its_id_says_where_the_client_stands(stage, server):
    await stage.create()
    async with server.stream() as client:
        assert client.headers["content-type"] == "text/event-stream"
        assert client.headers["cache-control"] == "no-cache"
        assert client.headers["x-accel-buffering"] == "no"
        assert client.headers["daybook-position"] == client.last_id
        before = parse_places(client.last_id, partitions=stage.partitions)
        assert sorted(before) == list(range(stage.partitions))
        job = await stage.create()
        await stage.ask("POST", f"jobs/{job['id']}/trigger", status=201)
        messages = list(await client.has(2))
        assert client.types == ["io.daybook.job.created", "io.daybook.run.requested"]
        listed = (await stage.ask("GET", f"jobs/{job['id']}/events")).json["items"]
        assert [each.data for each in messages] == listed[::-1]
        for each in messages:
            partition, position = next(iter(parse_places(each.data["sequence"], partitions=2).items()))
            assert parse_places(each.id, partitions=2) == before | {partition: position}
        assert len(client.messages) == 2


async def test_what_was_missed_comes_from_the_archive_when_the_log_is_gone(stage, server):
    async with server.stream() as client:
        first = [await stage.create() for _ in range(4)]
        await client.has(len(first))
        last_id = client.last_id
    missed = [await stage.create() for _ in range(6)]
    await stage.ask("POST", f"jobs/{missed[0]['id']}/pause", status=200)
    await stage.level()
    for number in range(stage.partitions):
        await stage.redis.xtrim(stage.log.keys(number).log, maxlen=0)
        assert await stage.redis.xlen(stage.log.keys(number).log) == 0
    begin = {number: at.pos for number, at in parse_places(last_id, partitions=2).items()}
    async with server.stream(after=last_id) as client:
        await client.has(7)
        assert by_partition(stage, client.messages) == await archived_ids(stage, begin)
        live = await stage.create()
        await client.has(8)
        assert client.messages[-1].data["subject"] == f"job/{live['id']}"
        assert "io.daybook.log.opened" not in client.types
        last_id = client.last_id
    async with server.stream(after=last_id) as client:
        await stage.create()
        await client.has(1)
        assert len(client.messages) == 1


async def test_a_client_that_comes_back_again_and_again_under_load_misses_nothing(stage, server):
    """It breaks off after each few events, while others are written."""
    got, last_id, begun = [], None, await archived_ids(stage)

    async def write():
        for _ in range(12):
            await asyncio.gather(*(stage.create() for _ in range(5)))

    writing = None
    while len(got) < 60:
        async with server.stream(after=last_id) as client:
            writing = writing or asyncio.create_task(write())
            await client.has(1)
            got += client.messages
            last_id = client.messages[-1].id
    await writing
    told = by_partition(stage, got)
    there = await archived_ids(stage, {number: len(ids) for number, ids in begun.items()})
    assert told == there


@pytest.mark.parametrize("pages", [1, 3])
async def test_a_long_absence_is_read_page_by_page_in_the_order_of_each_partition(
    stage, server, monkeypatch, pages
):
    monkeypatch.setattr(stream, "PAGE", 40 // pages)
    async with server.stream() as client:
        last_id = client.last_id
    await asyncio.gather(*(stage.create() for _ in range(40)))
    begin = {number: at.pos for number, at in parse_places(last_id, partitions=2).items()}
    async with server.stream(last_event_id=last_id) as client:
        await client.has(40)
        assert by_partition(stage, client.messages) == await archived_ids(stage, begin)


async def test_nothing_is_shown_that_only_redis_has(stage, server):
    async with server.stream() as client:
        await stage.stop_projector()
        await stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "wait=0"}, status=202)
        for number in range(stage.partitions):
            await stage.redis.publish(stage.log.keys(number).archived, "nonsense")
        with pytest.raises(AssertionError):
            await wait_until(lambda: client.messages, "an event", timeout_s=0.4)
        stage.start_projector()
        await client.has(1)


async def test_of_two_events_in_the_log_only_the_archived_one_is_shown(stage, server):
    job = await stage.create()
    async with server.stream() as client:
        await stage.stop_projector()
        soon = {"json": {"overlap_policy": "allow"}, "headers": {"Prefer": "wait=0"}, "status": 202}
        first = await stage.ask("POST", f"jobs/{job['id']}/trigger", **soon)
        await stage.ask("POST", f"jobs/{job['id']}/trigger", **soon)
        [(partition, position)] = parse_places(first.headers["Daybook-Position"], partitions=2).items()
        stage.deps.archive.reached(partition, position)
        await client.has(1)
        assert stage.deps.feed.at[partition] == position
        stage.start_projector()
        await client.has(2)
        assert client.messages[0].data["subject"] == f"run/{first.json['id']}"


def held_up(stage, monkeypatch):
    """Let the reader of the log wait before it looks what there is, until the returned event is set."""
    go_on, beyond = asyncio.Event(), stage.deps.archive.beyond

    async def later(partition, position):
        await go_on.wait()
        return await beyond(partition, position)

    monkeypatch.setattr(stage.deps.archive, "beyond", later)
    return go_on


async def test_what_left_the_log_before_it_was_read_is_read_from_the_archive(stage, server, monkeypatch):
    """The log's next entry isn't the next event."""
    go_on = held_up(stage, monkeypatch)
    job = await stage.create()
    async with server.stream() as client:
        for word in ("pause", "resume", "pause"):
            await stage.ask("POST", f"jobs/{job['id']}/{word}", status=200)
        for number in range(stage.partitions):
            await stage.redis.xtrim(stage.log.keys(number).log, maxlen=1, approximate=False)
        go_on.set()
        await client.has(3)
        assert client.types == [f"io.daybook.job.{each}" for each in ("paused", "resumed", "paused")]


async def test_a_client_that_stands_before_the_reader_of_the_log_is_not_told_again(
    stage, server, monkeypatch
):
    """It begins now, which the reader has not come to yet; or was at another process, which was ahead."""
    go_on = held_up(stage, monkeypatch)
    job = await stage.create()
    async with server.stream() as early:
        await stage.ask("POST", f"jobs/{job['id']}/pause", status=200)
        async with server.stream() as late:
            begun = late.last_id
            await wait_until(lambda: len(stage.deps.feed._listeners) == 2, "both listen")
            go_on.set()
            await early.has(1)
            await stage.ask("POST", f"jobs/{job['id']}/resume", status=200)
            await early.has(2)
            await late.has(1)
            assert late.types == early.types[1:]
            assert late.last_id == early.last_id != begun


async def test_nothing_is_missed_between_the_archive_and_the_log(stage, server, monkeypatch):
    """It happens when the last page of what was missed has been read, and is not listened for yet."""
    job = await stage.create()
    chosen = stage.deps.ledger.events_chosen
    async with server.stream() as other:
        begun = other.last_id
        await stage.ask("POST", f"jobs/{job['id']}/pause", status=200)
        await other.has(1)

        async def slow(*given, **options):
            rows = await chosen(*given, **options)
            if len(other.messages) == 1:
                await stage.ask("POST", f"jobs/{job['id']}/resume", status=200)
                await other.has(2)
            return rows

        monkeypatch.setattr(stage.deps.ledger, "events_chosen", slow)
        async with server.stream(after=begun) as client:
            await client.has(2)
            await stage.ask("POST", f"jobs/{job['id']}/pause", status=200)
            await client.has(3)
            assert client.ids == other.ids


async def test_the_stream_goes_on_over_a_healed_log(postgres, tmp_path):
    """Redis comes back as it was before: what was shown stands, what was lost was never shown."""
    with Rewindable(tmp_path) as valkey:
        async with stage_on(valkey, postgres, tmp_path, partitions=1) as stage, served(stage) as server:
            await stage.create()
            valkey.remember()
            async with server.stream() as client:
                await stage.create()
                await client.has(1)
                away = client.last_id
                await stage.stop_projector()
                await stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "wait=0"}, status=202)
                valkey.rewind()
                await back(stage.redis)
                await back(stage.blocking)
                stage.start_projector()
                await wait_until(lambda: len(client.messages) >= 2, "the new epoch", timeout_s=20)
                await stage.create()
                await client.has(3)
                assert client.types == [
                    "io.daybook.job.created",
                    "io.daybook.log.opened",
                    "io.daybook.job.created",
                ]
                begin = {0: parse_places(away, partitions=1)[0].pos}
                there = await archived_ids(stage, begin)
                assert client.ids[1:] == there[0]
            async with server.stream(after=away) as client:
                await client.has(2)
                assert client.ids == there[0]


async def test_filters_hold_for_what_was_missed_and_for_what_comes(stage, server):
    one, other = await stage.create(), await stage.create()
    run = (await stage.ask("POST", f"jobs/{one['id']}/trigger", status=201)).json
    begin = "0:0-0,1:0-0"

    async with server.stream(f"jobs/{one['id']}/{PATH}", after=begin) as client:
        await client.has(2)
        for job in (other, one):
            await stage.ask("POST", f"jobs/{job['id']}/pause", status=200)
            await stage.ask("POST", f"jobs/{job['id']}/resume", status=200)
        await client.has(4)
        assert client.types == [
            f"io.daybook.{each}" for each in ("job.created", "run.requested", "job.paused", "job.resumed")
        ]
    async with server.stream(after=begin, execution_id=run["id"]) as client:
        await client.has(1)
        assert client.types == ["io.daybook.run.requested"]
    async with server.stream(after=begin, type=["io.daybook.job.paused", "RunRequested"]) as client:
        await client.has(3)
        await stage.ask("POST", f"jobs/{other['id']}/pause", status=200)
        await client.has(4)
        assert set(client.types) == {"io.daybook.job.paused", "io.daybook.run.requested"}
    async with server.stream(after=begin, actor="system") as client:
        await client.has(2)
        assert set(client.types) == {"io.daybook.log.opened"}


async def test_a_filtered_stream_is_told_where_it_stands_though_nothing_of_its_own_happens(
    stage, server, monkeypatch
):
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.1)
    job = await stage.create()
    async with server.stream(f"jobs/{job['id']}/{PATH}") as client:
        begun = client.last_id
        await stage.create()
        await stage.create()
        await wait_until(lambda: client.last_id != begun, "a later id")
        assert client.comments[0] == ": heartbeat"
        assert client.messages == []


async def test_a_heartbeat_comes_only_where_nothing_else_does(stage, server, monkeypatch):
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.15)
    async with server.stream() as client:
        await wait_until(lambda: len(client.comments) >= 2, "two signs of life")
        assert client.messages == []


async def test_a_place_that_is_none_is_refused(stage):
    """Where there is none yet: 422. Of another history: 409."""
    for text, status in (
        ("x", 422), ("0:1", 422), ("7:1-1", 422), ("0:1-1,0:1-2", 422), ("0:9999999999999-999999", 422),
        ("0:1-1", 409), ("0:0-5", 409), ("0:1-999999", 409),
    ):  # fmt: skip
        for headers, query in (
            ({"Last-Event-ID": text}, {}), ({}, {"after": text}), ({}, {"last_event_id": text}),
        ):  # fmt: skip
            asked = {"headers": headers | {"Prefer": "wait=0"}, "query_string": query}
            answer = await stage.ask("GET", PATH, status=status, **asked)
            slug = "history-rewound" if status == 409 else "invalid"
            assert answer.json["type"] == f"/problems/{slug}"
    assert open_streams(stage) == 0


async def test_a_place_that_is_written_and_not_archived_yet_is_waited_for(stage, server):
    await stage.stop_projector()
    made = await stage.ask("POST", "jobs", json=JOB, headers={"Prefer": "wait=0"}, status=202)
    place = made.headers["Daybook-Position"]
    lagging = {"Last-Event-ID": place, "Prefer": "wait=0"}
    await stage.ask("GET", PATH, headers=lagging, status=503)
    stage.start_projector()
    async with server.stream(after=place) as client:
        await stage.create()
        await client.has(1)
        assert client.messages[0].data["subject"] != f"job/{made.json['id']}"


async def test_what_no_stream_knows_is_refused(stage):
    await stage.ask("GET", PATH, query_string={"sort": "time"}, status=422)
    await stage.ask("GET", PATH, query_string={"type": "NoSuch"}, status=422)
    await stage.ask("GET", PATH, query_string={"actor": "a\0b"}, status=422)
    job = await stage.create()
    await stage.ask("GET", f"jobs/{job['id']}/{PATH}", query_string={"job_id": job["id"]}, status=422)
    missing = job["id"][:-4] + "ffff"
    await stage.ask("GET", f"jobs/{missing}/{PATH}", status=404)
    head = await stage.ask("HEAD", PATH, status=200)
    assert head.headers["Content-Type"] == "text/event-stream"
    assert open_streams(stage) == 0


async def test_a_client_that_reads_too_slowly_is_told_to_come_again_and_misses_nothing(
    stage, server, monkeypatch
):
    """Its queue is full at once; what it was sent last is where it goes on."""
    monkeypatch.setattr(listener, "QUEUE_MAX", 50)
    await stage.stop_projector()
    async with server.stream() as client:
        begun = client.last_id
        await flood(stage, 400)
        await client.over()
        assert client.types[-1] == "reset"
        told = client.messages[-1]
        assert told.data == {"reason": "slow", "position": told.id}
        assert told.id == (client.messages[-2].id if len(client.messages) > 1 else begun)
        got = client.ids
    async with server.stream(after=told.id) as client:
        await client.has(400 - len(got))
        begin = {number: at.pos for number, at in parse_places(begun, partitions=2).items()}
        assert got + client.ids == (await archived_ids(stage, begin))[0]
    assert stage.metrics.registry.get_sample_value("daybook_event_stream_resets_total") == 1


async def test_a_client_that_takes_not_even_its_reset_leaves_its_seat(stage, server, monkeypatch):
    monkeypatch.setattr(listener, "LINGER_S", 0.2)
    await stage.stop_projector()
    async with server.stream() as reader:
        with await deaf(server.url):
            assert open_streams(stage) == 2
            await flood(stage, 25_000)
            await reader.has(25_000)
            await wait_until(lambda: open_streams(stage) == 1, "it has been cut off")
            await flood(stage, 1)
            await reader.has(25_001)


async def test_a_client_that_reads_keeps_up_with_a_flood(stage, server):
    await stage.stop_projector()
    async with server.stream() as client:
        await flood(stage, 12_000)
        await client.has(12_000)
        assert len(client.messages) == 12_000


async def test_a_client_that_is_gone_leaves_nothing(stage, server):
    feed = stage.deps.feed
    for _ in range(3):
        async with server.stream() as client, server.stream():
            await wait_until(lambda: len(feed._listeners) == 2, "both listen")
            assert open_streams(stage) == 2
            await stage.create()
            await client.has(1)
        await wait_until(lambda: open_streams(stage) == 0, "both have left")
    assert not feed._listeners
    assert not feed._present
    assert feed.at is None

    def reading():
        return [task for task in asyncio.all_tasks() if task.get_name().startswith("feed ")]

    await wait_until(lambda: not reading(), "nobody reads")
    waiting = [each for waiters in stage.deps.archive._waiters for each in waiters if not each[2].done()]
    assert not waiting


async def test_a_log_is_read_once_for_all_clients(stage, server, monkeypatch):
    read, replies = [], stage.deps.feed._wire.replies

    async def noted(*commands):
        read.extend(commands)
        return await replies(*commands)

    monkeypatch.setattr(stage.deps.feed._wire, "replies", noted)
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(server.stream()) for _ in range(5)]
        await wait_until(lambda: len(stage.deps.feed._listeners) == 5, "all listen")
        await stage.create()
        for client in clients:
            await client.has(1)
        assert [command[0] for command in read] == ["XRANGE"]


async def test_there_are_only_so_many_streams(valkey, postgres, tmp_path):
    async with stage_on(valkey, postgres, tmp_path, streams_max=2) as stage, served(stage) as server:
        async with server.stream(), server.stream():
            refused = await server.get(PATH)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) > 0
        await wait_until(lambda: open_streams(stage) == 0, "both have left")
        async with server.stream():
            assert open_streams(stage) == 1


async def test_a_principal_has_only_so_many_streams(valkey, postgres, tmp_path):
    options = {"auth": "on", "secret_key": SECRET, "streams_per_principal": 1}
    async with stage_on(valkey, postgres, tmp_path, **options) as stage, served(stage) as server:
        ann, bob = by(await key_of(stage)), by(await key_of(stage, owner="bob"))
        async with server.stream(headers=ann), server.stream(headers=bob):
            refused = await server.get(PATH, headers=ann)
            assert refused.status_code == 429
            assert refused.json()["type"] == "/problems/too-many-streams"
            assert int(refused.headers["Retry-After"]) > 0


async def test_a_stream_shows_what_is_its_tenants_only(guarded):
    async with served(guarded) as server:
        acme, other = by(await key_of(guarded)), by(await key_of(guarded, tenant="other", owner="eve"))
        viewer = by(await key_of(guarded, "viewer"))
        await guarded.level()
        theirs = (await guarded.ask("POST", "jobs", json=JOB, headers=other, status=201)).json
        ours = (await guarded.ask("POST", "jobs", json=JOB, headers=acme, status=201)).json
        await guarded.ask("GET", f"jobs/{theirs['id']}/{PATH}", headers=acme, status=404)
        assert (await server.get(PATH)).status_code == 401
        begin = "0:0-0,1:0-0"
        async with (
            server.stream(headers=acme, after=begin) as admin,
            server.stream(headers=viewer, after=begin) as reader,
            server.stream(headers=acme, after=begin, job_id=theirs["id"]) as curious,
        ):
            await guarded.ask("POST", f"jobs/{theirs['id']}/pause", headers=other, status=200)
            key_of_other = {"name": "ci", "role": "viewer"}
            await guarded.ask("POST", "api-keys", json=key_of_other, headers=other, status=201)
            await guarded.ask("POST", "api-keys", json=key_of_other, headers=acme, status=201)
            await guarded.ask("POST", f"jobs/{ours['id']}/pause", headers=acme, status=200)
            await reader.has(2)
            await admin.has(5)
            assert reader.types == ["io.daybook.job.created", "io.daybook.job.paused"]
            assert sorted(admin.types) == [
                *["io.daybook.api.key.issued"] * 3, "io.daybook.job.created", "io.daybook.job.paused",
            ]  # fmt: skip
            told = {each.data["subject"] for each in admin.messages}
            assert f"job/{theirs['id']}" not in told
            assert curious.messages == []


async def test_the_stream_of_a_revoked_key_and_of_a_token_that_was_given_for_it_ends(guarded, monkeypatch):
    monkeypatch.setattr(stream, "CHECK_S", 0.1)
    async with served(guarded) as server:
        admin = by(await key_of(guarded))
        body = {"name": "ci", "role": "viewer"}
        made = (await guarded.ask("POST", "api-keys", json=body, headers=admin, status=201)).json
        token = (await guarded.ask("POST", "tokens", headers=by(made["key"]), status=200)).json[
            "access_token"
        ]
        async with (
            server.stream(headers=admin) as stays,
            server.stream(headers=by(made["key"])) as one,
            server.stream(headers=by(token)) as two,
        ):
            await guarded.ask("DELETE", f"api-keys/{made['id']}", headers=admin, status=204)
            await one.over()
            await two.over()
            assert not stays.is_over


async def test_the_stream_of_a_key_that_expires_ends(guarded, monkeypatch):
    monkeypatch.setattr(stream, "CHECK_S", 0.1)
    async with served(guarded) as server:
        short = await key_of(guarded, "viewer", lasts=timedelta(seconds=1))
        async with server.stream(headers=by(short)) as client:
            await client.over()


async def test_streams_end_when_the_process_is_to_end(stage):
    async with served(stage) as server, server.stream() as client:
        stage.deps.feed.end()
        await client.over()
        await wait_until(lambda: open_streams(stage) == 0, "it has left")
        answer = await server.get(PATH)
        assert answer.text.startswith("retry: ")
        assert open_streams(stage) == 0
