"""`http_request` without a server: which data is taken, signatures, and what is kept of an answer."""

import base64
import hashlib
import hmac
import time
from email.utils import formatdate
from ipaddress import ip_network

import pytest

from services.executor.handlers.http_request_answer import kept_headers, retry_after_s, said, stored
from services.executor.masking import Mask
from services.executor.outcome import Returned, returned
from services.executor.web import Answer
from services.executor.webhook_signature import BadKey, signature
from shared.job_types import BadJobData, Catalog, Known, check

URL = "https://api.example.com/orders"
SECRET = {"$secret": "KEY"}


def faults(networks=(), **data):
    catalog = Catalog(http_networks=tuple(map(ip_network, networks)))
    with pytest.raises(BadJobData) as refusal:
        check("http_request", {"url": URL} | data, known=Known(), catalog=catalog)
    return {fault.pointer.removeprefix("#/job_data"): fault.detail for fault in refusal.value.faults}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"method": "POST", "json": None},
        {"method": "POST", "json": {"a": [SECRET, 1, None]}, "headers": {"X-Api-Key": SECRET, "X-A": "b"}},
        {"method": "PUT", "body": "text", "query": {"a": 1, "b": [True, "x", 2.5], "c": SECRET}},
        {"method": "PATCH", "body": SECRET, "signing": {"key": SECRET}},
        {"method": "POST", "signing": {"key": SECRET, "algorithm": "sha256", "header": "X-Signature"}},
        {"auth": {"bearer": SECRET}},
        {"auth": {"basic": {"username": "u", "password": SECRET}}},
        {"expected_statuses": ["2xx", 404, "3xx"], "timeout_seconds": 5, "follow_redirects": True},
        {"store_response": 0},
        {"headers": {"Content-Type": "application/cloudevents+json"}, "method": "POST", "json": {}},
    ],
)
def test_good_data_is_kept_as_it_was_given(data):
    data = {"url": URL} | data
    assert check("http_request", data, known=Known(), catalog=Catalog()) == data


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ({"url": "ftp://a.example/"}, "/url"),
        ({"url": "http://127.0.0.1/"}, "/url"),
        ({"url": "http://2130706433/"}, "/url"),
        ({"url": "http://localhost:8080/"}, "/url"),
        ({"url": "http://[::ffff:127.0.0.1]/"}, "/url"),
        ({"url": "http://u:p@a.example/"}, "/url"),
        ({"url": 7}, "/url"),
        ({"method": "CONNECT"}, "/method"),
        ({"method": "post"}, "/method"),
        ({"method": "POST", "json": 1, "body": "x"}, ""),
        ({"json": 1}, ""),
        ({"method": "HEAD", "body": "x"}, ""),
        ({"headers": {"Host": "a"}}, "/headers/Host"),
        ({"headers": {"content-length": "1"}}, "/headers/content-length"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "/headers/Transfer-Encoding"),
        ({"headers": {"Connection": "close"}}, "/headers/Connection"),
        ({"headers": {"Proxy-Authorization": SECRET}}, "/headers/Proxy-Authorization"),
        ({"headers": {"Idempotency-Key": "x"}}, "/headers/Idempotency-Key"),
        ({"headers": {"X-A": "b\r\nX-C: d"}}, "/headers/X-A"),
        ({"headers": {"X-A": "b\nc"}}, "/headers/X-A"),
        ({"headers": {"X-A": "b\x00"}}, "/headers/X-A"),
        ({"headers": {"X-A": " b"}}, "/headers/X-A"),
        ({"headers": {"X-A": "ä"}}, "/headers/X-A"),
        ({"headers": {"X-A": "b" * 4_097}}, "/headers/X-A"),
        ({"headers": {"X-A:": "b"}}, "/headers/X-A:"),
        ({"headers": {"X A\r\n": "b"}}, "/headers/X A\r\n"),
        ({"headers": {"": "b"}}, "/headers/"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "/headers/x-a"),
        ({"headers": {"X-A": 1}}, "/headers/X-A"),
        ({"headers": {"Authorization": "Bearer abc"}}, "/headers/Authorization"),
        ({"headers": {"Cookie": "a=b"}}, "/headers/Cookie"),
        ({"headers": {"Authorization": SECRET}, "auth": {"bearer": SECRET}}, "/headers/Authorization"),
        ({"headers": {"Webhook-Id": "x"}, "signing": {"key": SECRET}}, "/headers/Webhook-Id"),
        ({"auth": {}}, "/auth"),
        ({"auth": {"bearer": "abc"}}, "/auth/bearer"),
        ({"auth": {"basic": {"username": "a:b", "password": SECRET}}}, "/auth/basic/username"),
        ({"signing": {"key": "abc"}}, "/signing/key"),
        ({"signing": {"key": SECRET, "algorithm": "md5"}}, "/signing/algorithm"),
        ({"signing": {"key": SECRET, "header": "Host"}}, "/signing/header"),
        ({"signing": {"key": SECRET, "header": "a b"}}, "/signing/header"),
        ({"expected_statuses": []}, "/expected_statuses"),
        ({"expected_statuses": [True]}, "/expected_statuses/0"),
        ({"expected_statuses": [200, 99]}, "/expected_statuses/1"),
        ({"expected_statuses": ["1xx"]}, "/expected_statuses/0"),
        ({"timeout_seconds": 0}, "/timeout_seconds"),
        ({"timeout_seconds": 3_601}, "/timeout_seconds"),
        ({"store_response": 4_097}, "/store_response"),
        ({"query": {"a": None}}, "/query/a"),
        ({"query": {"a": {"b": 1}}}, "/query/a"),
        ({"query": {"a": [[1]]}}, "/query/a"),
        ({"signing": {"key": SECRET, "header": "Webhook-Id"}}, "/signing/header"),
        ({"verify_tls": False}, "/verify_tls"),
    ],
)
def test_a_client_is_told_which_part_is_wrong(data, pointer):
    assert pointer in faults(**data)


def test_a_private_address_is_named_with_what_would_allow_it():
    assert "DAYBOOK_HTTP_NETWORKS" in faults(url="http://10.0.0.1/")["/url"]
    data = {"url": "http://10.0.0.1/"}
    catalog = Catalog(http_networks=(ip_network("10.0.0.0/8"),))
    assert check("http_request", data, known=Known(), catalog=catalog) == data


# Signatures.


def test_a_signature_is_the_standards_own_example():
    key, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    signed = signature(key, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_key_without_the_prefix_is_taken_as_it_is():
    expected = hmac.digest(b"k\xc3\xa4y", b"id.7.", hashlib.sha256)
    assert (
        signature("käy", message_id="id", timestamp=7, body=b"")
        == "v1," + base64.b64encode(expected).decode()
    )


@pytest.mark.parametrize("key", ["", "whsec_", "whsec_no base64"])
def test_a_key_that_is_none_is_refused(key):
    with pytest.raises(BadKey):
        signature(key, message_id="id", timestamp=7, body=b"")


# Answers.


def an_answer(content=b"", *, status=200, whole=True, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=headers, content=content, whole=whole, size=len(content))


JSON = "application/json; charset=utf-8"


@pytest.mark.parametrize(
    ("content", "kind", "body", "truncated"),
    [
        (b'{"a": [1, null]}', JSON, {"a": [1, None]}, False),
        (b'{"a": 1}', "application/problem+json", {"a": 1}, False),
        (b'{"a": 1}', "text/plain", '{"a": 1}', False),
        (b'{"a": ', JSON, '{"a": ', False),
        (b"[NaN]", JSON, "[NaN]", False),
        (b"[1e999]", JSON, "[1e999]", False),
        (b'["\\ud800"]', JSON, '["\\ud800"]', False),
        (b"", JSON, None, False),
        (b"\xff\xfe\x00", "image/png", None, True),
        (b"a\x00\x1b[31mb\x85", "text/plain", "a\ufffd\ufffd[31mb\ufffd", False),
        ("\u0141\xf3d\u017a \u20ac".encode(), "text/plain", "Łódź €", False),
        ("Łódź".encode("iso-8859-2"), "text/plain; charset=ISO-8859-2", "Łódź", False),
        (b"78", "text/plain; charset=hex", "78", False),
        (b"plain", "", "plain", False),
        (b"plain", "no kind at all", "plain", False),
    ],
)
def test_what_is_kept_of_an_answer(content, kind, body, truncated):
    assert stored(an_answer(content, content_type=kind), 4_096, Mask()) == (body, truncated)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 4_096, b"[" * 2_000 + b"]" * 2_000, b"[" + b"1e15," * 815 + b"1]", b"\x01" * 4_096,
        b"\xff" * 4_096, b'"' * 4_096, b"\\" * 4_096,
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [JSON, "text/plain"])
def test_whatever_comes_fits_into_a_result(content, kind):
    body, _ = stored(an_answer(content, content_type=kind), 4_096, Mask())
    assert isinstance(body, str)
    assert isinstance(returned({"body": body, "headers": {"etag": "x" * 1_400}}), Returned)


def test_text_is_cut_between_characters_and_says_so():
    assert stored(an_answer("ääää".encode()), 5, Mask()) == ("ää", True)
    assert stored(an_answer(b"abc"), 0, Mask()) == (None, True)
    assert stored(an_answer(b"abc", whole=False), 4_096, Mask()) == ("abc", True)


def test_half_a_secret_does_not_stand_at_the_cut():
    mask = Mask()
    mask.hide("hunter2hunter2")
    body, _ = stored(an_answer(b"x" * 90 + b"hunter2hunter2"), 100, mask)
    assert body == "x" * 90 + "***"
    assert "hunter" not in said(an_answer(b"x" * 295 + b" hunter2hunter2", status=400), mask)


def test_a_location_is_kept_without_its_query():
    kept = kept_headers(
        an_answer(location="https://a.example/b?token=1#c", set_cookie="a=b", etag="\x1b" + "x" * 300)
    )
    assert kept == {"location": "https://a.example/b", "etag": "\ufffd" + "x" * 199}


@pytest.mark.parametrize(
    ("said", "status", "wait_s"),
    [
        ("7", 429, 7), ("7", 503, 7), ("0", 429, 1), ("86400", 429, 3_600), ("9" * 5_000, 429, 3_600),
        ("7", 500, None), ("7", 408, None), ("-7", 429, None), ("1.5", 429, None), ("", 429, None), ("soon", 429, None),
        ("\u0667", 429, None), ("Thu, 01 Jan 1970 00:00:00 GMT", 429, 1), ("Fri, 31 Dec 9999 23:59:59 GMT", 429, 3_600),
        ("Thu, 99 Foo 1970 00:00:00 GMT", 429, None), ("Mon, 01 Jan 999999999999 00:00:00 GMT", 429, None),
    ],
)  # fmt: skip
def test_a_retry_after_is_heeded_within_bounds(said, status, wait_s):
    assert retry_after_s(an_answer(status=status, retry_after=said)) == wait_s


def test_a_retry_after_may_be_a_date():
    when = formatdate(time.time() + 60, usegmt=True)
    assert retry_after_s(an_answer(status=503, retry_after=when)) == pytest.approx(60, abs=3)
