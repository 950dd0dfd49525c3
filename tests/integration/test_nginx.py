"""The door of deploy/compose.yaml: a real nginx with our configuration before the real API."""

import asyncio
import contextlib
import os
import shutil
import struct
import subprocess
from types import SimpleNamespace

import httpx
import pytest

from shared.testing import wait_until
from tests.integration.api_stage import JOB, stage_on
from tests.integration.nginx_kit import free_ports, moved, nginx
from tests.integration.stream_kit import Served, served

ROOM = 32 << 20  # more than all sockets on the way hold
PROBLEM = "application/problem+json"


@pytest.fixture
async def stage(valkey, postgres, tmp_path):
    trusted = "10.0.0.0/8,127.0.0.0/8"
    async with stage_on(valkey, postgres, tmp_path, trusted_proxies=trusted) as made:
        await made.level()
        yield made


@pytest.fixture
async def door(stage, tmp_path):
    directory = tmp_path / "door"
    directory.mkdir()
    async with (
        served(stage) as api,
        nginx(directory, api.url.removeprefix("http://")) as made,
        httpx.AsyncClient(verify=made.trust, trust_env=False, timeout=20) as client,
    ):
        made.client = client
        yield made


async def test_the_api_its_pages_and_its_health_stand_behind_both_doors_and_figures_do_not(door):
    for url in (door.http, door.https):
        answers = {
            path: await door.client.get(f"{url}{path}")
            for path in ("/api/v1/jobs", "/docs/", "/health", "/livez", "/openapi.json", "/metrics")
        }
        assert {path: answer.status_code for path, answer in answers.items()} == {
            "/api/v1/jobs": 200, "/docs/": 200, "/health": answers["/health"].status_code, "/livez": 200,
            "/openapi.json": 200, "/metrics": 404,
        }  # fmt: skip
        assert answers["/health"].json()["checks"]["database"] == "ok"
        assert answers["/metrics"].headers["content-type"] == PROBLEM
        assert ("strict-transport-security" in answers["/api/v1/jobs"].headers) == url.startswith("https")
    async with httpx.AsyncClient(trust_env=False) as stranger:
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await stranger.get(f"{door.https}/health")


async def test_events_come_as_they_happen_and_unpacked(stage, door):
    async with Served(door.http).stream(headers={"Accept-Encoding": "gzip"}) as reader:
        assert "content-encoding" not in reader.headers
        job = (await door.client.post(f"{door.https}/api/v1/jobs", json=JOB)).json()
        (message,) = await reader.has(1)
        assert message.data["subject"] == f"job/{job['id']}"


async def test_lists_are_packed_and_a_jobs_own_answers_keep_the_etag_that_edits_need(stage, door):
    big = JOB | {"job_data": {"operation": "echo", "parameters": {"text": "x" * 4000}}}
    created = await door.client.post(f"{door.https}/api/v1/jobs", json=big)
    url = f"{door.https}{created.headers['location']}"
    for answer in (created, await door.client.get(url)):
        assert "content-encoding" not in answer.headers
        edited = await door.client.patch(url, json={}, headers={"If-Match": answer.headers["etag"]})
        assert edited.status_code == 200
        assert "content-encoding" not in edited.headers
    await stage.level()
    listed = await door.client.get(f"{door.https}/api/v1/jobs")
    assert (listed.json()["total"], listed.headers["content-encoding"]) == (1, "gzip")


async def test_a_body_too_large_is_refused_before_the_api_has_it_in_the_apis_words(door):
    answer = await door.client.post(f"{door.https}/api/v1/jobs/bulk", content=b"x" * (6 << 20))
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)
    assert (answer.json()["type"], "instance" in answer.json()) == ("/problems/too-large", False)
    small = await door.client.post(
        f"{door.https}/api/v1/jobs/bulk",
        content=b"x" * (5 << 20),
        headers={"Content-Type": "application/json"},
    )
    assert small.status_code == 413
    assert small.json()["instance"] == "/api/v1/jobs/bulk"


# Without an API: replicas that come and go, as a name server tells.


class Names(asyncio.DatagramProtocol):
    """A name server that knows one name, and says where it is now."""

    def __init__(self):
        self.addresses = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        question = data[12:]
        answers = b"".join(
            struct.pack("!HHHIH4s", 0xC00C, 1, 1, 1, 4, bytes(map(int, each.split("."))))
            for each in self.addresses
        )
        flags = 0x8180 if self.addresses else 0x8183
        head = data[:2] + struct.pack("!HHHHH", flags, 1, len(self.addresses), 0, 0)
        self.transport.sendto(head + question + answers, addr)


async def replica(address, port):
    """A server that says where it is, and what it was sent."""

    async def answer(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            body = address.encode() + b"\n" + head
            writer.write(
                b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, address, port)


@pytest.fixture
async def replicas(tmp_path):
    """nginx that asks a name server for `api`, of which `at` says where it is."""
    names, (dns, api) = Names(), free_ports(2)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: names, local_addr=("127.0.0.1", dns)
    )
    servers = [await replica(address, api) for address in ("127.0.0.2", "127.0.0.3")]
    fewer = {"rate": ("1000r/s", "1r/s"), "burst": ("1000", "200")}
    async with nginx(tmp_path, f"api.test:{api}", name_server=f"127.0.0.1:{dns}", **fewer) as door:
        yield SimpleNamespace(door=door, names=names, api=api)
    for server in servers:
        server.close()
    transport.close()


async def asked(door, count=1, **options):
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        return [await client.get(f"{door.http}/", **options) for _ in range(count)]


def at(answer):
    """Which replica has answered."""
    return answer.text.partition("\n")[0]


async def test_replicas_may_come_and_go_and_those_that_are_gone_are_passed_over(replicas):
    replicas.names.addresses = ["127.0.0.2"]
    assert {at(each) for each in await asked(replicas.door, 3)} == {"127.0.0.2"}
    replicas.names.addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]  # nobody listens on the last

    async def both():
        return {at(each) for each in await asked(replicas.door, 6)} == {"127.0.0.2", "127.0.0.3"}

    await wait_until(both, "the new replica is asked, too", timeout_s=15, every_s=0.5)
    assert {each.status_code for each in await asked(replicas.door, 15)} == {200}


async def test_what_a_client_says_of_where_it_is_from_is_overwritten(replicas):
    replicas.names.addresses = ["127.0.0.2"]
    said = {
        "X-Forwarded-For": "10.9.9.9, 203.0.113.7",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=1.2.3.4",
    }
    (answer,) = await asked(replicas.door, headers=said)
    got = answer.text.lower().splitlines()
    assert [line for line in got if "forwarded" in line] == [
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
    ]


async def test_a_client_that_reads_no_events_holds_their_sender_up_instead_of_filling_the_door(replicas):
    sent, chunk = 0, b"x" * (64 << 10)

    async def endless(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while sent < 2 * ROOM:
                writer.write(chunk)
                await writer.drain()
                sent += len(chunk)
        writer.close()

    looks = [-1]

    def is_held_up():
        looks.append(sent)
        return looks[-1] == looks[-2] > 0

    replicas.names.addresses = ["127.0.0.5"]
    async with (
        await asyncio.start_server(endless, "127.0.0.5", replicas.api),
        httpx.AsyncClient(trust_env=False) as client,
        client.stream("GET", f"{replicas.door.http}/api/v1/events/stream"),
    ):
        await wait_until(is_held_up, "the sender waits", every_s=0.5)
        assert sent < ROOM


async def test_without_any_replica_the_answer_is_a_problem_and_says_when_to_come_again(replicas):
    (answer,) = await asked(replicas.door)
    assert (answer.status_code, answer.headers["content-type"]) == (503, PROBLEM)
    assert (answer.headers["retry-after"], answer.json()["status"]) == ("1", 503)


async def test_a_flood_and_headers_without_end_are_stopped_before_the_api(replicas):
    (answer,) = await asked(replicas.door, headers={"X-Large": "x" * 20_000})
    assert (answer.status_code, answer.json()["type"]) == (431, "/problems/headers-too-large")
    last = (await asked(replicas.door, 260))[-1]
    assert (last.status_code, last.json()["type"]) == (429, "/problems/too-many-requests")
    assert last.headers["retry-after"] == "1"


async def test_plain_http_is_for_this_machine_only(replicas):
    replicas.names.addresses = ["127.0.0.2"]
    async with httpx.AsyncClient(trust_env=False) as client:
        there = {"Host": "jobs.example.com"}
        answer = await client.post(f"{replicas.door.http}/api/v1/jobs?x=1", json=JOB, headers=there)
    assert answer.status_code == 308
    assert answer.headers["location"] == "https://jobs.example.com/api/v1/jobs?x=1"


@pytest.mark.parametrize(("listed", "asked"), [("10.89.0.1", "10.89.0.1"), ("fd00::1", "[fd00::1]")])
def test_nginx_asks_the_first_name_server_alone_as_podman_lists_those_that_know_no_replica(
    tmp_path, listed, asked
):
    moved(tmp_path, http=1, https=2, api="127.0.0.1:3", name_server=f"{listed}\nnameserver 192.0.2.53")
    (tmp_path / "nginx-that-ends").mkdir()
    (tmp_path / "nginx-that-ends/nginx").symlink_to(shutil.which("true"))
    path = f"{tmp_path}/nginx-that-ends:{os.environ['PATH']}"
    subprocess.run(["sh", tmp_path / "nginx/start.sh"], env={"PATH": path}, check=True, timeout=30)
    assert (tmp_path / "tmp/resolver.conf").read_text() == f"resolver {asked} valid=2s ipv6=off;\n"
