"""Clients of streams over a real server in this process: what they were sent, as the standard has it read."""

import asyncio
import contextlib
import json
import socket
from types import SimpleNamespace

import httpx

from shared.loop import Stop
from shared.serving import bound_socket, serve
from shared.testing import wait_until


class Client:
    """One that reads all that it is sent; `messages` are those with data, `comments` the others' text.

    `last_id` is what a browser would send to go on.
    """

    def __init__(self):
        self.messages, self.comments = [], []
        self.last_id = ""
        self.is_over = False
        self.headers = {}

    @property
    def ids(self):
        """The ids of the events."""
        return [each.data["id"] for each in self.messages if each.type != "reset"]

    @property
    def types(self):
        return [each.type for each in self.messages]

    async def read(self, response):
        fields = {}
        async for line in response.aiter_lines():
            if line.startswith(":"):
                self.comments.append(line)
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            else:
                self._dispatch(fields)
                fields = {}
        self.is_over = True

    def _dispatch(self, fields):
        self.last_id = fields.get("id", self.last_id)
        if "data" in fields:
            self.messages.append(
                SimpleNamespace(
                    id=self.last_id, type=fields.get("event", "message"), data=json.loads(fields["data"])
                )
            )

    async def has(self, count):
        await wait_until(lambda: len(self.messages) >= count, f"{count} messages", timeout_s=60)
        return self.messages

    async def over(self):
        await wait_until(lambda: self.is_over, "the stream has ended")


class Served:
    """The stage's application on a socket of its own."""

    def __init__(self, url):
        self.url = url

    @contextlib.asynccontextmanager
    async def stream(self, path="events/stream", *, after=None, headers=None, **params):
        """A client that has been let in, and reads until the block ends."""
        sent = dict(headers or {}) | ({"Last-Event-ID": after} if after is not None else {})
        client = Client()
        async with (
            httpx.AsyncClient(timeout=30, trust_env=False) as http,
            http.stream("GET", f"{self.url}/api/v1/{path}", headers=sent, params=params) as response,
        ):
            assert response.status_code == 200, (await response.aread()).decode()
            client.headers = response.headers
            reading = asyncio.create_task(client.read(response))
            try:
                await wait_until(lambda: client.last_id or reading.done(), "it has begun")
                yield client
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def get(self, path, **options):
        """An answer that ends."""
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            return await http.get(f"{self.url}/api/v1/{path}", **options)


@contextlib.asynccontextmanager
async def served(stage):
    """The stage on Hypercorn; streams that are still open end with it."""
    sock, stop = bound_socket("127.0.0.1", 0), Stop()
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    serving = asyncio.create_task(serve(stage.app, sock, until=stop.wait, grace_s=2))
    try:
        yield Served(url)
    finally:
        stage.deps.feed.end()
        stop.set()
        async with asyncio.timeout(10):
            await serving


async def deaf(url):
    """A client that has asked for the stream, and reads nothing but how it begins: its socket."""
    loop, made = asyncio.get_running_loop(), socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.setblocking(False)
    host, port = url.removeprefix("http://").split(":")
    await loop.sock_connect(made, (host, int(port)))
    await loop.sock_sendall(made, b"GET /api/v1/events/stream HTTP/1.1\r\nHost: here\r\n\r\n")
    begun = b""
    while b"\nid: " not in begun:
        begun += await loop.sock_recv(made, 512)
    return made


async def archived_ids(stage, after=()):
    """Ids of archived events beyond `after` (pos by partition), by partition, in order."""
    rows = await stage.pool.fetch("select partition, pos, id from book.events order by partition, pos")
    begin = dict(after)
    return {
        number: [
            row["id"] for row in rows if row["partition"] == number and row["pos"] > begin.get(number, 0)
        ]
        for number in range(stage.partitions)
    }


async def flood(stage, count, *, partition=0, kind="JobPaused", actor="ann"):
    """Archive `count` events at once that stand in no log, and let it be known, as a projector would."""
    row = await stage.pool.fetchrow(
        "with last as (select epoch, pos from book.checkpoints where partition = $1),"
        " made as (insert into book.events (partition, epoch, pos, id, type, v, subject, job, advances, at, actor,"
        " cause, corr, trace, data, chain) select $1, last.epoch, last.pos + n, 'flood-' || (last.pos + n),"
        " $3, 1, 'job/00000000-0000-8000-8000-000000000000', '', 'subject', now(), $4, '', '', '', $5,"
        " '\\x00' from last, generate_series(1, $2::bigint) as n)"
        " update book.checkpoints set pos = pos + $2 where partition = $1 returning epoch, pos",
        partition,
        count,
        kind,
        actor,
        json.dumps({"reason": "f" * 200}),
    )
    await stage.redis.publish(stage.log.keys(partition).archived, f"{row['epoch']}-{row['pos']}")
