"""`http_request` against real servers: what is sent, what is made of answers, what happens twice."""

import asyncio
import base64
import contextlib
import gzip
import hashlib
import hmac
import json
import time
from email.utils import formatdate
from functools import partial

import pytest

from services.executor import web
from services.executor.handlers.http_request_answer import (
    NotNow,
    ServerError,
    TooManyRequests,
    UnexpectedStatus,
)
from services.executor.handlers.http_request_question import RedirectRefused
from services.executor.web import BrokenAnswer, NotConnected, UnfitRequest
from shared.domain.retry import RetryPolicy
from shared.handlers import GiveUp, RetryIn
from shared.job_types.http_request import HttpResult
from shared.testing import wait_until
from tests.integration.web_kit import LOOPBACK, Notes, answer, ask, names, serving

KEY = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()


# What is sent.


async def test_a_request_is_sent_as_it_was_described_and_its_answer_stands_in_the_result():
    said = answer(201, b'{"id": 7}', content_type="application/json", set_cookie="a=b", etag='"x"')
    async with serving(said) as site:
        result = await ask(
            f"{site.url}/orders?a=1",
            method="POST",
            json={"name": "Łódź", "n": [1, None]},
            query={"b": ["x y", True], "c": 2.5},
            headers={"X-Tenant": "acme"},
        )
    (heard,) = site.heard
    assert (heard.method, heard.target) == ("POST", "/orders?a=1&b=x+y&b=true&c=2.5")
    assert json.loads(heard.body) == {"name": "Łódź", "n": [1, None]}
    assert heard.headers == {
        "host": f"127.0.0.1:{site.port}",
        "accept": "*/*",
        "accept-encoding": "gzip",
        "user-agent": "Daybook",
        "idempotency-key": "run-1",
        "content-type": "application/json",
        "content-length": str(len(heard.body)),
        "x-tenant": "acme",
    }
    assert HttpResult.model_validate(result).status == 201
    assert result.pop("seconds") < 5
    assert result == {
        "status": 201,
        "url": f"{site.url}/orders",
        "headers": {"content-type": "application/json", "content-length": "9", "etag": '"x"'},
        "body": {"id": 7},
        "truncated": False,
        "bytes": 9,
        "redirects": 0,
    }


@pytest.mark.parametrize(
    ("data", "length", "kind"),
    [
        ({"method": "POST", "body": "käse"}, "5", "text/plain; charset=utf-8"),
        (
            {"method": "POST", "body": "{}", "headers": {"Content-Type": "application/xml"}},
            "2",
            "application/xml",
        ),
        ({"method": "POST", "json": None}, "4", "application/json"),
        ({"method": "POST"}, "0", None),
        ({"method": "GET"}, None, None),
        ({"method": "DELETE"}, None, None),
    ],
)
async def test_a_body_is_what_was_given_and_nothing_more(data, length, kind):
    async with serving(answer(204)) as site:
        await ask(site.url, **data)
    (heard,) = site.heard
    assert (heard.headers.get("content-length"), heard.headers.get("content-type")) == (length, kind)


async def test_secrets_become_headers_queries_and_parts_of_the_body():
    async with serving(answer()) as site:
        await ask(
            site.url,
            secrets={"KEY": "k-1234", "USER": "pässwörd"},
            method="POST",
            headers={"X-Api-Key": {"$secret": "KEY"}},
            query={"token": {"$secret": "KEY"}},
            json={"deep": [{"$secret": "KEY"}]},
            auth={"basic": {"username": "me", "password": {"$secret": "USER"}}},
        )
    (heard,) = site.heard
    assert heard.headers["x-api-key"] == "k-1234"
    assert heard.target == "/?token=k-1234"
    assert json.loads(heard.body) == {"deep": ["k-1234"]}
    assert heard.headers["authorization"] == "Basic " + base64.b64encode("me:pässwörd".encode()).decode()


async def test_a_bearer_token_is_sent():
    async with serving(answer()) as site:
        await ask(site.url, secrets={"KEY": "tok"}, auth={"bearer": {"$secret": "KEY"}})
    assert site.heard[0].headers["authorization"] == "Bearer tok"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00", "ä", "x" * 4_097])
async def test_a_secret_that_would_break_a_header_is_given_up_and_not_shown(value):
    async with serving(answer()) as site:
        with pytest.raises(UnfitRequest, match="#/job_data/headers/X-A") as refused:
            await ask(site.url, secrets={"KEY": value}, headers={"X-A": {"$secret": "KEY"}})
        assert value not in str(refused.value)
        with pytest.raises(UnfitRequest):
            await ask(site.url, secrets={"KEY": value}, auth={"bearer": {"$secret": "KEY"}})
    assert site.connections == 0


@pytest.mark.parametrize("data", [{"json": {"a": "ł"}}, {"body": "x.y"}, {}])
async def test_the_server_can_check_the_signature(data):
    async with serving(answer()) as site:
        signing = {"key": {"$secret": "KEY"}, "header": "X-Signature"}
        await ask(site.url, secrets={"KEY": KEY}, method="POST", signing=signing, **data)
    (heard,) = site.heard
    sent = heard.headers
    signed = f"{sent['webhook-id']}.{sent['webhook-timestamp']}.".encode() + heard.body
    expected = base64.b64encode(hmac.digest(b"0123456789abcdef01234567", signed, hashlib.sha256)).decode()
    assert sent["x-signature"] == f"v1,{expected}"
    assert sent["webhook-id"] == sent["idempotency-key"] == "run-1"
    assert abs(int(sent["webhook-timestamp"]) - time.time()) < 60


async def test_a_key_that_is_none_is_given_up():
    with pytest.raises(UnfitRequest, match="base64"):
        await ask(
            "http://127.0.0.1:9999",
            secrets={"K": "whsec_?"},
            method="POST",
            signing={"key": {"$secret": "K"}},
        )


async def test_proxies_of_the_environment_are_not_asked(monkeypatch):
    async with serving(answer(200, b"proxy")) as proxy, serving(answer(200, b"site")) as site:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert (await ask(site.url))["body"] == "site"
    assert proxy.connections == 0


async def test_cookies_do_not_go_from_one_request_to_the_next():
    async with serving(answer(302, location="/b", set_cookie="a=b")) as site:
        with pytest.raises(RedirectRefused):
            await ask(site.url, follow_redirects=True)
    assert not any("cookie" in heard.headers for heard in site.heard)


# What is made of answers.


@pytest.mark.parametrize(
    ("status", "failure"),
    [
        (408, NotNow),
        (425, NotNow),
        (429, TooManyRequests),
        (500, ServerError),
        (503, ServerError),
        (599, ServerError),
    ],
)
async def test_what_may_be_better_next_time_is_raised_by_name(status, failure):
    async with serving(answer(status, b"try\nlater")) as site:
        with pytest.raises(failure, match=f"answered {status}: try later"):
            await ask(site.url)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 418, 422, 301, 302, 304])
async def test_what_another_attempt_would_not_mend_is_given_up(status):
    async with serving(answer(status, b"" if status == 304 else b"no such order", location="/x?t=1")) as site:
        with pytest.raises(UnexpectedStatus, match=f"answered {status}") as refused:
            await ask(site.url)
    assert isinstance(refused.value, GiveUp)
    assert len(site.heard) == 1


@pytest.mark.parametrize(
    ("expected", "status", "good"),
    [
        (["2xx"], 204, True), ([201], 200, False), ([404], 404, True), (["4xx"], 422, True), (["5xx"], 503, True),
        ([301], 301, True), (["2xx", 429], 429, True),
    ],
)  # fmt: skip
async def test_a_job_says_which_statuses_are_good(expected, status, good):
    async with serving(answer(status)) as site:
        if good:
            assert (await ask(site.url, expected_statuses=expected))["status"] == status
        else:
            with pytest.raises(UnexpectedStatus):
                await ask(site.url, expected_statuses=expected)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("dated", [False, True])
async def test_a_server_says_when_to_come_again(status, dated):
    when = formatdate(time.time() + 100, usegmt=True) if dated else "100"
    async with serving(answer(status, retry_after=when)) as site:
        with pytest.raises(RetryIn, match=f"answered {status}") as again:
            await ask(site.url)
    assert again.value.seconds == pytest.approx(100, abs=5)


async def test_a_server_that_wants_years_is_asked_within_the_hour():
    async with serving(answer(503, retry_after="99999999")) as site:
        with pytest.raises(RetryIn) as again:
            await ask(site.url)
    assert again.value.seconds == 3_600


async def test_an_answer_to_head_has_no_body():
    async with serving(answer(200, content_length="700", content_encoding="gzip")) as site:
        result = await ask(site.url, method="HEAD")
    assert (result["body"], result["truncated"], result["headers"]["content-length"]) == (None, False, "700")


async def test_gzip_is_unpacked():
    packed = gzip.compress(b'{"a": "' + b"x" * 500 + b'"}')
    async with serving(answer(200, packed, content_type="application/json", content_encoding="gzip")) as site:
        result = await ask(site.url)
    assert (result["body"], result["truncated"], result["bytes"]) == ({"a": "x" * 500}, False, len(packed))


@pytest.mark.parametrize(
    ("encoding", "body"),
    [("br", b"\x8b\x02\x80"), ("gzip", b"no gzip"), ("gzip", gzip.compress(b"x" * 99, mtime=0)[:-9])],
)
async def test_what_cant_be_unpacked_is_left_out_and_the_run_succeeds(encoding, body):
    async with serving(answer(200, body, content_encoding=encoding)) as site:
        result = await ask(site.url)
    assert (result["status"], result["truncated"]) == (200, True)


async def test_a_gzip_bomb_is_not_unpacked(monkeypatch):
    bomb = gzip.compress(bytes(50 * 1024 * 1024))
    assert len(bomb) < web.READ_MAX
    unpacked = []
    really = web._Unpacking._unpacked

    def watched(self, *args):
        unpacked.append(len(content := really(self, *args)))
        return content

    monkeypatch.setattr(web._Unpacking, "_unpacked", watched)
    async with serving(answer(200, bomb, content_encoding="gzip", content_type="text/plain")) as site:
        result = await ask(site.url)
    assert result["truncated"]
    assert sum(unpacked) <= web.READ_MAX + 1


async def test_an_endless_answer_is_read_to_a_limit():
    ended = asyncio.Event()

    async def endless(heard):
        heard.writer.write(answer(200, transfer_encoding="chunked"))
        try:
            while True:
                heard.writer.write(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
                await heard.writer.drain()
        except ConnectionError:
            ended.set()

    async with serving(endless) as site:
        result = await ask(site.url, timeout_seconds=20)
        await asyncio.wait_for(ended.wait(), 10)
    assert (result["bytes"], result["truncated"], result["body"]) == (web.READ_MAX, True, "x" * 4_096)


async def _drip(writer, what):
    """A little every 20 ms: slower than the client's patience for the whole, quicker than any for a read."""
    with contextlib.suppress(ConnectionError):
        while not writer.transport.is_closing():
            writer.write(what)
            await writer.drain()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\n", answer(200, content_length="99999999")])
async def test_a_slow_server_is_not_waited_for(begin):
    async def drip(heard):
        heard.writer.write(begin)
        await _drip(heard.writer, b"HTTP/1.1 103 Early Hints\r\n\r\n" if not begin else b"X-A: b\r\n")

    async with serving(drip) as site:
        before = time.monotonic()
        with pytest.raises(TimeoutError, match=r"did not answer within 0\.3 s"):
            await ask(site.url, timeout_seconds=0.3)
        assert time.monotonic() - before < 5


async def test_a_cancelled_request_hangs_up():
    gone = asyncio.Event()

    async def silent(heard):
        assert await heard.reader.read() == b""
        gone.set()

    async with serving(silent) as site:
        asking = asyncio.create_task(ask(site.url))
        await wait_until(lambda: site.heard, "the request came")
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(gone.wait(), 10)


@pytest.mark.parametrize(
    "said",
    [
        None, b"\x16\x03\x01 no http\r\n\r\n", b"SSH-2.0-OpenSSH\r\n", answer(200, b"half", content_length="9"),
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000, answer(200, b"zz\r\n", transfer_encoding="chunked"),
    ],
)  # fmt: skip
async def test_an_answer_that_breaks_off_or_is_none_is_retried(said):
    async def break_off(heard):
        if said is not None:
            heard.writer.write(said)
            await heard.writer.drain()

    async with serving(break_off) as site:
        with pytest.raises(BrokenAnswer, match="broke off"):
            await ask(site.url)


async def test_a_server_that_is_not_there_is_retried():
    async with serving(answer()) as site:
        url = site.url
    with pytest.raises(NotConnected, match="can't be reached: Connection refused"):
        await ask(url)


async def test_the_next_address_is_tried_when_one_does_not_answer():
    async with serving(answer(200, b"here")) as site:
        two = names(two=["127.0.0.9", "127.0.0.1"])
        assert (await ask(f"http://two.test:{site.port}/", resolve=two))["body"] == "here"


# What is said of it.


async def test_what_a_server_repeats_of_secrets_is_masked():
    def echo(heard):
        return answer(
            400, json.dumps(heard.headers | {"target": heard.target}).encode(), content_type="text/plain"
        )

    secrets = {"KEY": 'a "quoted" key/+', "PASS": "hunter2hunter2"}
    data = {
        "headers": {"X-A": {"$secret": "KEY"}},
        "query": {"q": {"$secret": "KEY"}},
        "auth": {"basic": {"username": "me", "password": {"$secret": "PASS"}}},
    }
    notes = Notes()
    async with serving(echo) as site:
        result = await ask(site.url, secrets=secrets, expected_statuses=[400], notes=notes, **data)
        with pytest.raises(UnexpectedStatus) as refused:
            await ask(site.url, secrets=secrets, notes=notes, **data)
    sent = site.heard[0].headers["authorization"].removeprefix("Basic ")
    for text in (result["body"], str(refused.value), *notes.lines):
        for secret in ("quoted", "hunter2", sent, "a+%22"):
            assert secret not in text
    assert notes.lines[0] == f"GET {site.url}/: 400, {result['bytes']} bytes"


# In an executor.


async def in_an_executor(hall, directory, **data):
    """The id of a run of this job type, that an executor with a secret KEY has got."""
    (directory / "KEY").write_text("s3cr3t-value\n")
    hall.start(hall.executor(http_networks=LOOPBACK, secrets_dir=directory))
    return await hall.a_run(job_type="http_request", job_data=data, retry=RetryPolicy(initial_seconds=0))


async def test_the_idempotency_key_is_the_same_in_every_attempt(hall, tmp_path):
    async with serving(lambda _: answer(500 if len(site.heard) < 3 else 200)) as site:
        run = await in_an_executor(
            hall, tmp_path, url=site.url, method="POST", signing={"key": {"$secret": "KEY"}}
        )

        async def failed(attempt):
            state = await hall.state(run)
            return (state.status, state.attempt) == ("retrying", attempt)

        for attempt in (1, 2):
            await wait_until(partial(failed, attempt), f"attempt {attempt} has failed")
            await hall.wake(run)
        state = await hall.ended(run)
    assert (state.status, state.attempt) == ("succeeded", 3)
    assert [heard.headers["idempotency-key"] for heard in site.heard] == [run] * 3
    assert [heard.headers["webhook-id"] for heard in site.heard] == [run] * 3


async def test_a_secret_stands_nowhere_in_the_log(hall, tmp_path):
    def echo(heard):
        return answer(200, json.dumps(heard.headers).encode(), content_type="application/json")

    key = {"$secret": "KEY"}
    async with serving(echo) as site:
        run = await in_an_executor(hall, tmp_path, url=site.url, headers={"X-A": key}, auth={"bearer": key})
        state = await hall.ended(run)
    assert site.heard[0].headers["x-a"] == "s3cr3t-value"
    assert state.status == "succeeded"
    events = await hall.events(run)
    told = json.loads(events[-1].data)["result"]["body"]
    assert (told["x-a"], told["authorization"]) == ("***", "Bearer ***")
    assert "RunOutput" in [event.type for event in events]
    assert not any("s3cr3t" in event.data for event in events)
