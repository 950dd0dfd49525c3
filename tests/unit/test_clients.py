"""Whose word about a client's address is taken."""

import ipaddress

import pytest

from services.api.clients import client_of
from shared import rate, settings
from shared.rate import Rate
from shared.settings import BadSettings

PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),  # not one of our proxies
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),  # the client may have begun it
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.7, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, nonsense, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.1", ["198.51.100.7,"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.007"], "10.0.0.1"),
        ("10.0.0.1", ["fe80::1%eth0"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("fd00::1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ["198.51.100.7" + ", 10.0.0.2" * 30], "10.0.0.2"),
        ("<local>", ["198.51.100.7"], "unknown"),
        ("", [], "unknown"),
    ],
)
def test_a_client_is_where_the_nearest_stranger_to_our_proxies_is(peer, forwarded, address):
    assert client_of(peer, forwarded, "", trusted=PROXIES).address == address


def test_nobody_is_believed_unless_told():
    client = client_of("10.0.0.1", ["198.51.100.7"], "https", trusted=())
    assert (client.address, client.secure) == ("10.0.0.1", False)
    assert client_of("10.0.0.1", [], "https", trusted=PROXIES).secure
    assert not client_of("192.0.2.1", [], "https", trusted=PROXIES).secure
    assert client_of("192.0.2.1", [], "", trusted=PROXIES, tls=True).secure


def test_ipv6_is_counted_by_what_one_subscriber_has():
    one, other = (client_of(each, [], "", trusted=()) for each in ("2001:db8::1", "2001:db8::2:1"))
    assert one.network == other.network == "2001:db8::/64"
    assert one.address != other.address
    assert client_of("2001:db8:0:1::1", [], "", trusted=()).network != one.network
    assert client_of("192.0.2.1", [], "", trusted=()).network == "192.0.2.1"


@pytest.mark.parametrize(
    ("text", "value"), [("100/s", Rate(100, 1)), ("6/m", Rate(6, 60)), ("off", rate.OFF)]
)
def test_a_rate_is_written_as_it_is_read(text, value):
    assert rate.parse(text) == value
    assert str(value) == text
    assert settings.load(rate_limit=text).rate_limit == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("rate_limit", each) for each in ("0/s", "-1/s", "1/d", "1", "1/s/s", "99999999/s", "1.5/s", " 1/s")),
        *(("trusted_proxies", each) for each in ("0.0.0.0/0", "::/0", "10.0.0.1/8", "proxy", "10.0.0.0/33")),
        *(
            ("cors_origins", each)
            for each in ("*", "https://*.example.com", "example.com", "https://a.b/", "null", "https://A.b", "ftp://a", "https://a:b")
        ),
        ("memory_max_percent", "0"),
        ("backlog_max", "0"),
        ("head_seconds", "0"),
    ],
)  # fmt: skip
def test_a_limit_that_means_nothing_is_refused(name, value):
    with pytest.raises(BadSettings, match=name):
        settings.load(**{name: value})


def test_lists_of_networks_and_origins_are_comma_separated():
    told = settings.load(
        trusted_proxies="10.0.0.0/8, ::1", cors_origins="https://a.example,http://localhost:3000"
    )
    assert [str(each) for each in told.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert told.cors_origins == ("https://a.example", "http://localhost:3000")
    shown = {each.name: each.value for each in settings.describe(told)}
    assert shown["DAYBOOK_TRUSTED_PROXIES"] == "10.0.0.0/8,::1/128"
    assert (shown["DAYBOOK_RATE_LIMIT"], shown["DAYBOOK_RATE_LIMIT_PER_ADDRESS"]) == ("100/s", "1000/s")
