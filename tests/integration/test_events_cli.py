"""`daybook events` over a server that streams as /events/stream does: CloudEvents, ids, heartbeats, cut connections."""

import asyncio
import json

import pytest
from quart import Quart, Response, request

from services.cli import sse

from .cli_kit import Line, listening


def event(number):
    return {
        "specversion": "1.0",
        "id": f"e{number}",
        "type": "io.daybook.run.failed" if number % 2 else "io.daybook.run.succeeded",
        "subject": f"run/{number}",
        "time": "2026-11-27T07:00:00Z",
        "sequence": f"0:1-{number}",
        "data": {"attempt": number},
    }


def frame(number):
    return f"id: 0:1-{number}\nevent: {event(number)['type']}\ndata: {json.dumps(event(number))}\n\n"


class Streams:
    """Serves one script a connection: frames, or a status to refuse with; notes who asked for what."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.asked = []
        self.app = Quart(__name__)
        self.app.config["RESPONSE_TIMEOUT"] = None
        self.app.add_url_rule("/api/v1/events/stream", "all", self.stream)
        self.app.add_url_rule("/api/v1/jobs/<job_id>/events/stream", "job", self.stream)
        self.app.add_url_rule("/api/v1/events", "list", self.list)

    async def stream(self, job_id=None):
        self.asked.append((job_id, dict(request.args), request.headers.get("Last-Event-ID")))
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        if isinstance(script, int):
            problem = {"title": "No", "status": script, "detail": "Not here.", "errors": []}
            return Response(json.dumps(problem), script, content_type="application/problem+json")

        async def frames():
            for each in script:
                yield each.encode()
                await asyncio.sleep(0)

        return Response(frames(), content_type="text/event-stream")

    async def list(self):
        self.asked.append(dict(request.args))
        numbers = [3, 2] if "cursor" not in request.args else [1]
        cursor = None if "cursor" in request.args else "c1"
        return {"items": [event(number) for number in numbers], "next_cursor": cursor}


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(sse, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(sse, "LONGEST_WAIT_S", 0.001)


async def test_a_broken_stream_goes_on_after_the_last_event_without_gap_or_repeat():
    streams = Streams(
        [": hello\n\n", frame(1), frame(2)],
        503,
        [": heartbeat\n\n"],
        [frame(3), "id: 0:1-3\nevent: reset\ndata: {}\n\n", frame(9)],
        ["retry: 1\nid: 0:1-3\n\n", frame(4), frame(5)],
    )
    async with listening(streams.app) as url:
        said = await Line(url)(
            "events",
            "tail",
            "-o",
            "json",
            "--type",
            "x",
            "--actor",
            "ann",
            "--after",
            "0:1-0",
            "--limit",
            "5",
        )
    assert [json.loads(line) for line in said.stdout.splitlines()] == [event(n) for n in (1, 2, 3, 4, 5)]
    given = {"type": "x", "actor": "ann"}
    assert streams.asked == [
        (None, given, place) for place in ("0:1-0", "0:1-2", "0:1-2", "0:1-2", "0:1-3")
    ]  # fmt: skip
    assert "cut us off" in said.stderr


async def test_a_jobs_events_are_lines_for_people_or_documents():
    streams = Streams([frame(1), frame(2)])
    async with listening(streams.app) as url:
        lines = (await Line(url)("events", "tail", "--job", "j1", "--limit", "2")).stdout.splitlines()
        yaml = (await Line(url)("events", "tail", "--job", "j1", "-o", "yaml", "--limit", "1")).stdout
    assert lines[0].split() == ["2026-11-27T07:00:00Z", "run.failed", "run/1", '{"attempt":1}']
    assert yaml.startswith("---\nspecversion: '1.0'\nid: e1\n")


async def test_a_job_in_the_path_is_the_job_asked_for():
    streams = Streams([frame(1)])
    async with listening(streams.app) as url:
        await Line(url)("events", "tail", "--job", "j1", "--run", "r1", "--limit", "1")
    assert streams.asked == [("j1", {"run_id": "r1"}, None)]


@pytest.mark.parametrize(("status", "ends"), [(404, 4), (401, 1), (422, 1)])
async def test_a_stream_that_is_refused_ends_with_its_problem(status, ends):
    streams = Streams(status)
    async with listening(streams.app) as url:
        said = await Line(url)("events", "tail", status=ends)
    assert said.stderr == "Error: No. Not here.\n"
    assert len(streams.asked) == 1


async def test_a_stream_that_never_comes_to_an_event_is_given_up():
    async with listening(Streams([": only this\n\n"]).app) as url:
        assert "before the next event" in (await Line(url)("events", "tail", status=3)).stderr
    async with listening(Streams(503).app) as url:
        assert "can't be followed" in (await Line(url)("events", "tail", status=3)).stderr
    assert "can't be followed" in (await Line("http://127.0.0.1:1")("events", "tail", status=3)).stderr


async def test_events_are_listed_by_cursor():
    streams = Streams(503)
    async with listening(streams.app) as url:
        said = await Line(url)("events", "list", "--all", "--job", "j1", "--type", "t", "-o", "json")
        table = (await Line(url)("events", "list", "--limit", "1")).stdout.splitlines()
    assert [each["id"] for each in json.loads(said.stdout)] == ["e3", "e2", "e1"]
    first = {"type": "t", "job_id": "j1", "limit": "200"}
    assert streams.asked == [first, first | {"cursor": "c1"}, {"limit": "1"}]
    assert table[1].split()[:3] == ["2026-11-27T07:00:00Z", "run.failed", "run/3"]
