"""URLs that jobs name: what is read from them, what is refused, and which addresses are public."""

from ipaddress import ip_address, ip_network

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.job_types.web_address import BadUrl, leads_inward, parse, reachable, with_query


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "target"),
    [
        ("http://example.com", "http", "example.com", 80, "/"),
        ("HTTPS://Example.COM:8443/A?b=1#c", "https", "example.com", 8443, "/A?b=1"),
        ("https://example.com.:443/", "https", "example.com", 443, "/"),
        ("https://bücher.example/ä?ö=ü", "https", "xn--bcher-kva.example", 443, "/%C3%A4?%C3%B6=%C3%BC"),
        ("https://例え。テスト/", "https", "xn--r8jz45g.xn--zckzah", 443, "/"),
        ("http://my_service.internal/%2e%2e/a%20b", "http", "my_service.internal", 80, "/%2e%2e/a%20b"),
        ("http://[2606:4700:0:0::1111]/", "http", "2606:4700::1111", 80, "/"),
        ("http://web1/", "http", "web1", 80, "/"),
        ("http://a.example?x=http://b.example/@", "http", "a.example", 80, "/?x=http://b.example/@"),
        ("http://a.example/<script>", "http", "a.example", 80, "/%3Cscript%3E"),
    ],
)
def test_a_url_is_read(url, scheme, host, port, target):
    read = parse(url)
    assert (read.scheme, read.host, read.port, read.target) == (scheme, host, port, target)


@pytest.mark.parametrize(
    "url",
    [
        "", "example.com", "/path", "//example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://a:70/",
        "javascript:alert(1)", "http:example.com", "http:/example.com", "http:///example.com", "http://",
        "http://:80/", "unix:///run/docker.sock", "http+unix://%2Frun%2Fdocker.sock/",
        "http://user@example.com/", "http://user:pass@example.com/", "http://example.com@127.0.0.1/",
        "http://a.example:80@127.0.0.1/", "http://a.example\\@127.0.0.1/", "http:\\\\127.0.0.1/",
        "http://a.example\t/", "http://a.example/\r\nX: y", " http://a.example/", "http://a.example/ b",
        "http://a.example\u2028/", "http://a.example/\x00", "http://a b/", "http://a.example/\x85",
        "http://127.1/", "http://127.0.1/", "http://2130706433/", "http://0x7f000001/", "http://0x7f.0.0.1/",
        "http://0177.0.0.1/", "http://127.0.0.01/", "http://127.0.0.1.5/", "http://256.0.0.1/", "http://0/",
        "http://017700000001/", "http://foo.0x/", "http://a.0x7f/", "http://127.0.0.0x1/", "http://1.2.3/",
        "http://[::1/", "http://::1/", "http://[::1]x/", "http://[fe80::1%25eth0]/", "http://[v1.a]/",
        "http://[127.0.0.1]/", "http://[]/", "http://[::1]]/",
        "http://a.example:0/", "http://a.example:65536/", "http://a.example:http/", "http://a.example:-1/", "http://a.example:/",
        "http://a.example:25/", "http://a.example:6000/", "http://a.example:22/",
        "http://a..example/", "http://.example/", "http://-a.example/", "http://a-.example/", "http://..",
        "http://%6c%6fcalhost/", "http://a%00.example/", "http://a|b/", "http://" + "a" * 64 + ".example/",
        "http://" + "a." * 130 + "example/", "http://a.example/" + "b" * 2100, "http://xn--ä.example/",
        "http://\u24dbocalhost/", "http://\u2460\u2461\u2466.0.0.1/", "http://\uff11\uff12\uff17.0.0.1/",
    ],
)  # fmt: skip
def test_a_url_that_could_be_read_differently_is_refused(url):
    with pytest.raises(BadUrl):
        parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.255.255.254/", "http://0.0.0.0/", "http://10.0.0.1/", "http://172.16.0.1/",
        "http://172.31.255.255/", "http://192.168.1.1/", "http://169.254.169.254/latest/meta-data/",
        "http://169.254.170.2/", "http://100.100.100.200/", "http://100.64.0.1/", "http://192.0.0.192/",
        "http://168.63.129.16/", "http://224.0.0.1/", "http://255.255.255.255/", "http://240.0.0.1/",
        "http://198.18.0.1/", "http://203.0.113.1/", "http://192.88.99.1/",
        "http://localhost/", "http://LOCALHOST/", "http://localhost./", "http://a.localhost/",
        "http://127\u30020\u30020\u30021/",
        "http://[::1]/", "http://[::]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/",
        "http://[::ffff:a9fe:a9fe]/", "http://[::127.0.0.1]/", "http://[64:ff9b::127.0.0.1]/",
        "http://[64:ff9b::a9fe:a9fe]/", "http://[64:ff9b:1::8.8.8.8]/", "http://[2002:7f00:1::]/",
        "http://[2002:808:808::]/", "http://[2001:0:1::1]/", "http://[2001:db8::1]/", "http://[3fff::1]/",
        "http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://[fe80::1]/", "http://[fec0::1]/",
        "http://[ff02::1]/", "http://[100::1]/", "http://[5f00::1]/",
    ],
)  # fmt: skip
def test_a_url_that_leads_inward_by_its_spelling_is_found_out(url):
    assert leads_inward(parse(url))


@pytest.mark.parametrize(
    "url",
    [
        "http://8.8.8.8/", "http://172.32.0.1/", "http://192.0.1.1/", "http://[2606:4700::1111]/",
        "http://[::ffff:8.8.8.8]/", "http://[64:ff9b::8.8.8.8]/", "http://localhost.example/",
        "http://notlocalhost/", "http://169.253.255.255/",
    ],
)  # fmt: skip
def test_a_public_one_is_let_through(url):
    assert not leads_inward(parse(url))


@pytest.mark.parametrize(
    ("address", "network", "may"),
    [
        ("10.1.2.3", "10.1.0.0/16", True),
        ("10.2.0.1", "10.1.0.0/16", False),
        ("::ffff:10.1.2.3", "10.1.0.0/16", True),
        ("64:ff9b::a01:203", "10.1.0.0/16", True),
        ("64:ff9b::a01:203", "10.2.0.0/16", False),
        ("fd00::1", "fd00::/8", True),
        ("fd00::1", "10.0.0.0/8", False),
        ("169.254.169.254", "169.254.169.254/32", True),
    ],
)
def test_what_the_operator_allows_may_be_reached_and_no_more(address, network, may):
    assert reachable(ip_address(address), (ip_network(network),)) is may


def test_localhost_may_be_named_where_loopback_is_allowed():
    assert not leads_inward(parse("http://localhost:9000/"), (ip_network("127.0.0.0/8"),))
    assert not leads_inward(parse("http://localhost:9000/"), (ip_network("::1/128"),))
    assert leads_inward(parse("http://localhost:9000/"), (ip_network("10.0.0.0/8"),))


def test_a_query_is_put_after_the_urls_own():
    assert with_query(parse("http://a.example/b"), "c=1").target == "/b?c=1"
    assert with_query(parse("http://a.example/b?x=y"), "c=1").target == "/b?x=y&c=1"
    with pytest.raises(BadUrl):
        with_query(parse("http://a.example/b"), "c" * 8_192)


def test_what_is_shown_has_no_query_and_the_host_header_no_default_port():
    assert parse("https://a.example:443/b?token=1").shown == "https://a.example/b"
    assert parse("http://[2606:4700::1]:8080/").authority == "[2606:4700::1]:8080"


@pytest.mark.parametrize(
    ("mine", "theirs", "same"),
    [
        ("https://a.example/x", "https://a.example/y", True),
        ("https://a.example/", "https://a.example:443/", True),
        ("https://a.example/", "https://a.example:8443/", False),
        ("https://a.example/", "https://b.example/", False),
        ("https://a.example/", "https://x.a.example/", False),
        ("http://a.example/", "https://a.example/", True),
        ("http://a.example:8080/", "https://a.example/", False),
        ("http://a.example/", "https://a.example:8443/", False),
        ("https://a.example/", "http://a.example/", False),
    ],
)
def test_an_origin_is_scheme_host_and_port_or_the_same_host_by_tls(mine, theirs, same):
    assert parse(mine).same_origin(parse(theirs)) is same


NASTY = st.text(alphabet="aå0127x.:/\\@[]?#%- _\t\u3002\u24db\uff11f", max_size=30)


@settings(max_examples=500, deadline=None)
@given(NASTY)
def test_what_is_read_is_read_likewise_by_others(text):
    url = f"http://{text}"
    try:
        read = parse(url)
    except BadUrl:
        return
    assert read.target.isascii()
    other = httpx.URL(url)
    assert other.userinfo == b""
    if read.literal is None:
        assert other.raw_host.decode().removesuffix(".") == read.host
    else:
        assert ip_address(other.host) == read.literal
    assert (other.port or 80) == read.port
